"""cpu-guardctl events over a recorded journal, and one that grows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from guardd.journal import reader
from guardd.journal.reader import Follow
from tests.ctl.commands import Done, run
from tests.ctl.schemas import validate
from tests.ctl.test_replay import DATABASE1, recorded_journal
from tests.recordings import ROOT

__all__ = ["recorded_journal"]


@pytest.fixture
def events_in(recorded_journal: Path) -> Path:
    """Give the folder of the recorded journal."""
    return recorded_journal


def events(folder: Path, *words: str) -> Done:
    """Run events on the journal in *folder*."""
    return run("events", "--directory", folder, *words)


def objects(done: Done) -> list[dict[str, object]]:
    """Read an object a line, and hold each against its schema."""
    found = [json.loads(line) for line in done.out.splitlines()]
    for document in found:
        validate(document)
    return found


def test_lines(events_in: Path) -> None:
    """Time, kind, guest, decision, message; what is forged is not there."""
    done = events(events_in)
    lines = [line.split("  ")[1:] for line in done.out.splitlines()]

    assert (0, "") == (done.status, done.err)
    assert [
        ("verdict", "web1", "deny"),
        ("verdict", "web1", "warn"),
        ("verdict", "database1", "warn"),
        ("verdict", "database1", "allow"),
        ("verdict", "old1", "cannot-tell"),
        ("verdict", "later12", "deny"),
        ("drift", "web1", "-"),
    ] == [tuple(word.strip() for word in line if word.strip())[:3] for line in lines]
    assert done.out.splitlines()[0].endswith(
        "  deny  [missing-feature]: web1 needs avx512f, avx512bw from Skylake-Server; this host"
        " (Haswell-noTSX, KVM) lacks them"
    )
    assert "forged" not in done.out


def test_json(events_in: Path) -> None:
    """An object a line; the message is whole."""
    found = objects(events(events_in, "--json", "web1"))

    assert ["verdict", "verdict", "drift"] == [event["kind"] for event in found]
    assert ["missing-feature:avx512f", "missing-feature:avx512bw"] == found[0]["findings"]
    assert str(found[0]["message"]).endswith("; see: cpu-guardctl explain web1")
    assert found == [event for event in objects(events(events_in, "--json")) if event in found]


def test_chosen(events_in: Path) -> None:
    """By UUID, and by time."""
    assert 2 == len(objects(events(events_in, "--json", DATABASE1)))
    everything = objects(events(events_in, "--json"))
    since = str(everything[3]["time"])
    assert len(everything) >= len(objects(events(events_in, "--json", "--since", since))) >= 4


@pytest.mark.parametrize("words", [("nobody",), ("--since", "2100-01-01")])
def test_none(events_in: Path, words: tuple[str, ...]) -> None:
    """Whoever may not read the journal finds nothing either."""
    done = events(events_in, *words)

    assert (3, "") == (done.status, done.out)
    assert "in the journal that you may read" in done.err


def test_newest(events_in: Path) -> None:
    """Those that --follow begins with are the newest; it goes on until it is told to end."""
    all_of_it = list(reader.records(directory=events_in))

    for number in (1, 3, 100):
        follow = Follow(newest=number, seconds=0.01, is_over=lambda: True)
        found = list(reader.records(directory=events_in, follow=follow))
        assert all_of_it[-number:] == found


def test_follow_takes_a_new_file(events_in: Path, tmp_path: Path) -> None:
    """As when the journal is rotated: what is in a file that comes later is read too."""
    folder = tmp_path / "journal"
    folder.mkdir()
    at_first = islice(reader.records(directory=folder, follow=Follow(seconds=0.05)), 7)

    shutil.copy(events_in / "system.journal", tmp_path / "copy")
    later = iter(at_first)
    (tmp_path / "copy").rename(folder / "system.journal")

    assert 7 == len(list(later))


def test_interrupt(events_in: Path) -> None:
    """Ctrl-C is the way to end it: no error, no traceback."""
    words = ["events", "--follow", "--directory", str(events_in)]
    with subprocess.Popen(
        [sys.executable, "-m", "guardd.ctl", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        assert follower.stderr is not None
        shown = [follower.stdout.readline() for _ in range(7)]
        follower.send_signal(signal.SIGINT)
        assert (0, "") == (follower.wait(10), follower.stderr.read())

    assert "drift" in shown[-1]
