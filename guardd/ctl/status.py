"""cpu-guardctl status: whether the daemon answers and what it knows."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import click

from guardd import wire
from guardd.ctl.client import call, understood
from guardd.ctl.common import json_option, print_json, shown_errors, styled
from guardd.hookfile import describe, places
from guardd.render import REPORTED_LENGTH, printable

UNKNOWN = "not known yet, libvirt is being asked"
INDENT = 11  # of what is said, behind its label


@click.command()
@click.option("--socket", "path", default=wire.SOCKET_PATH, show_default=True, metavar="PATH")
@json_option
@shown_errors
def status(path: str, *, as_json: bool) -> None:
    """Show the daemon's state, what it knows, and whether libvirt's hook is in place.

    Exit status: 0 the daemon answers, 69 it does not.
    """
    answer = call("GetStatus", {}, path)
    hooks = {str(place.path): place.state.value for place in places()}
    if as_json:
        print_json({**answer, "hooks": hooks})
        return
    with understood():
        known = [(label, str(text)) for label, text in _lines(answer)]
    lines = [*known, *(("Hook", line) for line in describe(places()))]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for label, text in lines:
        title, *more = _wrapped(printable(text, REPORTED_LENGTH), width)
        click.echo(styled(f"{label + ':':<{INDENT}}{title}", _colour(label, text)))
        for line in more:
            click.echo(styled(" " * INDENT + line, _colour(label, text)))


def _wrapped(text: str, width: int) -> list[str]:
    """Fold *text* to what is left of a terminal's line; in a pipe it stays one."""
    if not width:
        return [text]
    return textwrap.wrap(text, max(width - INDENT, 1), break_on_hyphens=False) or [""]


def _colour(label: str, text: str) -> str | None:
    if label == "Problem":
        return "red"
    return "yellow" if (label, text) in (("libvirt", "away"), ("Host", UNKNOWN)) else None


def _lines(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    verdicts = ", ".join(f"{n} {word}" for word, n in sorted(answer["verdicts"].items()))
    # absent from the answer of a daemon that was not restarted since an upgrade
    noticed = ", ".join(f"{n} {word}" for word, n in sorted(answer.get("events", {}).items()))
    known = answer["snapshot_taken"]
    return [
        ("Daemon", f"cpu-guardd {answer['version']}, mode {answer['mode']}"),
        ("libvirt", "connected" if answer["libvirt_connected"] else "away"),
        ("Host", f"{answer['snapshot_origin']} snapshot of {known}" if known else UNKNOWN),
        *(("Knows", hypervisor) for hypervisor in answer["hypervisors"]),
        ("Verdicts", verdicts or "none since its start"),
        ("Noticed", noticed or "nothing since its start"),
        *(("Problem", problem) for problem in answer["problems"]),
    ]
