"""cpu-guardctl preflight: which guests here another host, or an update, would refuse."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from guardd.cpu import CPUMap
from guardd.ctl.changes import (
    SNAPSHOT_FILE,
    Answer,
    answer,
    answer_to_dict,
    guest_lines,
    read_host,
    revised,
    show,
    show_notes,
)
from guardd.ctl.common import (
    config_option,
    cpu_map_option,
    json_option,
    print_json,
    shown_errors,
    state_option,
)
from guardd.ctl.known import host_snapshot
from guardd.judge.drift import Effect
from guardd.render import printable
from guardd.render.drift import summary

TITLES = {
    Effect.AFFECTED: "Guests that would be refused there, and not here",
    Effect.STILL_REFUSED: "Guests that would be refused there, and here as well",
    Effect.FREED: "Guests that would be refused here, and not there",
    Effect.DOUBTFUL: "Guests of which it cannot be told",
}


@click.command()
@click.option(
    "--with",
    "file",
    type=SNAPSHOT_FILE,
    required=True,
    help="The other host's /var/lib/cpu-guardd/snapshot.json.",
)
@config_option
@state_option
@cpu_map_option
@json_option
@shown_errors
def preflight(file: Path, config: Path, state: Path, cpu_map: CPUMap, *, as_json: bool) -> None:
    """Say which guests of this host would be refused on another, as on one already updated.

    Judged are all guests that are defined here, run, are saved, or have a snapshot: by the snapshot
    of the other host in FILE, beside this host's own.

    Exit status: 0 no guest is affected, 1 some are, 3 it cannot be told.
    """
    here = revised(host_snapshot(state), cpu_map, config)
    found = answer(here, read_host(file), config, cpu_map)
    if as_json:
        print_json(answer_to_dict(found))
    else:
        _show(found)
    show_notes(found)
    sys.exit(found.status)


def _show(found: Answer) -> None:
    here, there = found.before, found.now
    click.echo(f"Here:    {printable(here.hostname)}, {printable(here.taken)}")
    click.echo(f"There:   {printable(there.hostname)}, {printable(there.taken)}")
    # that two hosts' files are not the same ones says nothing
    named = tuple(change for change in found.drift.changes if change.now)
    show([f"There against here: {summary(replace(found.drift, changes=named))}"])
    # "this host" in a reason is the one that was judged by
    show(line.replace("this host", "that host") for line in guest_lines(found, TITLES))
