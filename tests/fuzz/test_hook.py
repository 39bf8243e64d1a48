"""A short run of the hook's C, under the compiler's checks."""

from pathlib import Path

from tests.fuzz.hook import BATCH, run


def test_hook(tmp_path: Path) -> None:
    """No byte is read or written that is not its own, and JSON means the same to both."""
    assert run(2 * BATCH, tmp_path) > 0
