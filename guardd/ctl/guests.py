"""cpu-guardctl guests: every guest of this host, and what would be said of it now."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from guardd import files, wire
from guardd.cpu import CPUMap, match_pvr
from guardd.ctl.changes import revised
from guardd.ctl.common import (
    Exit,
    config_option,
    cpu_map_option,
    json_option,
    print_json,
    shown_errors,
    state_option,
)
from guardd.ctl.guest import Guest
from guardd.ctl.known import guest_states, host_snapshot
from guardd.ctl.progress import progress
from guardd.ctl.table import print_table
from guardd.errors import GuardError, LibvirtFailed
from guardd.facts.domain import Guest as Domain
from guardd.facts.domain import parse_domain
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.states import GuestState, Standing
from guardd.judge.drift import judge_state
from guardd.judge.finding import Code, Decision, Enforcement, Verdict
from guardd.judge.policy import Policy, Whence, mode_for
from guardd.render import FIELD_LENGTH, deciding_code, printable, reason, short_reason

TITLES = ("GUEST", "STATE", "VERDICT", "MODE", "STAMP", "REASON")
WIDE = 120  # columns of a terminal that has room for when and where a guest was stamped

# in virsh's words; the first that a guest is in counts
STATES = {Standing.RUNNING: "running", Standing.SAVED: "saved", Standing.DEFINED: "shut off"}

_STYLES = {Decision.WARN: "yellow", Decision.DENY: "red", Decision.CANNOT_TELL: "yellow"}


class StampState(StrEnum):
    """What there is to say of a guest's stamp."""

    OK = "ok"
    BAD = "bad"
    NONE = "none"  # and it needs one
    NOT_NEEDED = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One guest as it stands; `problem` says what is wrong with its stamp. `domain` None: unread.

    `mode` is the one set for it, `whence` where.
    """

    state: GuestState
    domain: Domain | None
    verdict: Verdict
    mode: Enforcement
    whence: Whence
    stamp: StampState
    problem: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to say of it."""
        is_allowed = self.verdict.decision is Decision.ALLOW and not self.verdict.would_refuse
        return is_allowed and self.stamp in (StampState.OK, StampState.NOT_NEEDED)


@click.command()
@click.argument("names", metavar="[GUEST]...", nargs=-1, type=Guest())
@click.option("--running", "only_running", is_flag=True, help="Only guests that run.")
@click.option("--problems", "only_problems", is_flag=True, help="Only what is not plain ok.")
@config_option
@state_option
@cpu_map_option
@json_option
@shown_errors
def guests(  # noqa: PLR0913 (its options)
    names: Sequence[str],
    config: Path,
    state: Path,
    cpu_map: CPUMap,
    *,
    only_running: bool,
    only_problems: bool,
    as_json: bool,
) -> None:
    """List the guests of this host with the verdict on each, here and now.

    One that is off is judged as for a start, one that runs or is saved as if it arrived, by the CPU
    that it has. MODE is the one in force for it, and in parentheses where it is from, unless that
    is the host. STAMP tells where and when it was stamped; "none" is said where it needs one.

    Exit status: 0 none would be refused, 1 some would, 3 of some it cannot be told.
    """
    rules, _ = files.read_config(config)
    cpu_map = match_pvr(cpu_map, rules.pvr)
    host = revised(host_snapshot(state), cpu_map, config)
    states, missing = guest_states(
        snapshots=False, watched=lambda found: progress(found, "reading guests")
    )
    chosen = sorted(_chosen(states, names), key=lambda each: (each.name, each.uuid))
    chosen = [each for each in chosen if not only_running or each.standing is Standing.RUNNING]
    looked = progress((look(each, host, rules.policy, cpu_map) for each in chosen), "judging")
    rows = list(looked)
    shown = [row for row in rows if not (only_problems and row.is_plain)]
    if as_json:
        notes = [missing] if missing else []
        print_json({"guests": [_to_dict(row) for row in shown], "notes": notes})
    else:
        _show(shown, total=len(rows))
    if missing:
        click.echo(f"note: {missing}", err=True)
    sys.exit(_status(rows))


