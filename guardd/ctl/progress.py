"""A sign of life on standard error for what takes longer than a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from guardd.ctl.terminal import signs

QUIET_SECONDS = 1.0

Item = TypeVar("Item")


def progress(items: Iterable[Item], doing: str) -> Iterator[Item]:
    """Give *items* on, and show *doing* and their number while they come, on a terminal only."""
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}: {task.completed}"),
        console=Console(file=signs()),
        transient=True,
        # what is printed meanwhile must not end up on standard error, unless both are the terminal
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=False,
    )
    task = shown.add_task(doing, total=None)
    begun = time.monotonic()
    is_shown = False
    try:
        for number, item in enumerate(items):
            is_late = time.monotonic() - begun > QUIET_SECONDS
            if is_late and not is_shown and shown.console.is_terminal:
                shown.start()
                is_shown = True
            if is_shown:
                shown.update(task, completed=number)
            yield item
    finally:
        if is_shown:
            shown.stop()
