"""A handful of the faults of faults/, and a small storm; the long runs are made by hand."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.lab import storm
from tests.lab.faults.invariants import violations_of
from tests.lab.faults.prepare import needed, prepared
from tests.lab.faults.rounds import rounds
from tests.lab.guard import ROOT
from tests.lab.host import Host
from tests.lab.load import clear

CHOSEN = ("snapshot cut", "peer: endless")
CALLS = 100


@pytest.fixture
def ready_pair(guarded: Mapping[str, Host]) -> Iterator[list[Host]]:
    """Two guarded hosts to which all of CHOSEN can come."""
    pair = [guarded["hosta"], guarded["hostb"]]
    with needed(CHOSEN) as files, ExitStack() as stack:
        for host in pair:
            stack.enter_context(prepared(host, files))
        stack.callback(clear, pair)
        yield pair


def test_faults_under_load(ready_pair: list[Host]) -> None:
    """Guests live, calls end in time with the right verdict, vetoes are recorded, all resumes."""
    played = list(rounds(ready_pair, CHOSEN, len(CHOSEN), seed="1"))

    assert set(CHOSEN) == {done.name for done in played}
    assert all(any(act.is_refused for act in done.acts) for done in played)
    assert [] == [said for done in played for said in violations_of(done)]


def test_a_small_storm(guarded_host: Host) -> None:
    """All called at once: each gets the right answer, and a record."""
    guarded_host.push(ROOT / "tests/lab/call_each.py", storm.PROGRAM)

    found = storm.run(guarded_host, CALLS, CALLS, "storm")

    assert CALLS == len(found.seconds)
    assert (0, 0, 0) == (found.wrong, found.silent, found.unjudged)
