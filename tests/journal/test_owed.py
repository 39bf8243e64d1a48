"""What the journal is owed: it must outlive the process, and never hold one up."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guardd.journal import owed
from guardd.journal.owed import Owed


def test_entries_outlive_their_writer(tmp_path: Path) -> None:
    """As they were written, oldest first."""
    Owed(tmp_path / "owed").note(b"one\0")
    again = Owed(tmp_path / "owed")
    again.note(b"two\0")

    assert [b"one", b"two"] == Owed(tmp_path / "owed").left()


def test_nothing_is_owed_at_first(tmp_path: Path) -> None:
    """And nobody else may read the file: it says what guests need."""
    assert [] == Owed(tmp_path / "owed").left()
    assert 0o600 == (tmp_path / "owed").stat().st_mode & 0o777


def test_what_was_not_finished_is_left_out(tmp_path: Path) -> None:
    """Nobody was told of that."""
    (tmp_path / "owed").write_bytes(b"one\0tw")

    assert [b"one"] == Owed(tmp_path / "owed").left()


def test_clear(tmp_path: Path) -> None:
    """All at once, when all that was noted here is paid; the file is as good as new."""
    file = Owed(tmp_path / "owed")
    file.note(b"one\0")
    file.note(b"two\0")
    file.pay()
    file.clear()
    assert [b"one", b"two"] == file.left()

    file.pay()
    file.clear()
    assert [] == file.left()

    file.note(b"three\0")
    assert [b"three"] == file.left()


def test_what_another_process_left_can_be_cleared(tmp_path: Path) -> None:
    """It was not noted here, so nothing is unpaid."""
    Owed(tmp_path / "owed").note(b"one\0")
    file = Owed(tmp_path / "owed")
    file.clear()

    assert [] == Owed(tmp_path / "owed").left()


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond *size* bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_no_room(tmp_path: Path) -> None:
    """It is said at once, for an entry that fits in part as well, and nothing of it stays."""
    file = Owed(tmp_path / "owed")
    assert file.note(b"one\0")
    with files_end_at(6):
        is_noted = file.note(b"two\0")
    with files_end_at(4):
        is_noted |= file.note(b"three\0")
    assert not is_noted
    assert file.note(b"four\0")

    assert [b"one", b"four"] == file.left()


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that stays away must not fill the host's memory."""
    monkeypatch.setattr(owed, "MAX_OWED", 100)
    file = Owed(tmp_path / "owed")
    entry = b"x" * 19 + b"\0"

    assert [True] * 5 + [False] == [file.note(entry) for _ in range(6)]
    assert 100 == (tmp_path / "owed").stat().st_size


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Not even one that the service's own user has planted."""
    (tmp_path / "owed").symlink_to(tmp_path / "other")

    with pytest.raises(OSError, match="symbolic"):
        Owed(tmp_path / "owed")

    assert [tmp_path / "owed"] == list(tmp_path.iterdir())
