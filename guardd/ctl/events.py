"""cpu-guardctl events: what the daemon wrote into the journal, a line each, as it comes."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from guardd.ctl.common import Exit, json_option, json_schema, json_text, shown_errors, styled
from guardd.ctl.guest import Guest
from guardd.ctl.when import Moment
from guardd.journal import VERDICT, Kind, kind_of, reader
from guardd.journal.reader import Follow
from guardd.render import FIELD_LENGTH, printable

KIND_WIDTH = max(map(len, (VERDICT, *(kind.name for kind in Kind))))
INDENT = 4  # of what does not fit into a terminal's line
LONGEST = 4096  # of a message

# what a line says before the guest's name, and where its reader is sent; both say nothing here
_PROGRAM = re.compile(r"\Acpu-guardd(?=\[)|\Acpu-guardd: ")
_SEE = re.compile(r"; see: cpu-guardctl \S[^;]*\Z")
_STYLES = {"deny": "red", "warn": "yellow", "cannot-tell": "yellow"}
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("guest", required=False, type=Guest())
@click.option("--follow", "-f", "follows", is_flag=True, help="Go on with what comes, till Ctrl-C.")
@click.option("--since", type=Moment(), help="Begin here: today, -2h, '2026-11-20 12:00'.")
@click.option("--directory", type=_FOLDER, help="Folder of another journal than this machine's.")
@json_option
@shown_errors
def events(
    guest: str | None,
    since: dt.datetime | None,
    directory: Path | None,
    *,
    follows: bool,
    as_json: bool,
) -> None:
    """Show what cpu-guardd did and noticed, on GUEST (name or UUID) or all: the journal's records.

    A line each: time, kind, guest, decision, message; with --json an object a line. --follow begins
    with the newest ten where there is no --since. Records that anybody else wrote do not count.

    Exit status: 0 there are some, 3 there are none, or the journal cannot be read.
    """
    number = 0
    try:
        follow = Follow() if follows else None
        found = reader.records(guest=guest, since=since, directory=directory, follow=follow)
        for number, fields in enumerate(found, 1):  # noqa: B007 (it is asked for below)
            if as_json:
                click.echo(json_text({"schema": json_schema(), **_to_dict(fields)}))
            else:
                _print(fields)
    except KeyboardInterrupt:
        return  # the way to end --follow
    except OSError as exc:
        click.echo(f"error: cannot read the journal: {exc.strerror or exc}", err=True)
        sys.exit(Exit.CANNOT_TELL)
    if not number:
        whom = f" on '{printable(guest)}'" if guest else ""
        click.echo(f"error: no record{whom} in the journal that you may read", err=True)
        sys.exit(Exit.CANNOT_TELL)


def _to_dict(fields: Mapping[str, str]) -> dict[str, Any]:
    """Give a record as a JSON object; "" for what a record of its kind does not have."""
    return {
        "time": fields["time"],
        "kind": kind_of(fields),
        "guest": fields.get("GUARDD_DOMAIN", ""),
        "uuid": fields.get("GUARDD_DOMAIN_UUID", ""),
        "operation": fields.get("GUARDD_OPERATION", ""),
        "decision": fields.get("GUARDD_DECISION", ""),
        "message": fields.get("MESSAGE", ""),
        "findings": fields.get("GUARDD_FINDINGS", "").split(),
        "message_id": fields.get("MESSAGE_ID", ""),
    }


def _print(fields: Mapping[str, str]) -> None:
    event = _to_dict(fields)
    guest = printable(event["guest"], FIELD_LENGTH) or "-"
    message = _SEE.sub("", _PROGRAM.sub("", event["message"]))
    decision = printable(event["decision"]) or "-"
    words = [
        event["time"],
        event["kind"].ljust(KIND_WIDTH),
        guest,
        styled(decision, _STYLES.get(decision)),
        printable(message, LONGEST),
    ]
    for line in _lines("  ".join(words)):
        click.echo(line)


def _lines(line: str) -> Iterator[str]:
    """Fold *line* to the terminal; in a pipe it stays one."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    if not width:
        yield line
        return
    indent = " " * INDENT
    yield from textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)
