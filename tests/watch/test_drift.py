"""What the daemon says of a changed host, with the guests of libvirt's test driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pytest

from guardd import libvirtconn
from guardd.cpu.definition import Arch
from guardd.errors import LibvirtFailed
from guardd.facts.capabilities import parse_capabilities
from guardd.facts.domcaps import parse_domcaps
from guardd.facts.snapshot import HostSnapshot, with_revision
from guardd.journal import Kind
from guardd.judge.policy import Policy
from guardd.libvirtconn import Connection
from guardd.watch.chore import Desk, Known
from guardd.watch.drift import DriftWatch
from tests.cpu.maps import MAP
from tests.ctl.commands import capabilities, domcaps
from tests.ctl.guests import OFF, RUNNING, guests_uri
from tests.recordings import recorded_host, small_map

GUESTS = {
    "poor": ("<cpu mode='custom' check='partial'><model>Old</model></cpu>", RUNNING),
    "rich": ("<cpu mode='custom' check='full'><model>Mid</model></cpu>", RUNNING),
    "never": ("<cpu mode='custom' check='partial'><model>New</model></cpu>", OFF),
}


def host(model: str, **fingerprint: str) -> HostSnapshot:
    """Give the snapshot of a host with this CPU."""
    known = domcaps(f"<model>{model}</model><vendor>Intel</vendor>", "Old", virt_type="test")
    return HostSnapshot(
        hostname="host1",
        taken="2026-11-22T21:00:00Z",
        libvirt="9.0.0",
        arch=Arch.X86_64,
        host_cpu=parse_capabilities(capabilities(model).partition("?>")[2]).host_cpu,
        hypervisors=(parse_domcaps(known),),
        fingerprint=MappingProxyType(fingerprint),
    )


TSX, NO_TSX = host("Mid", microcode="0x1"), host("Mid-noTSX", microcode="0x2")


@dataclass(frozen=True)
class Room:
    """A DriftWatch, and all that it does."""

    records: list[dict[str, str]] = field(default_factory=list)
    kept: list[HostSnapshot] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)

    def watch(self, known: Known) -> DriftWatch:
        """Give the chore, going by *known*."""

        def say(kind: str, priority: str, message: str, **fields: str) -> None:
            assert kind == Kind.DRIFT
            self.records.append({"PRIORITY": str(priority), "MESSAGE": message, **fields})

        desk = Desk(
            known=lambda: known,
            say=say,
            count=self.counted.append,
            note=lambda _key, _problem: None,
        )
        return DriftWatch(desk, self.kept.append)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Connect to a libvirt that has GUESTS."""
    opened = libvirtconn.open_connection(guests_uri(tmp_path / "guests.xml", GUESTS))
    yield opened
    libvirtconn.close(opened)


def changed(connection: Connection, before: HostSnapshot, now: HostSnapshot) -> Room:
    """Tell the chore of a change."""
    room = Room()
    known = Known(host=now, policy=Policy(), cpu_map=MAP)
    room.watch(known).changed(connection, before, now)
    return room


def test_a_loss(connection: Connection) -> None:
    """One record of the host, one for each guest that it matters to, the old host kept."""
    room = changed(connection, TSX, NO_TSX)

    summary, guest = room.records
    assert (
        "this host changed: microcode 0x2 (was 0x1), host CPU Mid-noTSX (was Mid): lost hle, rtm;"
        " 1 guest would be refused for it"
    ) == summary["MESSAGE"]
    assert "4" == summary["PRIORITY"] == guest["PRIORITY"]
    assert "  rich (defined, running) would now be refused: " in summary["GUARDD_REPORT"]
    assert guest["MESSAGE"].startswith("rich (defined, running) would now be refused: rich needs")
    assert ("rich", "missing-feature:hle missing-feature:rtm") == (
        guest["GUARDD_DOMAIN"],
        guest["GUARDD_FINDINGS"],
    )
    assert ([TSX], ["drift"]) == (room.kept, room.counted)


def test_a_gain(connection: Connection) -> None:
    """Nobody is refused for it; it is no warning."""
    room = changed(connection, NO_TSX, TSX)

    [record] = room.records
    assert "6" == record["PRIORITY"]
    assert record["MESSAGE"].endswith("gained hle, rtm; no guests would be refused for it")
    assert [NO_TSX] == room.kept


def test_a_loss_that_nobody_needs(tmp_path: Path) -> None:
    """Worth a notice, for guests to come."""
    connection = libvirtconn.open_connection(guests_uri(tmp_path / "none.xml", {}))
    [record] = changed(connection, TSX, NO_TSX).records
    libvirtconn.close(connection)

    assert "5" == record["PRIORITY"]


def test_a_file_alone(connection: Connection) -> None:
    """A package put in again: nothing lost, nothing gained."""
    again = TSX._replace(fingerprint=MappingProxyType({"microcode": "0x3"}))
    [record] = changed(connection, TSX, again).records

    assert ("6", True) == (
        record["PRIORITY"],
        "0x3 (was 0x1): nothing lost, nothing gained;" in record["MESSAGE"],
    )


def test_no_change(connection: Connection) -> None:
    """A refresh that finds the same, and one that learned of another machine, say nothing."""
    [known] = TSX.hypervisors
    more = TSX._replace(hypervisors=(known._replace(machine="pc-2"), known))

    assert Room() == changed(connection, TSX, more)


def test_libvirt_is_away(connection: Connection) -> None:
    """The host's change is said all the same, and kept."""
    libvirtconn.close(connection)
    room = Room()
    known = Known(host=NO_TSX, policy=Policy(), cpu_map=MAP)

    with pytest.raises(LibvirtFailed):
        room.watch(known).changed(connection, TSX, NO_TSX)

    assert "lost hle, rtm; which guests it matters to is not known" in room.records[0]["MESSAGE"]
    assert [TSX] == room.kept


def test_a_powerpc_host_by_its_exact_model(connection: Connection) -> None:
    """What verdicts go by has the revision; the two snapshots have not, and nothing changed."""
    power9 = recorded_host("power9")
    exact = with_revision(power9, "POWER9_v2.2")
    room = Room()
    known = Known(host=exact, policy=Policy(), cpu_map=small_map())

    room.watch(known).changed(connection, power9, power9._replace(taken="2027"))

    assert Room() == room
