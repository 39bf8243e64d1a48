"""Which guests arrive, by the order of the hook's calls."""

from guardd.judge.finding import Operation
from guardd.watch.asked import Asked


def test_refused() -> None:
    """A start after an arrival that was refused is none: the guest runs elsewhere, or is new."""
    asked = Asked()

    assert asked.note("web1", Operation.MIGRATE)
    assert asked.note("web1", Operation.PREPARE)
    assert asked.note("web1", Operation.MIGRATE)
    asked.refused("web1")
    assert not asked.note("web1", Operation.PREPARE)
