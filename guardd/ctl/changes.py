"""What `drift` and `preflight` share: guests judged by two hosts, shown to people and programs."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from guardd import files
from guardd.cpu import CPUMap, PVRMatch, match_pvr
from guardd.ctl.common import Exit
from guardd.ctl.known import guest_states
from guardd.ctl.progress import progress
from guardd.errors import BadSnapshot, GuardError
from guardd.facts.drift import Drift, compare_hosts, fitted
from guardd.facts.snapshot import HostSnapshot, with_revision
from guardd.judge.drift import Effect, Judged, judge_all
from guardd.judge.reference import build_reference
from guardd.probe.revision import read_revision
from guardd.render import counted, printable, reason
from guardd.render.drift import by_guest, drift_to_dict, judged_to_dict

SNAPSHOT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SHOWN_NAMES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Two hosts, what tells them apart, and what that means for the guests here.

    `judged` None: there is no guest that could be judged, for `notes` say why.
    """

    before: HostSnapshot
    now: HostSnapshot
    drift: Drift
    judged: tuple[Judged, ...] | None
    notes: tuple[str, ...] = ()

    def having(self, effect: Effect) -> list[list[Judged]]:
        """Give the states with this effect, guest by guest."""
        return by_guest(each for each in self.judged or () if each.effect is effect)

    @property
    def status(self) -> Exit:
        """Say with which status the command ends."""
        if self.having(Effect.AFFECTED):
            return Exit.INCOMPATIBLE
        if not self.drift.loses:
            return Exit.COMPATIBLE  # whoever cannot be judged misses nothing either
        if self.judged is None or self.having(Effect.DOUBTFUL):
            return Exit.CANNOT_TELL
        return Exit.COMPATIBLE


def read_host(path: Path) -> HostSnapshot:
    """Read the snapshot in a file that the person named; raises BadSnapshot."""
    snapshot = files.read_snapshot(path)
    if snapshot is None:
        raise BadSnapshot(f"{path} is not there any more")
    return snapshot


def answer(before: HostSnapshot, now: HostSnapshot, config: Path, cpu_map: CPUMap) -> Answer:
    """Compare two hosts and judge all guests here by both; raises BadConfig."""
    rules, _files = files.read_config(config)
    cpu_map = match_pvr(cpu_map, rules.pvr)
    before, now, notes = _fitting(before, now, cpu_map)
    drift = compare_hosts(before, now, cpu_map)
    if drift.is_empty:
        return Answer(before=before, now=now, drift=drift, judged=(), notes=tuple(notes))
    try:
        states, missing = guest_states()
    except GuardError as exc:
        notes.append(f"no guest could be judged: {exc}")
        return Answer(before=before, now=now, drift=drift, judged=None, notes=tuple(notes))
    notes += [missing] if missing else []
    found = progress(judge_all(states, before, now, rules.policy, cpu_map), "judging guests")
    judged = tuple(found)
    return Answer(before=before, now=now, drift=drift, judged=judged, notes=tuple(notes))


def _fitting(
    before: HostSnapshot, now: HostSnapshot, cpu_map: CPUMap
) -> tuple[HostSnapshot, HostSnapshot, list[str]]:
    """Leave out what this CPU map does not know; say what, and which host's map would."""
    notes = []
    fitting = []
    for host in (before, now):
        name = printable(host.hostname)
        fit, strange = fitted(host, cpu_map)
        fitting.append(fit)
        if strange:
            names = counted(sorted(strange), SHOWN_NAMES)
            notes.append(f"features of {name} that are not known here were left out: {names}")
        if problem := _problem(fit, cpu_map):
            notes.append(
                f"{name} cannot be understood in full: {problem}; copy its"
                " /usr/share/libvirt/cpu_map, and give that with --cpu-map"
            )
    return fitting[0], fitting[1], notes


def _problem(host: HostSnapshot, cpu_map: CPUMap) -> str:
    for hypervisor in host.hypervisors:
        try:
            build_reference(cpu_map, host, hypervisor, exact=True)
        except GuardError as exc:
            return str(exc)
    return ""


def revised(snapshot: HostSnapshot, cpu_map: CPUMap, config: Path) -> HostSnapshot:
    """Call this very host's PowerPC processor by its exact model where the configuration says so.

    Raises BadConfig.
    """
    rules, _files = files.read_config(config)
    if rules.pvr is not PVRMatch.EXACT:
        return snapshot
    return with_revision(snapshot, read_revision(match_pvr(cpu_map, rules.pvr)))


# -- for programs


def answer_to_dict(found: Answer) -> dict[str, Any]:
    """Give it as a JSON object."""
    judged = found.judged or ()
    effects = Counter(each.effect for each in judged)
    return {
        **drift_to_dict(found.drift, found.before, found.now),
        "judged": None if found.judged is None else len(judged),
        "effects": {effect: effects[effect] for effect in Effect},
        "guests": [judged_to_dict(each) for each in judged if each.effect is not Effect.NONE],
        "notes": list(found.notes),
    }


# -- for people


def show(lines: Iterable[str]) -> None:
    """Print *lines*, on a terminal within its width; below a long line its rest is indented."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())] + "  "
        wrapped = (
            textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)
            if width
            else [line]
        )
        for part in wrapped or [""]:
            click.echo(part)


def guest_lines(found: Answer, titles: Mapping[Effect, str]) -> Iterator[str]:
    """Say which guests it matters to, below the *titles*, with the reasons."""
    for effect, title in titles.items():
        guests = found.having(effect)
        if guests:
            yield f"{title}:"
        for guest in guests:
            states = ", ".join(printable(each.state.words) for each in guest)
            yield f"  {printable(guest[0].state.name)} ({states})"
            yield from (f"    {line}" for line in dict.fromkeys(map(_reason, guest)) if line)
    if found.judged is not None and not found.drift.is_empty:
        number = len(by_guest(found.judged))
        affected = len(found.having(Effect.AFFECTED))
        yield f"{affected} of {number} guests affected"


def _reason(judged: Judged) -> str:
    verdict = judged.before if judged.effect is Effect.FREED else judged.now
    return reason(verdict) if verdict.findings else ""


def show_notes(found: Answer) -> None:
    """Print what could not be done on standard error."""
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
