"""Guests that start unasked: noticed, with a likely cause, and no false alarm."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from guardd.hookfile import DROP_IN, MAIN, program
from guardd.journal import Kind, Priority
from guardd.judge.finding import CheckRequest, Decision, Operation, Verdict
from guardd.libvirtconn import GuestEvent, Happening
from guardd.watch.unasked import BY_HAND, SETTLE_SECONDS, Calls, Unasked, likely_cause
from tests.judge.table import UUID, cpu, domain
from tests.watch.conftest import Driver
from tests.watch.notes import Notes

XML = domain(f"<memory>1024</memory>{cpu('Nehalem')}").replace(" machine='q35'", "")
REQUEST = CheckRequest(domain="web1", operation=Operation.PREPARE, xml=XML)
VERDICT = Verdict(
    domain="web1", operation=Operation.PREPARE, decision=Decision.ALLOW, refused=False
)


@dataclass
class Clock:
    """A clock that is set by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Watched:
    """A chore that is handed what happens, each word one thing at the next second."""

    driver: Driver
    hooks: Path
    notes: Notes = field(default_factory=Notes)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.calls = Calls(self.clock)
        self.chore = Unasked(self.notes.desk, self.calls, self.hooks, self.clock)

    def live(self, words: str) -> list[str]:
        """Let it all happen; give the names that were told of."""
        late: list[Callable[[], None]] = []
        for word in words.split():
            self.clock.now += 1.0
            what, _, how = word.partition(":")
            happening = _WHAT.get(what, Happening.BOOTED)
            event = GuestEvent(uuid=UUID, name="web1", what=happening, at=self.clock.now)
            match what:
                case "call":
                    self.calls.note("web1")
                case "judged":
                    self.chore.judged(self.driver.connection, REQUEST, VERDICT)
                case "tick":
                    self.clock.now += SETTLE_SECONDS
                    self.chore.ticked(self.driver.connection)
                case "subscribed":
                    self.chore.subscribed(self.driver.connection)
                case "queue":
                    for act in late:
                        act()
                    late.clear()
                case _ if how == "late":
                    late.append(partial(self.chore.happened, self.driver.connection, event))
                case _:
                    self.chore.happened(self.driver.connection, event)
        return [record["GUARDD_DOMAIN"] for record in self.notes.records]


_WHAT = {
    "boots": Happening.BOOTED,
    "arrives": Happening.MIGRATED,
    "restored": Happening.RESTORED,
    "reverted": Happening.REVERTED,
    "wakes": Happening.WOKEN,
    "resets": Happening.RESET,
    "stops": Happening.STOPPED,
}


@pytest.fixture
def watched(driver: Driver, tmp_path: Path) -> Watched:
    """Give a chore and an empty folder of hooks."""
    return Watched(driver, tmp_path)


@pytest.mark.parametrize(
    ("words", "times"),
    [
        pytest.param("call boots tick", 0, id="asked"),
        pytest.param("boots tick", 1, id="unasked"),
        pytest.param("boots tick tick tick", 1, id="said once"),
        pytest.param("boots", 0, id="not said before it is sure"),
        pytest.param("boots tick stops boots tick", 2, id="each time"),
        pytest.param("call arrives tick stops arrives tick", 1, id="arrives unasked"),
        pytest.param("call restored tick stops restored tick", 1, id="restored unasked"),
        pytest.param("call boots stops reverted tick", 1, id="reverted unasked"),
        pytest.param("call boots stops boots tick", 1, id="one call answers for one start"),
        pytest.param("call boots wakes resets wakes tick", 0, id="it never went away"),
        pytest.param("boots call tick", 0, id="a daemon that hung reads the call after the event"),
        pytest.param(
            "call boots:late stops:late call boots:late queue tick",
            0,
            id="looked at when it runs for the second time",
        ),
        pytest.param(
            "call boots:late stops:late boots:late queue tick", 1, id="the second time unasked"
        ),
        pytest.param(
            "call boots call stops boots tick", 0, id="a revert: its call comes before the stop"
        ),
    ],
)
def test_starts(watched: Watched, words: str, times: int) -> None:
    """Who is told of, by what happens in which order."""
    assert ["web1"] * times == watched.live(words)
    assert ({"unasked": times} if times else {}) == watched.notes.counted


