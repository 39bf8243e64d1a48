"""Errands to other hosts: all at once, each with a time limit, none of which can hang a command."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Generic, TypeVar

from rich.console import Console

from guardd.ctl.terminal import signs
from guardd.errors import GuardError, Unreachable

STEP_SECONDS = 10.0  # for one step of an errand, as connecting or asking
QUIET_SECONDS = 1.0  # before progress is shown
GRACE_SECONDS = 1.0  # for a step that has a time limit of its own to end by it

Result = TypeVar("Result")
Work = Callable[["Errand[Result]"], Result]


class Errand(Generic[Result]):
    """Work in a thread of its own that is left alone when a step of it takes too long.

    What blocks in libvirt or in the kernel cannot be interrupted; it ends with the process.
    """

    def __init__(self, work: Work[Result]) -> None:
        self._work = work
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._step = "start"
        self._seconds = STEP_SECONDS
        self._limit = time.monotonic() + STEP_SECONDS

    def start(self) -> None:
        """Set off."""
        threading.Thread(target=self._run, name="errand", daemon=True).start()

    def begin(self, step: str, seconds: float = STEP_SECONDS) -> None:
        """Say, from within the work, that *step* begins and how long it may take."""
        self._step, self._seconds = step, seconds
        self._limit = time.monotonic() + seconds

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; say whether it is done."""
        return self._done.wait(seconds)

    def result(self) -> Result:
        """Wait for the result; raises what the work raised, and Unreachable for a late step."""
        while not self._done.wait(max(0.0, self._limit + GRACE_SECONDS - time.monotonic())):
            if time.monotonic() >= self._limit + GRACE_SECONDS:
                raise Unreachable(f"cannot {self._step}: no answer within {self._seconds:g} s")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value] # set where there is no error

    def _run(self) -> None:
        try:
            self._result = self._work(self)
        except BaseException as exc:  # noqa: BLE001 (it is raised again where it can be seen)
            self._error = exc
        self._done.set()


def run_errands(works: Sequence[Work[Result]], doing: str) -> list[Result | GuardError]:
    """Do all *works* at once; give, in their order, each one's result or why there is none.

    On a terminal *doing* is shown on standard error while it takes longer than a second.
    """
    errands = [Errand(work) for work in works]
    for errand in errands:
        errand.start()
    until = time.monotonic() + QUIET_SECONDS
    console = Console(file=signs())
    outcomes: list[Result | GuardError] = []
    with ExitStack() as stack:
        is_quick = all(errand.wait(max(0.0, until - time.monotonic())) for errand in errands)
        is_shown = console.is_terminal and not is_quick
        shown = stack.enter_context(console.status(doing)) if is_shown else None
        for errand in errands:
            try:
                outcomes.append(errand.result())
            except GuardError as exc:
                outcomes.append(exc)
            if shown is not None:
                shown.update(f"{doing}: {len(outcomes)} of {len(errands)}")
    return outcomes
