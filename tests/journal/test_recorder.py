"""Verdicts and the journal: a refusal is written somewhere before anybody hears of it."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from guardd import wire
from guardd.journal.owed import Owed
from guardd.journal.recorder import Recorder
from guardd.journal.writer import JournalWriter
from guardd.judge.finding import Verdict
from guardd.render import hook_line, journal_fields
from tests.judge.table import HASWELL, cpu, domain, judged

GOOD = judged(HASWELL, domain(cpu("Nehalem")))
BAD = judged(HASWELL, domain(cpu("Skylake-Server")))

SECONDS = 10.0  # far more than any of this takes


class Journald:
    """Takes what is offered while it is there, and what is sent whenever it comes back."""

    def __init__(self, *, is_there: bool = True, seconds: float = SECONDS) -> None:
        self.is_there = is_there
        self.records: list[Mapping[str, str]] = []
        self.writer = JournalWriter(self._send, self._offer, flush_seconds=seconds)

    def _offer(self, fields: Mapping[str, str]) -> bool:
        if self.is_there:
            self.records.append(fields)
        return self.is_there

    def _send(self, fields: Mapping[str, str]) -> None:
        if not self._offer(fields):
            raise ConnectionRefusedError


class Later:
    """What was put off, in order."""

    def __init__(self) -> None:
        self.acts: list[Callable[[], object]] = []

    def __call__(self, act: Callable[..., object], *words: object) -> None:
        """Put *act* off."""
        self.acts.append(lambda: act(*words))

    def come(self) -> None:
        """Do all of it."""
        while self.acts:
            self.acts.pop(0)()


def reply_of(verdict: Verdict) -> bytes:
    return wire.format_reply(
        {
            "refused": verdict.refused,
            "line": hook_line(verdict),
            "verdict": wire.verdict_to_dict(verdict),
        }
    )


def test_a_refusal_is_noted_first_and_recorded_then(tmp_path: Path) -> None:
    """The reply goes out in between; when the journal has the record, nothing is owed."""
    journald, later = Journald(), Later()
    recorder = Recorder(journald.writer, Owed(tmp_path / "owed"))

    recorder.record(BAD, 7, reply_of(BAD), later)
    assert [] == journald.records
    assert [b"7 " + reply_of(BAD)[:-1]] == Owed(tmp_path / "owed").left()

    later.come()
    assert [journal_fields(BAD, 7)] == journald.records
    assert [] == Owed(tmp_path / "owed").left()


def test_one_of_two_is_still_owed(tmp_path: Path) -> None:
    """Two replies may go out before the first record is written."""
    journald, first, second = Journald(), Later(), Later()
    recorder = Recorder(journald.writer, Owed(tmp_path / "owed"))
    recorder.record(BAD, 1, reply_of(BAD), first)
    recorder.record(BAD, 2, reply_of(BAD), second)

    first.come()
    assert 2 == len(Owed(tmp_path / "owed").left())
    second.come()
    assert [] == Owed(tmp_path / "owed").left()


def test_nothing_is_noted_of_a_guest_that_fits(tmp_path: Path) -> None:
    """Who lost such a record lost nothing but a record."""
    journald, later = Journald(), Later()
    recorder = Recorder(journald.writer, Owed(tmp_path / "owed"))

    recorder.record(GOOD, 7, reply_of(GOOD), later)
    assert [] == Owed(tmp_path / "owed").left()
    later.come()
    journald.writer.close()

    assert [journal_fields(GOOD, 7)] == journald.records


def without_a_place(_folder: Path) -> Owed | None:
    return None


def without_room(folder: Path) -> Owed | None:
    full = Owed(folder / "owed")
    while full.note(b"x" * (1 << 20) + b"\0"):
        pass
    while full.note(b"x\0"):
        pass
    return full


@pytest.mark.parametrize("owed", [without_a_place, without_room])
def test_where_nothing_can_be_noted(tmp_path: Path, owed: Callable[[Path], Owed | None]) -> None:
    """The record itself goes before the reply, and nothing is left for later."""
    journald, later = Journald(), Later()

    Recorder(journald.writer, owed(tmp_path)).record(BAD, 7, reply_of(BAD), later)

    assert [journal_fields(BAD, 7)] == journald.records
    assert [] == later.acts


def test_journal_and_daemon_end_together(tmp_path: Path) -> None:
    """The next daemon records what this one could not, as it was told."""
    away, later = Journald(is_there=False, seconds=0.1), Later()
    recorder = Recorder(away.writer, Owed(tmp_path / "owed"))
    recorder.record(BAD, 7, reply_of(BAD), later)
    later.come()
    away.writer.close()
    recorder.settle()
    journald = Journald()

    Recorder(journald.writer, Owed(tmp_path / "owed")).take_over()

    assert [] == away.records
    assert [journal_fields(BAD, 7)] == journald.records
    assert [] == Owed(tmp_path / "owed").left()


def test_a_journal_that_comes_back(tmp_path: Path) -> None:
    """Nothing is forgotten as long as it waits in the queue."""
    journald, later = Journald(is_there=False), Later()
    recorder = Recorder(journald.writer, Owed(tmp_path / "owed"))
    recorder.record(BAD, 7, reply_of(BAD), later)
    later.come()
    recorder.settle()
    assert 1 == len(Owed(tmp_path / "owed").left())

    journald.is_there = True
    journald.writer.close()
    recorder.settle()

    assert [journal_fields(BAD, 7)] == journald.records
    assert [] == Owed(tmp_path / "owed").left()


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"7",
        b"7 {}",
        b"seven " + reply_of(BAD)[:-1],
        b'7 {"parameters":{"verdict":7}}',
        b'7 {"parameters":{"verdict":{"findings":[]}}}',
        b'7 {"error":"a\nb"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda entry: entry[:20].decode("latin-1"),
)
def test_what_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, entry: bytes
) -> None:
    """Of another version, or from nowhere: it is said, and what stands beside it is recorded."""
    (tmp_path / "owed").write_bytes(entry + b"\0" + b"7 " + reply_of(BAD))
    journald = Journald()

    with caplog.at_level(logging.WARNING):
        Recorder(journald.writer, Owed(tmp_path / "owed")).take_over()

    assert [journal_fields(BAD, 7)] == journald.records
    assert ["a refusal that was left to be recorded cannot be read"] == caplog.messages
    assert [] == Owed(tmp_path / "owed").left()
