"""The stamp on real guests: when they get it, what it says, and what it lives through."""

import statistics
from collections.abc import Callable, Iterator

import pytest

from guardd.facts.stamp import format_stamp
from tests.lab import guard, stamps
from tests.lab.guests import domain_xml
from tests.lab.host import Host

MAXIMUM = "<cpu mode='maximum'/>"
NEHALEM = "<cpu mode='custom' match='exact' check='none'><model>Nehalem</model></cpu>"
# KVM within a virtual machine cannot set this MSR for a guest
PASSTHROUGH = (
    "<cpu mode='host-passthrough'><feature policy='disable' name='arch-capabilities'/></cpu>"
)
KINDS = [
    pytest.param("qemu", MAXIMUM, id="maximum"),
    pytest.param("qemu", NEHALEM, id="custom"),
    pytest.param("qemu", None, id="no-cpu"),
    pytest.param("kvm", PASSTHROUGH, id="host-passthrough"),
]
OPEN_KINDS = [KINDS[0], KINDS[3]]
DISK = "/var/lib/libvirt/images/lab-stamp.qcow2"
SAVED = "/var/lib/libvirt/qemu/save/lab-stamp.save"
DAEMON = ("cpu-guardd.socket", "cpu-guardd.service")
# libvirt's words that QEMU spells otherwise
QEMU_WORDS = {"pclmuldq": "pclmulqdq"}


def define(host: Host, name: str, cpu: str | None = MAXIMUM, virt: str = "qemu") -> None:
    if virt == "kvm" and host.run("test", "-w", "/dev/kvm", check=False).code != 0:
        pytest.skip(f"{host.name} has no /dev/kvm")
    host.virsh("define", "/dev/stdin", stdin=domain_xml(name, cpu=cpu, virt=virt))


def start(host: Host, name: str, cpu: str | None = MAXIMUM, virt: str = "qemu") -> str:
    """Start a guest; give the journal's cursor before that."""
    define(host, name, cpu, virt)
    before = host.cursor()
    host.virsh("start", name)
    return before


def restart_libvirtd(host: Host) -> None:
    """Restart it, and wait until the daemon watches it again."""
    before = host.cursor()
    host.run("systemctl", "restart", "libvirtd")
    host.wait_until(
        lambda: any(
            record["MESSAGE"].startswith("connected to libvirt")
            for record in host.journal("_SYSTEMD_UNIT=cpu-guardd.service", since_cursor=before)
        ),
        timeout=60,
    )


def restart_daemon(host: Host) -> None:
    host.run("systemctl", "restart", *DAEMON)
    host.wait_until("cpu-guardctl status --json | jq -e .libvirt_connected")


@pytest.mark.parametrize(("virt", "cpu"), KINDS)
def test_a_start_is_stamped(guarded_host: Host, virt: str, cpu: str | None) -> None:
    """The stamp names no feature that QEMU itself does not give this guest."""
    before = start(guarded_host, "web1", cpu, virt)
    stamp = stamps.await_stamp(guarded_host, "web1")
    given = stamps.really_on(guarded_host, "web1")

    assert "sse2" in stamp.features
    assert set() == {QEMU_WORDS.get(name, name) for name in stamp.features} - {
        word for name in given for word in (name, name.replace("-", "_"))
    }
    assert (guarded_host.name, virt) == (stamp.host, stamp.virt_type)
    assert {"libvirt", "qemu", "kernel"} <= stamp.versions.keys()
    [record] = stamps.records(guarded_host, before, "web1")
    assert record["MESSAGE"].startswith(f"web1 was stamped: {len(stamp.features)} features of ")
    assert stamp.uuid == record["GUARDD_DOMAIN_UUID"]
    assert int(record["GUARDD_ELAPSED_USEC"]) > 0
    # the definition knows nothing of it
    assert "cpuguardd" not in guarded_host.virsh("dumpxml", "--inactive", "web1").stdout


def test_how_soon(guarded_host: Host, record_property: Callable[[str, object], None]) -> None:
    """Twenty starts one by one, then ten at once: within a moment, each."""
    before = start(guarded_host, "web1")
    stamps.await_stamp(guarded_host, "web1")
    for _ in range(19):
        guarded_host.virsh("destroy", "web1")
        guarded_host.virsh("start", "web1")
        stamps.await_stamp(guarded_host, "web1")
    alone = milliseconds(stamps.records(guarded_host, before))
    names = [f"many{number}" for number in range(10)]
    for name in names:
        define(guarded_host, name)
    before = guarded_host.cursor()
    guarded_host.shell("for name; do virsh -q start $name & done; wait", *names, timeout=120)
    for name in names:
        stamps.await_stamp(guarded_host, name)
    at_once = milliseconds(stamps.records(guarded_host, before))

    for what, times in (("alone", alone), ("at once", at_once)):
        line = f"n={len(times)} median={statistics.median(times):.0f} max={max(times):.0f} ms"
        print(f"{guarded_host.name}: stamped after a start, {what}: {line}")
        record_property(what, line)
    assert (20, 10) == (len(alone), len(at_once))
    assert statistics.median(alone) < 1000


