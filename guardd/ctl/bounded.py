"""Steps with a time limit: nothing that hangs may hang who looks for what hangs."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from guardd.errors import GuardError, LibvirtFailed

Result = TypeVar("Result")

PROGRAM_SECONDS = 10.0
NOT_FOUND = 127  # as a shell says it
# as libvirt runs its hooks: an environment of this only, in /
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended; `status` is None where it did not in time."""

    status: int | None
    out: str
    err: str
    seconds: float

    @property
    def last_words(self) -> str:
        """What it said last on stderr, "" for nothing."""
        return (self.err.strip().splitlines() or [""])[-1]


def run_program(
    command: Sequence[str],
    *,
    stdin: str = "",
    seconds: float = PROGRAM_SECONDS,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> Ran:
    """Run *command* in / for at most *seconds*; one that cannot be run has status NOT_FOUND."""
    start = time.monotonic()
    try:
        done = subprocess.run(  # noqa: S603 (its words are ours)
            command,
            input=stdin.encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=seconds,
            check=False,
            env=environment,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        return Ran(None, "", "", time.monotonic() - start)
    except OSError as exc:
        return Ran(NOT_FOUND, "", exc.strerror or str(exc), time.monotonic() - start)
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return Ran(done.returncode, out, err, time.monotonic() - start)


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """Give what *work*, which asks libvirt, gives; raises LibvirtFailed where it takes longer.

    It goes on in its thread then, and ends with the process at the latest.
    """
    found: list[Result] = []
    failed: list[GuardError] = []

    def run() -> None:
        try:
            found.append(work())
        except GuardError as exc:
            failed.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not found:
        raise LibvirtFailed(f"libvirt gave no answer within {seconds:.0f} s")
    return found[0]
