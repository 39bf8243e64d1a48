"""The command line: all commands of cpu-guardctl, each loaded when it is run."""

from __future__ import annotations

import importlib
import os
import sys

import click

from guardd import __version__
from guardd.ctl.terminal import guard

# each is a click command of its own name, in the module of that name
COMMANDS = (
    "baseline",
    "check",
    "compare",
    "decode",
    "doctor",
    "drift",
    "events",
    "explain",
    "fix",
    "guests",
    "hook",
    "host",
    "metrics",
    "models",
    "preflight",
    "replay",
    "report",
    "status",
    "update",
)
_ELSEWHERE = {"doctor": "doctor.command"}
COMPLETE = "_CPU_GUARDCTL_COMPLETE"  # click's: in the environment where a shell asks for words

if COMPLETE in os.environ:
    importlib.import_module("guardd.ctl.completion")  # it teaches click the shells


class Commands(click.Group):
    """Imports only the command that is run: all of them take longer than most of them run."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Name all commands."""
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Give the command called *name*, None where there is none."""
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"guardd.ctl.{_ELSEWHERE.get(name, name)}")
        command: click.Command = getattr(module, name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="cpu-guardctl %(version)s")
def main() -> None:
    """Ask cpu-guardd's questions by hand.

    Can a guest's CPU be honoured here, and if not, why?

    Exit status: 0 compatible, 1 incompatible, 2 usage, 3 cannot tell, 69 no daemon,
    74 the answer cannot be written.
    """
    sys.stdout, sys.stderr = guard(sys.stdout), guard(sys.stderr)