def milliseconds(records: list[dict[str, str]]) -> list[float]:
    return [int(record["GUARDD_ELAPSED_USEC"]) / 1000 for record in records]


def test_a_cold_boot_renews(guarded_host: Host) -> None:
    """The old stamp is gone with the old run; and one left in the definition is replaced."""
    start(guarded_host, "web1")
    old = stamps.make_old(guarded_host, "web1")
    guarded_host.virsh("destroy", "web1")
    guarded_host.virsh("start", "web1")
    assert stamps.LONG_AGO < stamps.await_stamp(guarded_host, "web1").taken
    guarded_host.virsh("destroy", "web1")
    stamps.put(guarded_host, "web1", format_stamp(old), "--config")
    guarded_host.virsh("start", "web1")

    assert old.features == stamps.await_renewal(guarded_host, "web1").features


@pytest.mark.parametrize(("virt", "cpu"), KINDS)
def test_a_reset_renews(guarded_host: Host, virt: str, cpu: str | None) -> None:
    """The guest's OS reads CPUID anew, of the same QEMU: the same, at a later time."""
    start(guarded_host, "web1", cpu, virt)
    old = stamps.make_old(guarded_host, "web1")
    guarded_host.virsh("reset", "web1")

    new = stamps.await_renewal(guarded_host, "web1")
    assert old._replace(taken=new.taken) == new


def test_a_reset_after_a_restart_of_the_daemon(guarded_host: Host) -> None:
    """Of a host where nothing changed it is renewed; a stamp of elsewhere is taken away."""
    start(guarded_host, "web1")
    stamps.make_old(guarded_host, "web1")
    restart_daemon(guarded_host)
    guarded_host.virsh("reset", "web1")
    new = stamps.await_renewal(guarded_host, "web1")
    stamps.put(guarded_host, "web1", format_stamp(new._replace(host="elsewhere")))
    restart_daemon(guarded_host)
    before = guarded_host.cursor()
    guarded_host.virsh("reset", "web1")
    guarded_host.wait_until(lambda: stamps.text_of(guarded_host, "web1") == "")

    messages = [record["MESSAGE"] for record in stamps.records(guarded_host, before, "web1")]
    assert any(message.startswith("web1 lost its stamp: it reset") for message in messages)
    assert any(problem.endswith("and none") for problem in stamps.problems(guarded_host))


@pytest.mark.parametrize(("virt", "cpu"), KINDS)
def test_two_hops(guarded_pair: tuple[Host, Host], virt: str, cpu: str | None) -> None:
    """There and back, over restarts of libvirtd and of the daemon: not a byte is changed."""
    source, destination = guarded_pair
    start(source, "roamer", cpu, virt)
    stamps.make_old(source, "roamer")
    text = stamps.text_of(source, "roamer")
    source.migrate("roamer", destination)
    assert text == stamps.text_of(destination, "roamer")
    restart_libvirtd(destination)
    restart_daemon(destination)
    before = source.cursor()
    destination.migrate("roamer", source)

    assert guard.state(source, "roamer") == "running"
    assert text == stamps.text_of(source, "roamer")
    assert [] == stamps.records(source, before)
    assert {"allow"} == {r["GUARDD_DECISION"] for r in guard.verdicts(source, before, "roamer")}


@pytest.mark.parametrize(("virt", "cpu"), OPEN_KINDS)
def test_saved_and_restored(guarded_pair: tuple[Host, Host], virt: str, cpu: str) -> None:
    """In a managed save, and in a file that is restored on another host."""
    host, other = guarded_pair
    start(host, "sleeper", cpu, virt)
    stamps.make_old(host, "sleeper")
    text = stamps.text_of(host, "sleeper")
    host.virsh("managedsave", "sleeper")
    host.virsh("start", "sleeper")
    assert text == stamps.text_of(host, "sleeper")
    save_to(host, other, "sleeper")
    other.virsh("restore", SAVED)

    assert guard.state(other, "sleeper") == "running"
    assert text == stamps.text_of(other, "sleeper")


def save_to(host: Host, other: Host, name: str) -> None:
    """Save a guest into a file, and bring that to another host."""
    host.virsh("save", name, SAVED)
    (other.root / SAVED.lstrip("/")).write_bytes((host.root / SAVED.lstrip("/")).read_bytes())


