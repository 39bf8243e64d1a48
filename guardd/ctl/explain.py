"""cpu-guardctl explain: the last verdict on a guest, in full."""

from __future__ import annotations

import sys

import click

from guardd import journal
from guardd.ctl.common import Exit, json_option, print_json, shown_errors
from guardd.ctl.completion import Guest

LAST = "last"


@click.command()
@click.argument("guest", metavar="GUEST|last", type=Guest(LAST))
@json_option
@shown_errors
def explain(guest: str, *, as_json: bool) -> None:
    """Explain the newest verdict in the journal on GUEST (name or UUID), or on any ("last").

    "last" takes the newest refusal. For a guest that was not tried, see `cpu-guardctl check`.

    Exit status: 0 there is one, 3 there is none, or the journal may not be read.
    """
    record = journal.newest_verdict(None if guest == LAST else guest)
    if record is None:
        what = "no refusal" if guest == LAST else f"no verdict on '{guest}'"
        click.echo(f"error: {what} in the journal that you may read", err=True)
        click.echo("hint: see `cpu-guardctl check` for what would be said now", err=True)
        sys.exit(Exit.CANNOT_TELL)
    if as_json:
        print_json(record)
        return
    click.echo(f"{record['time']}")
    click.echo(record["GUARDD_REPORT"])
