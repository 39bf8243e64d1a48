"""Running programs with a time limit, and saying how that went."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL_LINES = 15
# Whatever else the caller has in PATH is no part of a base.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive",
    "LC_ALL": "C.UTF-8",
}


class LabError(Exception):
    """What the person who runs the lab has to know; the program ends with exit status 1."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: exit status (negative: the signal that killed it) and its output."""

    code: int
    stdout: str
    stderr: str


class CommandFailed(LabError):
    """A command ended with another exit status than 0."""

    def __init__(self, shown: str, completed: Completed) -> None:
        super().__init__(f"{shown}\nexit status {completed.code}{_outputs(completed)}")
        self.completed = completed


class TimedOut(LabError):
    """A command, or something waited for, took too long; the command was killed."""


def _outputs(completed: Completed) -> str:
    return "".join(
        f"\n--- {name}\n{text.rstrip()}"
        for name, text in (("stdout", completed.stdout), ("stderr", completed.stderr))
        if text.strip()
    )


def execute(
    argv: Sequence[str],
    *,
    stdin: str | bytes | None = None,
    timeout: float = 60,
    check: bool = True,
    shown: str | None = None,
) -> Completed:
    """Run *argv*; *shown* is what an error calls it. Without *stdin* it reads nothing."""
    shown = shown or shlex.join(argv)
    data = stdin.encode() if isinstance(stdin, str) else stdin
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(data, timeout)
        except subprocess.TimeoutExpired:
            completed = _killed(process)
            message = f"{shown}\nstill running after {timeout} s, killed{_outputs(completed)}"
            raise TimedOut(message) from None
        except BaseException:
            _killed(process)
            raise
    completed = Completed(process.returncode, _text(out), _text(err))
    if check and completed.code != 0:
        raise CommandFailed(shown, completed)
    return completed


def _killed(process: subprocess.Popen[bytes]) -> Completed:
    # The whole process group: nsenter's child, inside a host, outlives nsenter alone.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        out, err = process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        out, err = b"", b"(its output is held open by another process)"
    return Completed(process.wait(), _text(out), _text(err))


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def run_logged(what: str, argv: Sequence[str], log: Path) -> None:
    """Run *argv* with its output added to *log*; an error shows where the log is, and its end."""
    with log.open("ab") as out:
        out.write(f"+ {shlex.join(argv)}\n".encode())
        out.flush()
        code = subprocess.run(  # noqa: PLW1510 - the exit status is reported below, with the log
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_ENVIRONMENT},
        ).returncode
    if code != 0:
        raise LabError(f"{what} failed: exit status {code}; log: {log}\n{tail(log)}")


def tail(log: Path) -> str:
    try:
        lines = _text(log.read_bytes()).splitlines()
    except FileNotFoundError:
        return "  | (no log)"
    return "\n".join(f"  | {line}" for line in lines[-TAIL_LINES:])


def say(text: str) -> None:
    # One write a line: two threads speak at the same time while bases are built.
    sys.stderr.write(f"lab: {text}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Say *what* was done and how long it took, once it is done."""
    begin = time.monotonic()
    yield
    say(f"{what} ({time.monotonic() - begin:.1f} s)")
