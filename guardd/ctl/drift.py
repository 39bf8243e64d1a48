"""cpu-guardctl drift: what this host lost and gained, and which guests that matters to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from guardd import files
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
    Exit,
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
from guardd.render.drift import drift_lines

TITLES = {
    Effect.AFFECTED: "Guests that would be refused now",
    Effect.STILL_REFUSED: "Guests that would be refused now, and would have been before",
    Effect.FREED: "Guests that would have been refused before, and would not be now",
    Effect.DOUBTFUL: "Guests of which it cannot be told",
}

# what --json prints of a host that has not changed since it is known
UNCHANGED: Mapping[str, Any] = MappingProxyType(
    {
        "before": None,
        "now": None,
        "changes": [],
        "host": {"lost": [], "gained": []},
        "hypervisors": [],
        "judged": None,
        "effects": dict.fromkeys(Effect, 0),
        "guests": [],
        "notes": [],
    }
)


@click.command()
@click.option("--from", "before_file", type=SNAPSHOT_FILE, help="The snapshot from before.")
@click.option("--to", "now_file", type=SNAPSHOT_FILE, help="The snapshot to compare it with.")
@config_option
@state_option
@cpu_map_option
@json_option
@shown_errors
def drift(
    before_file: Path | None,
    now_file: Path | None,
    config: Path,
    state: Path,
    cpu_map: CPUMap,
    *,
    as_json: bool,
) -> None:
    """Show what this host lost and gained when it changed last, and whom it would refuse for it.

    Compared are the snapshot that the daemon kept from before the last change of kernel, microcode,
    QEMU, libvirt or CPU map, and the one in force. All guests are judged that are defined, run, are
    saved, or have a snapshot.

    Exit status: 0 no guest is affected, 1 some are, 3 it cannot be told.
    """
    before = files.kept_previous(state) if before_file is None else read_host(before_file)
    if before is None:
        _show_unchanged(state, as_json=as_json)
        return
    now = host_snapshot(state) if now_file is None else read_host(now_file)
    if now_file is None:
        now = revised(now, cpu_map, config)
    found = answer(before, now, config, cpu_map)
    if as_json:
        print_json(answer_to_dict(found))
    else:
        _show(found)
    show_notes(found)
    sys.exit(found.status)


def _show(found: Answer) -> None:
    before, now = found.before, found.now
    click.echo(f"Before:  {printable(before.hostname)}, {printable(before.taken)}")
    click.echo(f"Now:     {printable(now.hostname)}, {printable(now.taken)}")
    if found.drift.is_empty:
        click.echo("Nothing changed that a guest's CPU depends on.")
    show(drift_lines(found.drift))
    show(guest_lines(found, TITLES))


def _show_unchanged(state: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(UNCHANGED)
    else:
        click.echo(f"This host has not changed since cpu-guardd knows it: {state} holds no other.")
    sys.exit(Exit.COMPATIBLE)