def test_running_when_connected(watched: Watched) -> None:
    """A guest on its way when the daemon started may have been asked about before: once."""
    watched.driver.define(XML).create()

    assert [] == watched.live("subscribed arrives tick")
    assert ["web1"] == watched.live("stops boots tick")


def test_running_and_restarted(watched: Watched) -> None:
    """Nothing can be told of one that runs already; but of its next start."""
    watched.driver.define(XML).create()

    assert ["web1"] == watched.live("subscribed stops boots tick")


def test_record_and_problem(watched: Watched) -> None:
    """What is written and what `status` shows, until the hook asks again."""
    watched.live("boots tick")

    [record] = watched.notes.records
    since = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(record.pop("GUARDD_STARTED"))
    assert SETTLE_SECONDS <= since.total_seconds() < SETTLE_SECONDS + 60
    assert {
        "MESSAGE_ID": Kind.UNASKED,
        "PRIORITY": Priority.WARNING,
        "MESSAGE": (
            "cpu-guardd: web1 started here (booted) without the hook being asked: it is not"
            " installed; see: cpu-guardctl hook status"
        ),
        "GUARDD_DOMAIN": "web1",
        "GUARDD_DOMAIN_UUID": UUID,
    } == record
    assert {
        "hook": (
            "guests start without the hook being asked: it is not installed; see `cpu-guardctl hook"
            " status`"
        )
    } == watched.notes.problems

    by_hand = REQUEST._replace(domain=BY_HAND)
    watched.chore.judged(watched.driver.connection, by_hand, VERDICT)
    assert {"hook"} == set(watched.notes.problems)
    watched.live("judged")
    assert {} == watched.notes.problems


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, "it is not installed", id="nothing"),
        pytest.param({MAIN: (program(), 0o644)}, "{main} is not executable", id="chmod"),
        pytest.param(
            {MAIN: (b"#!/bin/sh\n", 0o755)},
            "{main} is another program's, and ours is not beside it",
            id="foreign",
        ),
        pytest.param(
            {MAIN: (b"#!/bin/sh\n", 0o755), DROP_IN: (program(), 0o600)},
            "{drop_in} is not executable",
            id="not executable beside a foreign one",
        ),
        pytest.param(
            {MAIN: (program(), 0o755)},
            "it is in its place, so libvirtd was not reloaded since it was put there"
            " (`cpu-guardctl hook install` has it look again)",
            id="not reloaded",
        ),
        pytest.param(
            {MAIN: (b"#!/bin/sh\n", 0o755), DROP_IN: (program() + b"\n", 0o755)},
            "it is in its place, so libvirtd was not reloaded since it was put there"
            " (`cpu-guardctl hook install` has it look again)",
            id="outdated, and not reloaded",
        ),
    ],
)
def test_likely_cause(tmp_path: Path, files: dict[str, tuple[bytes, int]], expected: str) -> None:
    """By what stands in libvirt's folder."""
    for name, (text, mode) in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text)
        (tmp_path / name).chmod(mode)
    words = {"main": tmp_path / MAIN, "drop_in": tmp_path / DROP_IN}

    assert expected.format(**words) == likely_cause(tmp_path)


def test_calls_are_bounded() -> None:
    """However many there are, of one guest or of many."""
    clock = Clock()
    calls = Calls(clock)
    for _ in range(100):
        calls.note("web1")
    for number in range(20_000):
        calls.note(f"guest{number}")

    assert not calls.take("web1", clock.now)
    assert calls.take("guest19999", clock.now)


@pytest.mark.parametrize(("seconds", "answers"), [(1.0, True), (599.0, True), (601.0, False)])
def test_an_old_call_excuses_nobody(seconds: float, *, answers: bool) -> None:
    """One that no start came of, as of a guest whose QEMU failed, or of somebody by hand."""
    clock = Clock()
    calls = Calls(clock)
    calls.note("web1")

    assert answers is calls.take("web1", clock.now + seconds)
