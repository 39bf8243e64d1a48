"""Who may ask the daemon what, by systemd's own varlinkctl; and how it is locked in."""

import json
from collections.abc import Iterator, Mapping

import pytest

from tests.lab import guard
from tests.lab.host import Host
from tests.lab.process import Completed

SOCKET = "/run/cpu-guardd/guard.sock"
INTERFACE = "io.cpuguardd.Guard"
CHECK = json.dumps({"domain": "by-hand", "operation": "prepare", "xml": "<domain/>"})
MEMBER = "lab-member"
MAX_EXPOSURE = 1.5


@pytest.fixture
def trixie(guarded: Mapping[str, Host]) -> Iterator[Host]:
    """A host with varlinkctl, and a member of group libvirt on it."""
    host = guarded["hostc"]
    host.shell(f"id {MEMBER} >/dev/null 2>&1 || useradd --groups libvirt {MEMBER}")
    yield host
    host.run("userdel", MEMBER)


def call(host: Host, user: str, method: str, parameters: str) -> Completed:
    command = ["varlinkctl", "call", "--json=short", SOCKET, f"{INTERFACE}.{method}", parameters]
    return host.run("runuser", "-u", user, "--", *command, check=False)


def test_introspection(trixie: Host) -> None:
    """A client that knows nothing of cpu-guardd finds its methods."""
    shown = trixie.run("varlinkctl", "introspect", SOCKET, INTERFACE).stdout

    assert "method Check(" in shown
    assert "method GetStatus(" in shown


def test_root_may_check(trixie: Host) -> None:
    """As the hook does; this one cannot be judged, and the configured answer is allow."""
    before = trixie.cursor()
    answer = json.loads(call(trixie, "root", "Check", CHECK).stdout)

    assert answer["refused"] is False
    assert answer["verdict"]["decision"] == "cannot-tell"
    assert guard.decisions(guard.verdicts(trixie, before)) == [("prepare", "cannot-tell")]


def test_member_of_libvirt_may_read_the_status(trixie: Host) -> None:
    """And cannot have anything judged."""
    status = call(trixie, MEMBER, "GetStatus", "{}")
    check = call(trixie, MEMBER, "Check", CHECK)

    assert json.loads(status.stdout)["version"]
    assert check.code != 0
    assert f"{INTERFACE}.NotPermitted" in check.stderr


def test_others_may_not_connect(trixie: Host) -> None:
    """The socket's mode keeps them out."""
    status = call(trixie, "nobody", "GetStatus", "{}")

    assert status.code != 0
    assert "Permission denied" in status.stderr


def test_sandbox(guarded_host: Host) -> None:
    """What systemd thinks of the unit's exposure, 10 being the worst."""
    command = "systemd-analyze security cpu-guardd.service | tail -n 1"
    words = guarded_host.shell(command).stdout.split()

    assert float(words[words.index("cpu-guardd.service:") + 1]) <= MAX_EXPOSURE
