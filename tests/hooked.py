"""The hook as a program of its own: one that looks for its neighbours in a test's folder."""

import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory

from tests.recordings import HOOK

SOURCE = HOOK.read_text(encoding="utf-8")
# as libvirt calls it
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}
SECONDS = 20.0  # far more than any run may take
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CFLAGS = ("-O1", "-g", "-Wall", "-Wextra", "-Werror", *SANITIZED)
_BUILDS = TemporaryDirectory()


def constant(name: str) -> str:
    """Give the value of one of the hook's constants: a number, or what a string says."""
    (value,) = re.findall(rf"^#define {name} (.*?)(?: /\*.*)?$", SOURCE, re.MULTILINE)
    return str(json.loads(value))


@dataclass(frozen=True)
class Outcome:
    """What libvirt gets of a hook, and how long it took."""

    status: int
    stdout: str
    stderr: str
    seconds: float = field(compare=False)


@dataclass(frozen=True)
class Hook:
    """A hook in *folder*, where its socket, its word file and its journal are too."""

    folder: Path

    @property
    def socket(self) -> Path:
        """Where it looks for the daemon."""
        return self.folder / "guard.sock"

    @property
    def on_unavailable(self) -> Path:
        """Where it looks for the word of its last resort."""
        return self.folder / "on_unavailable"

    @property
    def journal(self) -> Path:
        """Where it looks for journald."""
        return self.folder / "journal"

    def install(self, *, fallback: str = "/bin/false", **changes: float) -> Path:
        """Put it there: *fallback* judges alone, *changes* are other constants of its source."""
        program = self.folder / "qemu"
        program.unlink(missing_ok=True)
        program.symlink_to(built("", fallback, tuple(changes.items())))
        return program

    def run(
        self,
        *arguments: str | bytes,
        xml: bytes = b"<domain/>",
        path: Path | None = None,
    ) -> Outcome:
        """Run it as libvirt does; without *arguments*: before web1 is started."""
        words = arguments or ("web1", "prepare", "begin", "-")
        start = time.monotonic()
        done = subprocess.run(
            [path or self.install(), *words],
            input=xml,
            capture_output=True,
            check=False,
            timeout=SECONDS,
            env=ENVIRONMENT,
            cwd=self.folder,
        )
        return Outcome(
            done.returncode,
            done.stdout.decode(),
            done.stderr.decode(),
            time.monotonic() - start,
        )


def plainly_built() -> Path:
    """Build one as `built` does, without sanitizers: those need more memory than there may be."""
    return built(flags=("-O2",))


@cache
def built(
    folder: str = "",
    fallback: str = "/bin/false",
    changes: tuple[tuple[str, float], ...] = (),
    flags: tuple[str, ...] = CFLAGS,
) -> Path:
    """Build a hook that looks for its neighbours in *folder*, "" for the one where it is run."""
    defined = {
        "SOCKET": json.dumps(f"{folder}guard.sock"),
        "ON_UNAVAILABLE": json.dumps(f"{folder}on_unavailable"),
        "JOURNAL": json.dumps(f"{folder}journal"),
        "FALLBACK": json.dumps(fallback),
        "ROOT_UID": os.geteuid(),
        **dict(changes),
    }
    path = Path(_BUILDS.name) / f"hook-{built.cache_info().misses}"
    words = [f"-D{name}={value}" for name, value in defined.items()]
    subprocess.run(["cc", *flags, *words, "-o", path, HOOK], check=True, timeout=SECONDS)
    return path


def read_frame(connection: socket.socket) -> bytes:
    """Read up to a NUL, or to the end."""
    frame = b""
    while not frame.endswith(b"\0") and (part := connection.recv(1 << 20)):
        frame += part
    return frame


@contextmanager
def answering(path: Path, talk: Callable[[socket.socket], None]) -> Iterator[Queue[socket.socket]]:
    """Listen on *path* and have *talk* talk to each caller, one after the other.

    Gives the connections that were made; each is closed when *talk* has ended.
    """
    made: Queue[socket.socket] = Queue()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(16)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # shut down, below
            with connection:
                made.put(connection)
                try:
                    talk(connection)
                except ConnectionError:
                    continue  # the hook has gone

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield made
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(SECONDS)
        listener.close()
        path.unlink()
        assert not thread.is_alive()
