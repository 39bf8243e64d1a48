"""The hook as a program of its own: a copy that looks for its neighbours in a test's folder."""

import ast
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

from tests.recordings import HOOK

SOURCE = HOOK.read_text(encoding="utf-8")
# as libvirt calls it
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}
SECONDS = 20.0  # far more than any run may take


def constant(name: str) -> object:
    """Give the value of one of the hook's constants."""
    for node in ast.parse(SOURCE).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                return ast.literal_eval(value)
    raise KeyError(name)


@dataclass(frozen=True)
class Outcome:
    """What libvirt gets of a hook, and how long it took."""

    status: int
    stdout: str
    stderr: str
    seconds: float = field(compare=False)


@dataclass(frozen=True)
class Hook:
    """A copy of the hook in *folder*, where its socket, its word file and its journal are too."""

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

    def install(self, *, fallback: str = "/bin/false", **changes: str) -> Path:
        """Write the copy: *fallback* judges alone; *changes* are other constants, as source."""
        lines = {
            "SOCKET": repr(str(self.socket)),
            "ON_UNAVAILABLE": repr(str(self.on_unavailable)),
            "JOURNAL": repr(str(self.journal)),
            **changes,
        }
        text = SOURCE
        for name, value in lines.items():
            (line,) = [line for line in text.splitlines() if line.startswith(f"{name} = ")]
            text = text.replace(line, f"{name} = {value}")
        # whoever runs the tests is root to it
        for old, new in (
            ('sys.executable, "-I", "-m", "guardd.fallback"', repr(fallback)),
            ("posix.geteuid()", "0"),
        ):
            assert 1 == text.count(old)
            text = text.replace(old, new)
        path = self.folder / "qemu"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

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
            cwd="/",
        )
        return Outcome(
            done.returncode,
            done.stdout.decode(),
            done.stderr.decode(),
            time.monotonic() - start,
        )


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
