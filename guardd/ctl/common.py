"""What every command shares: exit statuses, --json, how errors are shown."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeVar

import click

from guardd.errors import DaemonUnreachable, GuardError
from guardd.judge.finding import Decision

Command = TypeVar("Command", bound=Callable[..., Any])


class Exit(IntEnum):
    """Exit statuses of cpu-guardctl; a usage error is click's own 2."""

    COMPATIBLE = 0
    INCOMPATIBLE = 1
    USAGE = 2
    CANNOT_TELL = 3
    NO_DAEMON = 69  # EX_UNAVAILABLE of sysexits.h


DECISION_EXIT = {
    Decision.ALLOW: Exit.COMPATIBLE,
    Decision.WARN: Exit.COMPATIBLE,
    Decision.DENY: Exit.INCOMPATIBLE,
    Decision.CANNOT_TELL: Exit.CANNOT_TELL,
}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def print_json(document: object) -> None:
    """Print *document* on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def shown_errors(command: Command) -> Command:
    """Make a GuardError one line on stderr, with its hint, and an exit status."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (click passes what it parsed)
        try:
            return command(*args, **kwargs)
        except GuardError as exc:
            click.echo(f"error: {exc}", err=True)
            if exc.hint:
                click.echo(f"hint: {exc.hint}", err=True)
            unreachable = isinstance(exc, DaemonUnreachable)
            sys.exit(Exit.NO_DAEMON if unreachable else Exit.CANNOT_TELL)

    return run  # type: ignore[return-value]
