"""Guests that start, each a file in a folder: what a daemon that is killed leaves to the next."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from urllib.parse import quote, unquote

# from the hook's call until the guest runs and was looked at: it may have to clear its memory, and
# a daemon that hangs has to be found out and killed
START_SECONDS = 300.0
MAX_STARTING = 10_000  # files
ENDING = ".guest"  # so that no name is one of the folder's own


class Starting:
    """The guests that the hook asked about as they boot, until they are looked at; for any thread.

    Their files have their names, are empty, and as old as the call. What cannot be written is a
    loss only to who comes after a kill, so that nobody is told.
    """

    def __init__(self, folder: Path) -> None:
        """Take over *folder* and what another process left there; raises OSError."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._names = {
            unquote(path.name.removesuffix(ENDING), errors="surrogatepass")
            for path in folder.glob(f"*{ENDING}")
        }

    def names(self) -> set[str]:
        """Name all of whom the call is not too long ago; the others are forgotten."""
        for name in self._names.copy():
            if not self._is_young(name):
                self.discard(name)
        return self._names.copy()

    def add(self, name: str) -> None:
        """Take note of a guest that boots."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        if len(self._names) < MAX_STARTING:
            with contextlib.suppress(OSError):
                os.close(os.open(self._path(name), flags, 0o600))
                self._names.add(name)

    def discard(self, name: str) -> None:
        """Forget a guest, known here or not."""
        if name in self._names:
            self._names.discard(name)
            with contextlib.suppress(OSError):
                self._path(name).unlink()

    def _is_young(self, name: str) -> bool:
        try:
            return 0 <= time.time() - self._path(name).stat().st_mtime < START_SECONDS
        except OSError:
            return False

    def _path(self, name: str) -> Path:
        return self._folder / f"{quote(name, safe='', errors='surrogatepass')}{ENDING}"
