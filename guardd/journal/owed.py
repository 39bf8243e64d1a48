"""What the journal is owed: refusals that were told before it had them, in a file till it has."""

from __future__ import annotations

import os
from pathlib import Path

MAX_OWED = 16 << 20  # bytes, some 10,000 refusals
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Owed:
    """Entries in a file, which the next process finds there if this one is killed.

    To write them there takes a twentieth of the time in which journald takes a record: it wakes
    nobody up. That holds for a file in memory; for one on a disk that is busy nobody may wait.
    """

    def __init__(self, path: Path) -> None:
        """Take *path*, and what it holds, over; raises OSError."""
        self._file = os.open(path, _FLAGS, 0o600)
        self._size = os.fstat(self._file).st_size
        self._unpaid = 0

    def left(self) -> list[bytes]:
        """Give the entries that another process left; one that it did not finish is left out."""
        *entries, _unfinished = os.pread(self._file, MAX_OWED, 0).split(b"\0")
        return entries

    def note(self, entry: bytes) -> bool:
        """Write *entry* down; say whether there was room. It ends with its only NUL."""
        if self._size + len(entry) > MAX_OWED:
            return False
        try:
            written = os.write(self._file, entry)
            if written < len(entry):
                os.ftruncate(self._file, self._size)
                return False
        except OSError:
            return False
        self._size += written
        self._unpaid += 1
        return True

    def pay(self) -> None:
        """Count one entry less that was noted here."""
        self._unpaid -= 1

    def clear(self) -> None:
        """Forget all entries, unless one that was noted here was not paid."""
        if self._size and not self._unpaid:
            os.ftruncate(self._file, 0)
            self._size = 0
