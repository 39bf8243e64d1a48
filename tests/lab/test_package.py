"""The Debian package comes, is upgraded and goes under a guest that runs."""

from collections.abc import Iterator, Mapping

import pytest

from tests.lab import guard
from tests.lab.guests import domain_xml
from tests.lab.host import Host

NEHALEM = "<cpu mode='custom' match='exact' check='none'><model>Nehalem</model></cpu>"
LEFT_BY_NOBODY = (guard.HOOK, "/etc/cpu-guardd", "/var/lib/cpu-guardd", "/run/cpu-guardd")


@pytest.fixture(params=["hostb", "hostd"])
def host_with_guest(guarded: Mapping[str, Host], request: pytest.FixtureRequest) -> Iterator[Host]:
    """A guarded host of each release with a running guest; the guard is put back in the end."""
    host = guarded[request.param]
    host.reset()
    host.virsh("create", "/dev/stdin", stdin=domain_xml("runner", cpu=NEHALEM))
    yield host
    host.reset()
    [package] = host.shell("ls /root/cpu-guardd_*.deb").stdout.split()
    if not exists(host, guard.HOOK):
        host.run("dpkg", "--install", package, timeout=300)
    guard.configure(host, "")


def exists(host: Host, path: str) -> bool:
    return host.run("test", "-e", path, check=False).code == 0


def dpkg(host: Host, *words: str) -> None:
    host.run("dpkg", *words, timeout=300)


def test_upgrade_keeps_what_is_the_administrators(host_with_guest: Host) -> None:
    """A changed configuration stays, the daemon is a new one, the guest is the same."""
    host = host_with_guest
    pid = guard.qemu_pid(host, "runner")
    guard.configure(host, 'mode = "warn"\n')
    daemon = host.shell("systemctl show --property=MainPID cpu-guardd").stdout
    [package] = host.shell("ls /root/cpu-guardd_*.deb").stdout.split()
    dpkg(host, "--install", package)

    assert daemon != host.shell("systemctl show --property=MainPID cpu-guardd").stdout
    assert "mode warn" in host.run("cpu-guardctl", "status").stdout
    assert pid == guard.qemu_pid(host, "runner")


def test_remove_and_purge(host_with_guest: Host) -> None:
    """The hook goes first; guests run on and start; purge leaves nothing behind."""
    host = host_with_guest
    pid = guard.qemu_pid(host, "runner")
    dpkg(host, "--remove", "cpu-guardd")
    host.virsh("create", "/dev/stdin", stdin=domain_xml("after", cpu=NEHALEM))

    assert not exists(host, guard.HOOK)
    assert exists(host, "/etc/cpu-guardd/guardd.toml")
    assert pid == guard.qemu_pid(host, "runner")
    dpkg(host, "--purge", "cpu-guardd")
    assert [] == [path for path in LEFT_BY_NOBODY if exists(host, path)]
    assert {"after", "runner"} == set(host.guests())
