"""Where a guest can go, asked beforehand: what is answered is what then happens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab import guard
from tests.lab.guests import domain_xml
from tests.lab.host import Host

NEHALEM = "<cpu mode='custom' match='exact' check='none'><model>Nehalem</model></cpu>"
# TCG got x2apic in QEMU 9
MODERN = (
    "<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>Nehalem</model>"
    "<feature policy='require' name='x2apic'/><feature policy='require' name='hypervisor'/></cpu>"
)
CEILING = '[ceiling]\nx86_64 = "Penryn"\n'
KEY = "/root/.ssh/lab"
CTL = "/usr/bin/cpu-guardctl"
NOWHERE = "qemu+tcp://10.77.0.99/system"


def tcp(host: Host) -> str:
    """Give the URI of *host* by way of TCP, to its libvirt only."""
    return f"qemu+tcp://{host.name}/system"


def ssh(host: Host) -> str:
    """Give the URI of *host* by way of ssh, to its guard."""
    return f"qemu+ssh://root@{host.name}/system?keyfile={KEY}&no_verify=1"


def check(host: Host, guest: str, *uris: str) -> tuple[int, list[tuple[str, str]], list[Any]]:
    """Ask on *host* where *guest* can go: exit status, answers with who gave them, all of it."""
    on = [word for uri in uris for word in ("--on", uri)]
    done = host.run("cpu-guardctl", "check", guest, *on, "--json", check=False)
    rows = json.loads(done.stdout)["hosts"]
    assert done.stderr == ""
    return done.code, [(row["can_go"], row["asked"]) for row in rows], rows


def start(host: Host, name: str, cpu: str) -> None:
    """Start a guest called *name*."""
    host.virsh("define", "/dev/stdin", stdin=domain_xml(name, cpu=cpu))
    host.virsh("start", name)


@pytest.fixture
def keyed_pair(guarded_pair: tuple[Host, Host]) -> tuple[Host, Host]:
    """Two guarded hosts of one release; root of the first may log into the second."""
    source, destination = guarded_pair
    made = f"mkdir -p /root/.ssh; [ -e {KEY} ] || ssh-keygen -q -t ed25519 -N '' -f {KEY}"
    source.shell(made)
    public = source.run("cat", f"{KEY}.pub").stdout
    destination.write("/root/.ssh/authorized_keys", public, 0o600)
    destination.shell("ssh-keygen -A; systemctl start ssh.service")
    return source, destination


@contextmanager
def without_guard(host: Host) -> Iterator[None]:
    """Have no cpu-guardctl on *host*, as where the package is not installed."""
    host.run("mv", CTL, f"{CTL}.away")
    try:
        yield
    finally:
        host.run("mv", f"{CTL}.away", CTL)


def test_where_it_can_go(
    guarded: Mapping[str, Host], guarded_mixed_pair: tuple[Host, Host]
) -> None:
    """By the libvirts of all others: a guest of a newer QEMU cannot go to the older one."""
    older, newer = guarded_mixed_pair
    start(newer, "modern", MODERN)
    status, answers, rows = check(newer, "modern", tcp(older), tcp(guarded["hostd"]))

    assert (status, answers) == (1, [("no", "libvirt"), ("yes", "libvirt")])
    assert "x2apic" in rows[0]["why"]
    assert rows[0]["verdict"]["source"].startswith("no guard asked; libvirt at ")
    assert newer.migrate("modern", older, check=False).code == 1
    newer.migrate("modern", guarded["hostd"])
    guarded["hostd"].reset()


def test_a_newer_host(guarded_mixed_pair: tuple[Host, Host]) -> None:
    """A libvirt that has more words for CPUs than the one here is understood all the same."""
    older, newer = guarded_mixed_pair
    start(older, "roamer", NEHALEM)

    assert check(older, "roamer", tcp(newer))[:2] == (0, [("yes", "libvirt")])
    older.migrate("roamer", newer)


def test_the_guard_there(keyed_pair: tuple[Host, Host]) -> None:
    """By way of ssh the rules of that host's administrator count; its libvirt knows none."""
    source, destination = keyed_pair
    start(source, "roamer", NEHALEM)
    guard.configure(destination, CEILING)
    status, answers, rows = check(source, "roamer", ssh(destination), tcp(destination))

    assert (status, answers) == (1, [("no", "guard"), ("yes", "libvirt")])
    assert "roamer would have " in rows[0]["why"]
    assert "cpu-guardd[above-ceiling]" in source.migrate("roamer", destination, check=False).stderr

    guard.configure(destination, "")
    assert check(source, "roamer", ssh(destination))[:2] == (0, [("yes", "guard")])
    source.migrate("roamer", destination)


def test_a_guest_that_is_off(keyed_pair: tuple[Host, Host]) -> None:
    """It is judged as it would start there."""
    source, destination = keyed_pair
    source.virsh("define", "/dev/stdin", stdin=domain_xml("dormant", cpu=NEHALEM))
    guard.configure(destination, CEILING)
    status, answers, rows = check(source, "dormant", ssh(destination))

    assert (status, answers) == (1, [("no", "guard")])
    assert rows[0]["verdict"]["operation"] == "prepare"


def test_no_guard_there(keyed_pair: tuple[Host, Host]) -> None:
    """Libvirt answers in its place, by way of ssh as well."""
    source, destination = keyed_pair
    start(source, "roamer", NEHALEM)
    with without_guard(destination):
        assert check(source, "roamer", ssh(destination))[:2] == (0, [("yes", "libvirt")])


def test_unreachable(keyed_pair: tuple[Host, Host]) -> None:
    """A host that is away, one that lets nobody in, one that hangs: rows like others, in time."""
    source, destination = keyed_pair
    start(source, "roamer", NEHALEM)
    destination.write("/root/.ssh/authorized_keys", "", 0o600)
    destination.shell("systemctl kill --signal=STOP libvirtd")
    begun = time.monotonic()
    try:
        status, answers, rows = check(
            source, "roamer", NOWHERE, ssh(destination), tcp(destination), "qemu+tls://hosta/system"
        )
    finally:
        destination.shell("systemctl kill --signal=CONT libvirtd")

    assert (status, answers) == (3, [("cannot-tell", "nobody")] * 4)
    assert time.monotonic() - begun < 25
    assert NOWHERE in rows[0]["why"]
    assert "Permission denied" in rows[1]["why"]
    assert "no answer within 10 s" in rows[2]["why"]


def test_baseline_of_libvirts(guarded_pair: tuple[Host, Host]) -> None:
    """Hosts by URI: equal ones cost each other nothing, and the CPU is virsh's own."""
    one, other = guarded_pair
    words = ("baseline", "--host-cpu", tcp(one), tcp(other))
    done = one.run("cpu-guardctl", *words)
    virsh = one.shell("virsh capabilities | virsh cpu-baseline /dev/stdin")
    priced = one.run("cpu-guardctl", *words, "--price", "--json")

    assert done.stdout.strip() == virsh.stdout.strip()
    assert done.stderr.startswith("note: the host's own CPU is taken of qemu+tcp://")
    assert [kind["gains"] for kind in json.loads(priced.stdout)["kinds"]] == [[]]
