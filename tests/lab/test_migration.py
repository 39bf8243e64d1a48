"""Guests that arrive: live and offline migration, restore, managed save, revert."""

import pytest

from tests.lab import guard, stamps
from tests.lab.guests import domain_xml
from tests.lab.host import Host

NEHALEM = "<cpu mode='custom' match='exact' check='none'><model>Nehalem</model></cpu>"
SKYLAKE = "<cpu mode='custom' match='exact' check='none'><model>Skylake-Server</model></cpu>"
# KVM within a virtual machine cannot set this MSR for a guest
NO_ARCH_CAPABILITIES = "<feature policy='disable' name='arch-capabilities'/>"
CEILING = '[ceiling]\nx86_64 = "Penryn"\n'
SAVED = "/var/lib/libvirt/qemu/save/lab-guest.save"


def start(host: Host, name: str, cpu: str | None, virt: str = "qemu") -> None:
    host.virsh("define", "/dev/stdin", stdin=domain_xml(name, cpu=cpu, virt=virt))
    host.virsh("start", name)


def assert_stayed(source: Host, destination: Host, name: str) -> None:
    assert guard.state(source, name) == "running"
    assert destination.guests() == ()
    assert destination.run("pgrep", "-f", f"guest={name}", check=False).stdout == ""


def test_migration_goes_through(guarded_pair: tuple[Host, Host]) -> None:
    """The destination judges twice, when it arrives and when its CPU is known, and allows both."""
    source, destination = guarded_pair
    start(source, "roamer", NEHALEM)
    before = destination.cursor()
    source.migrate("roamer", destination)

    assert guard.state(destination, "roamer") == "running"
    records = guard.verdicts(destination, before, "roamer")
    assert [r["GUARDD_OPERATION"] for r in records] == ["migrate", "prepare"]
    assert {r["GUARDD_REFUSED"] for r in records} == {"no"}


@pytest.mark.parametrize("flags", [(), ("--p2p",), ("--p2p", "--tunnelled")], ids=" ".join)
def test_migration_refused_by_ceiling(
    guarded_pair: tuple[Host, Host], flags: tuple[str, ...]
) -> None:
    """The reason is in the error at the source, the guest goes on there, nothing is left here.

    What the guest really has is not in `migrate begin`, but in its stamp.
    """
    source, destination = guarded_pair
    start(source, "roamer", NEHALEM)
    stamps.await_stamp(source, "roamer")
    guard.configure(destination, CEILING)
    before = destination.cursor()
    moved = source.migrate("roamer", destination, *flags, check=False)

    assert moved.code == 1
    assert "cpu-guardd[above-ceiling]: roamer would have " in moved.stderr
    assert_stayed(source, destination, "roamer")
    records = guard.verdicts(destination, before, "roamer")
    assert guard.decisions(records) == [("migrate", "deny")]


@pytest.mark.parametrize(
    "cpu",
    [
        pytest.param(None, id="no-cpu"),
        pytest.param(
            "<cpu mode='custom' check='none'><model>EPYC-Milan</model></cpu>", id="EPYC-Milan"
        ),
        pytest.param(f"<cpu mode='host-model'>{NO_ARCH_CAPABILITIES}</cpu>", id="host-model"),
        pytest.param(
            f"<cpu mode='host-passthrough'>{NO_ARCH_CAPABILITIES}</cpu>", id="host-passthrough"
        ),
    ],
)
def test_kvm_guests_travel(guarded_pair: tuple[Host, Host], cpu: str | None) -> None:
    """Between equal hosts every KVM guest may go, there and back, by what it really has."""
    source, destination = guarded_pair
    if source.run("test", "-w", "/dev/kvm", check=False).code != 0:
        pytest.skip(f"{source.name} has no /dev/kvm")
    start(source, "roamer", cpu, virt="kvm")
    source.migrate("roamer", destination)
    destination.migrate("roamer", source)

    assert guard.state(source, "roamer") == "running"