@pytest.fixture
def host_with_disk(guarded_host: Host) -> Iterator[Host]:
    """A guarded host with a guest that can be snapshotted."""
    guarded_host.run("qemu-img", "create", "-q", "-f", "qcow2", DISK, "16M")
    disk = (
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{DISK}'/><target dev='vda' bus='virtio'/></disk>"
    )
    xml = domain_xml("web1", cpu=MAXIMUM).replace("<serial", f"{disk}<serial")
    guarded_host.virsh("define", "/dev/stdin", stdin=xml)
    yield guarded_host
    guarded_host.reset()
    guarded_host.run("rm", "-f", DISK)


def test_a_revert_brings_back_the_stamp_of_then(host_with_disk: Host) -> None:
    """The guest goes on from where it was: it has seen what it had seen then."""
    host = host_with_disk
    host.virsh("start", "web1")
    stamps.make_old(host, "web1")
    text = stamps.text_of(host, "web1")
    host.virsh("snapshot-create-as", "web1", "then")
    host.virsh("reset", "web1")
    stamps.await_renewal(host, "web1")
    host.virsh("snapshot-revert", "web1", "then")
    assert text == stamps.text_of(host, "web1")
    host.virsh("destroy", "web1")
    host.virsh("snapshot-revert", "web1", "then")

    assert text == stamps.text_of(host, "web1")


def test_a_revert_to_a_guest_that_was_off(host_with_disk: Host) -> None:
    """With --running it boots: it is stamped."""
    host_with_disk.virsh("snapshot-create-as", "web1", "off")
    host_with_disk.virsh("snapshot-revert", "web1", "off", "--running")

    assert stamps.await_stamp(host_with_disk, "web1").features


def test_destroyed_at_once(guarded_host: Host) -> None:
    """Before it is stamped, or while: nobody minds."""
    define(guarded_host, "brief")
    before = guarded_host.cursor()
    pid = guarded_host.shell("systemctl show --property=MainPID cpu-guardd").stdout
    script = "virsh -q start brief; sleep 0.0$n; virsh -q destroy brief"
    guarded_host.shell(f"for n in 1 2 3 4 5 6 7 8 9 10; do {script}; done")
    start(guarded_host, "web1")
    stamps.await_stamp(guarded_host, "web1")

    assert pid == guarded_host.shell("systemctl show --property=MainPID cpu-guardd").stdout
    assert [] == stamps.problems(guarded_host)
    records = guarded_host.journal("_SYSTEMD_UNIT=cpu-guardd.service", since_cursor=before)
    assert [] == [r["MESSAGE"] for r in records if int(r["PRIORITY"]) <= int("4")]


@pytest.mark.parametrize(
    "how", ["systemctl kill --signal=KILL libvirtd", "systemctl restart libvirtd"]
)
def test_libvirtd_goes_right_after_a_start(guarded_host: Host, how: str) -> None:
    """The hook saw it start: it is stamped as soon as libvirtd is back."""
    define(guarded_host, "web1")
    guarded_host.shell(f"virsh -q start web1; {how}")
    guarded_host.wait_until("virsh list", timeout=60)

    assert stamps.await_stamp(guarded_host, "web1").features
    guarded_host.wait_until("cpu-guardctl status --json | jq -e .libvirt_connected")
    assert [] == stamps.problems(guarded_host)


def test_started_without_the_daemon(unguarded_after: Host) -> None:
    """What takes the host's CPU stays unstamped, and is named; for the rest, the XML tells."""
    host = unguarded_after
    host.run("systemctl", "stop", *DAEMON)
    start(host, "open")
    start(host, "told", NEHALEM)
    restart_daemon(host)

    assert "sse4.2" in stamps.await_stamp(host, "told").features
    host.wait_until("cpu-guardctl status --json | jq -e '.problems | any(contains(\"and none\"))'")
    assert "" == stamps.text_of(host, "open")
    host.virsh("destroy", "open")
    host.virsh("start", "open")
    assert stamps.await_stamp(host, "open").features
    host.wait_until("cpu-guardctl status --json | jq -e '.problems == []'")


def test_libvirt_refuses_the_daemon(unguarded_after: Host) -> None:
    """Not allowed to manage: said in the status, guests start, and it heals by itself."""
    host = unguarded_after
    host.run("gpasswd", "--delete", "cpu-guardd", "libvirt")
    try:
        host.run("systemctl", "restart", *DAEMON)
        host.wait_until(
            "cpu-guardctl status --json | jq -e '.problems | any(contains(\"authentication\"))'"
        )
        start(host, "web1")
    finally:
        host.run("gpasswd", "--add", "cpu-guardd", "libvirt")
    host.wait_until("cpu-guardctl status --json | jq -e .libvirt_connected", timeout=60)

    assert stamps.await_stamp(host, "web1").features
    assert [] == stamps.problems(host)