def _chosen(states: Iterable[GuestState], names: Sequence[str]) -> Iterator[GuestState]:
    """Give the state that each guest is in, of those in *names*, or of all where there are none.

    Raises LibvirtFailed for a name or UUID that no guest has.
    """
    order = list(STATES)
    by_guest: dict[tuple[str, str], GuestState] = {}
    for state in states:
        key = (state.name, state.uuid)
        before = by_guest.get(key)
        if before is None or order.index(state.standing) < order.index(before.standing):
            by_guest[key] = state
    known = {word for name, uuid in by_guest for word in (name, uuid.lower())}
    wanted = {name if name in known else name.lower() for name in names}
    if unknown := sorted(wanted - known):
        hint = "see `virsh list --all`"
        raise LibvirtFailed(f"no guest '{printable(unknown[0])}' here", hint=hint)
    for (name, uuid), state in by_guest.items():
        if not names or name in wanted or uuid.lower() in wanted:
            yield state


def look(state: GuestState, host: HostSnapshot, policy: Policy, cpu_map: CPUMap) -> Row:
    """Judge a guest and say how it stands; never raises a GuardError."""
    verdict = judge_state(state, host, policy, cpu_map)
    try:
        domain = parse_domain(state.xml)
    except GuardError:
        domain = None  # the verdict says what is wrong with it
    wanted = "" if domain is None else domain.wanted_mode
    mode, whence = mode_for(policy, state.name, state.uuid, wanted)
    stamp, problem = _stamp(domain, verdict)
    return Row(
        state=state,
        domain=domain,
        verdict=verdict,
        mode=mode,
        whence=whence,
        stamp=stamp,
        problem=problem,
    )


def _stamp(domain: Domain | None, verdict: Verdict) -> tuple[StampState, str]:
    found = {finding.code: finding.sentence for finding in verdict.findings}
    problem = found.get(Code.BAD_STAMP, "" if domain is None else domain.stamp_problem)
    if problem:
        return StampState.BAD, problem
    if domain is not None and domain.stamp is not None:
        return StampState.OK, ""
    return (StampState.NONE if Code.UNSTAMPED in found else StampState.NOT_NEEDED), ""


def _status(rows: Sequence[Row]) -> Exit:
    if any(row.verdict.refused for row in rows):
        return Exit.INCOMPATIBLE
    if any(row.verdict.decision is Decision.CANNOT_TELL for row in rows):
        return Exit.CANNOT_TELL
    return Exit.COMPATIBLE


# -- for people


def _show(rows: Sequence[Row], *, total: int) -> None:
    if rows:
        console = Console()
        is_wide = not console.is_terminal or console.width >= WIDE
        cells = [_cells(row, is_wide=is_wide, is_short=console.is_terminal) for row in rows]
        print_table(TITLES, cells, whole=TITLES[:-1], shortens_last=True)
    elif total:
        click.echo(f"nothing to say of {total} guest{'s' if total > 1 else ''}")
    else:
        click.echo("no guests")


def _cells(row: Row, *, is_wide: bool, is_short: bool) -> list[str | Text]:
    verdict = row.verdict
    mode = str(row.mode) if row.whence is Whence.HOST else f"{row.mode} ({row.whence})"
    style = _STYLES.get(verdict.decision, "yellow" if verdict.would_refuse else "green")
    why = ""
    if verdict.findings:
        why = short_reason(verdict) if is_short else reason(verdict)
    return [
        printable(row.state.name, FIELD_LENGTH),
        STATES[row.state.standing],
        Text(f"{verdict.decision}{', would deny' if verdict.would_refuse else ''}", style),
        mode,
        _stamp_words(row) if is_wide else str(row.stamp),
        why,
    ]


def _stamp_words(row: Row) -> str:
    stamp = None if row.domain is None else row.domain.stamp
    if row.stamp is StampState.OK and stamp is not None:
        return f"{row.stamp}, {printable(stamp.taken)} {printable(stamp.host)}"
    return f"{row.stamp}: {printable(row.problem)}" if row.problem else str(row.stamp)


# -- for programs


def _to_dict(row: Row) -> dict[str, Any]:
    stamp = None if row.domain is None else row.domain.stamp
    return {
        "name": row.state.name,
        "uuid": row.state.uuid,
        "state": STATES[row.state.standing],
        "mode": row.mode,
        "mode_from": row.whence,
        "stamp": {
            "state": "not-needed" if row.stamp is StampState.NOT_NEEDED else row.stamp,
            "taken": stamp.taken if stamp is not None else "",
            "host": stamp.host if stamp is not None else "",
            "problem": row.problem,
        },
        "code": deciding_code(row.verdict),
        "reason": reason(row.verdict) if row.verdict.findings else "",
        "verdict": wire.verdict_to_dict(row.verdict),
    }