def test_offline_migration(guarded_pair: tuple[Host, Host]) -> None:
    """Only a definition moves: it is judged when it is started there."""
    source, destination = guarded_pair
    source.virsh("define", "/dev/stdin", stdin=domain_xml("dormant", cpu=NEHALEM))
    guard.configure(destination, CEILING)
    source.migrate("dormant", destination, "--offline", "--persistent")
    started = destination.virsh("start", "dormant", check=False)

    assert "cpu-guardd[above-ceiling]: dormant would have " in started.stderr


def test_two_hops(guarded_pair: tuple[Host, Host]) -> None:
    """A guest that QEMU has shorn of features travels there and back by what it really has."""
    source, destination = guarded_pair
    start(source, "roamer", SKYLAKE)
    source.migrate("roamer", destination)
    destination.migrate("roamer", source)

    assert guard.state(source, "roamer") == "running"


def test_newer_host_takes_it(guarded_mixed_pair: tuple[Host, Host]) -> None:
    """From Debian 12 to Debian 13: a newer QEMU has all that the older gave."""
    source, destination = guarded_mixed_pair
    start(source, "roamer", NEHALEM)
    source.migrate("roamer", destination)

    assert guard.state(destination, "roamer") == "running"


def test_older_host_cannot_run_it(guarded_mixed_pair: tuple[Host, Host]) -> None:
    """x2apic, which TCG got in QEMU 9: the older host lacks it, and the guest stays where it is."""
    older, newer = guarded_mixed_pair
    cpu = (
        "<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>Nehalem</model>"
        "<feature policy='require' name='x2apic'/><feature policy='require' name='hypervisor'/>"
        "</cpu>"
    )
    start(newer, "modern", cpu)
    before = older.cursor()
    moved = newer.migrate("modern", older, check=False)

    assert "cpu-guardd[missing-feature]: modern needs x2apic from Nehalem" in moved.stderr
    assert_stayed(newer, older, "modern")
    assert guard.decisions(guard.verdicts(older, before, "modern")) == [("migrate", "deny")]


def test_restore_refused(guarded_pair: tuple[Host, Host]) -> None:
    """The saved image is kept, and restores once it may."""
    host, _ = guarded_pair
    start(host, "sleeper", NEHALEM)
    host.run("rm", "-f", SAVED)
    host.virsh("save", "sleeper", SAVED)
    guard.configure(host, CEILING)
    restored = host.virsh("restore", SAVED, check=False)

    assert "cpu-guardd[above-ceiling]: sleeper would have " in restored.stderr
    assert guard.state(host, "sleeper") == "shut off"
    assert host.run("test", "-s", SAVED, check=False).code == 0
    guard.configure(host, "")
    host.virsh("restore", SAVED)
    assert guard.state(host, "sleeper") == "running"


def test_managed_save_refused(guarded_pair: tuple[Host, Host]) -> None:
    """A start from managed save likewise: refused, the image kept."""
    host, _ = guarded_pair
    start(host, "sleeper", NEHALEM)
    host.virsh("managedsave", "sleeper")
    guard.configure(host, CEILING)
    started = host.virsh("start", "sleeper", check=False)

    assert "cpu-guardd[above-ceiling]: sleeper would have " in started.stderr
    saved = host.virsh("list", "--all", "--with-managed-save", "--name").stdout.split()
    assert saved == ["sleeper"]
    guard.configure(host, "")
    host.virsh("start", "sleeper")
    assert guard.state(host, "sleeper") == "running"


def test_libvirtd_restarts_under_a_guest_that_would_be_refused(
    guarded_pair: tuple[Host, Host],
) -> None:
    """A failing `reconnect` would kill it: the hook never judges a guest that runs."""
    host, _ = guarded_pair
    start(host, "runner", NEHALEM)
    guard.configure(host, CEILING)
    pid = guard.qemu_pid(host, "runner")
    host.run("systemctl", "restart", "libvirtd")
    host.wait_until("virsh list")

    assert guard.state(host, "runner") == "running"
    assert guard.qemu_pid(host, "runner") == pid
    host.virsh("destroy", "runner")
    started = host.virsh("start", "runner", check=False)
    assert "cpu-guardd[above-ceiling]: runner" in started.stderr
