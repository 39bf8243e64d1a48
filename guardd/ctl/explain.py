"""cpu-guardctl explain: the last verdict on a guest, and what lies behind it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from guardd import files, wire
from guardd.cpu import CPUMap, match_pvr
from guardd.ctl.changes import revised, show
from guardd.ctl.common import (
    Exit,
    config_option,
    json_option,
    print_json,
    shown_errors,
    state_option,
)
from guardd.ctl.guest import Guest
from guardd.ctl.known import guest_text, host_snapshot
from guardd.errors import GuardError, LibvirtFailed
from guardd.facts.domain import Guest as Domain
from guardd.facts.domain import parse_domain
from guardd.facts.snapshot import HostSnapshot
from guardd.journal import reader
from guardd.judge import judge
from guardd.judge.account import Asked, Reason, asked_by, reasons
from guardd.judge.finding import CheckRequest, Finding, Operation, Verdict
from guardd.judge.replay import Past, past_verdict
from guardd.probe.cpu_map import DIRECTORY, open_cpu_map
from guardd.render import REPORTED_LENGTH, printable, reason
from guardd.render.explain import (
    Step,
    Where,
    asked_lines,
    asked_to_dict,
    groups_to_dicts,
    reason_lines,
    reason_to_dict,
    step_lines,
    steps,
)

LAST = "last"
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What there is to be seen now; None for what there is not, and then `notes` say why."""

    cpu_map: CPUMap | None = None
    host: HostSnapshot | None = None
    previous: HostSnapshot | None = None
    guest: Domain | None = None
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """All that is told; `past` None: the record is of a version with other words."""

    record: Mapping[str, str]
    past: Past | None
    present: Present
    asked: tuple[Asked, ...] = ()
    reasons: tuple[Reason, ...] = ()
    steps: tuple[Step, ...] = field(default=())

    @property
    def is_same(self) -> bool | None:
        """Whether it would be said again now, None where that is another question."""
        past, now = self.past, self.present.verdict
        if past is None or now is None or past.operation != now.operation:
            return None
        then = (past.decision, past.refused, _subjects(past.findings))
        return then == (now.decision, now.refused, _subjects(now.findings))


@click.command()
@click.argument("guest", metavar="GUEST|last", type=Guest(LAST))
@click.option(
    "--directory",
    "journal_directory",
    type=_FOLDER,
    help="Folder of another journal than this machine's.",
)
@config_option
@state_option
@click.option(
    "--cpu-map",
    "map_directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=DIRECTORY,
    show_default=True,
    help="Folder of libvirt's CPU map.",
)
@json_option
@shown_errors
def explain(
    guest: str,
    journal_directory: Path | None,
    config: Path,
    state: Path,
    map_directory: Path,
    *,
    as_json: bool,
) -> None:
    """Explain the newest verdict in the journal on GUEST (name or UUID), or on any ("last").

    "last" takes the newest refusal. Told are the verdict with all its reasons, where what the guest
    asks for comes from, how it came about that this host does not give it, whether it would be said
    again now, and what to do. For a guest that was not tried, see `cpu-guardctl check`.

    Exit status: 0 there is one, 3 there is none, or the journal may not be read.
    """
    try:
        record = reader.newest_verdict(
            None if guest == LAST else guest, directory=journal_directory
        )
    except OSError as exc:
        click.echo(f"error: cannot read the journal: {exc.strerror or exc}", err=True)
        sys.exit(Exit.CANNOT_TELL)
    if record is None:
        what = "no refusal" if guest == LAST else f"no verdict on '{printable(guest)}'"
        click.echo(f"error: {what} in the journal that you may read", err=True)
        click.echo("hint: see `cpu-guardctl check` for what would be said now", err=True)
        sys.exit(Exit.CANNOT_TELL)
    account = _account(record, _present(record, config, state, map_directory))
    if as_json:
        print_json(_to_dict(account))
    else:
        show(_lines(account))
    for note in account.present.notes:
        click.echo(f"note: {note}", err=True)


# -- now


def _present(record: Mapping[str, str], config: Path, state: Path, directory: Path) -> Present:
    """Look at the host and the guest as they are; nothing of it is needed for what was said."""
    notes = []
    cpu_map = host = previous = None
    try:
        rules, _ = files.read_config(config)
        cpu_map = match_pvr(open_cpu_map(directory), rules.pvr)
        host = revised(host_snapshot(state), cpu_map, config)
        previous = files.kept_previous(state)
    except GuardError as exc:
        notes.append(f"what would be said now is not known: {exc}")
    text = _domain_text(record)
    guest = _read(text)
    if cpu_map is None or host is None or guest is None or text is None:
        return Present(guest=guest, notes=tuple(notes))
    # as `check` does: one that runs is judged as if it arrived
    request = CheckRequest(
        domain=guest.name, operation=Operation.PREPARE, xml=text, arrives=guest.runs
    )
    verdict = judge(request, host, rules.policy, cpu_map)
    return Present(
        cpu_map=cpu_map,
        host=host,
        previous=previous,
        guest=guest,
        verdict=verdict,
        notes=tuple(notes),
    )


def _domain_text(record: Mapping[str, str]) -> str | None:
    """Give the XML of the guest that was judged, None where libvirt here does not have it."""
    for word in (record.get("GUARDD_DOMAIN_UUID", ""), record.get("GUARDD_DOMAIN", "")):
        if word:
            try:
                return guest_text(word)
            except LibvirtFailed:
                continue
    return None


def _read(text: str | None) -> Domain | None:
    try:
        return None if text is None else parse_domain(text)
    except GuardError:
        return None


def _account(record: Mapping[str, str], present: Present) -> Account:
    past = past_verdict(record)
    if past is None:
        return Account(record=record, past=None, present=present)
    guest, host, cpu_map = present.guest, present.host, present.cpu_map
    asked: tuple[Asked, ...] = ()
    found: tuple[Reason, ...] = ()
    if guest is not None and host is not None and cpu_map is not None:
        asked = asked_by(past.findings, guest, cpu_map)
        found = reasons(past.findings, guest, host, present.previous, cpu_map)
    where = Where(
        name=past.domain if guest is None else guest.name,
        uuid=past.uuid,
        is_here=guest is not None,
        runs=guest is not None and guest.runs,
    )
    is_held = past.refused or record.get("GUARDD_WOULD_REFUSE") == "yes"
    return Account(
        record=record,
        past=past,
        present=present,
        asked=asked,
        reasons=found,
        steps=tuple(steps(past.findings, where, found, is_held=is_held)),
    )


def _subjects(findings: tuple[Finding, ...]) -> set[tuple[str, str]]:
    """Tell findings apart as the journal does: a blank in a subject is "_" there."""
    return {(str(each.code), printable(each.subject).replace(" ", "_")) for each in findings}


# -- for people


def _lines(account: Account) -> Iterator[str]:
    yield account.record["time"]
    yield from account.record["GUARDD_REPORT"].splitlines()
    for title, lines in (
        ("What it asks for comes from", asked_lines(account.asked)),
        ("How it came about", reason_lines(account.reasons)),
        ("Now", _now_lines(account)),
        ("What to do", step_lines(account.steps)),
    ):
        whole = list(lines)
        if whole:
            yield ""
            yield f"{title}:"
            yield from (f"  {line}" for line in whole)


def _now_lines(account: Account) -> Iterator[str]:
    now = account.present.verdict
    if now is None:
        if account.present.guest is None:
            yield "libvirt here does not have this guest, so it cannot be judged anew"
        return
    if account.is_same:
        known = f" ({printable(now.source, REPORTED_LENGTH)})" if now.source else ""
        yield f"the same would be said{known}"
        return
    outcome = "refused" if now.refused else "allowed"
    what = "as it runs" if account.present.guest and account.present.guest.runs else "a start"
    why = f": {reason(now)}" if now.findings else ""
    yield f"{what} would be {outcome} ({now.decision}){why}"
    if now.source:
        yield f"known by {printable(now.source, REPORTED_LENGTH)}"


# -- for programs


def _to_dict(account: Account) -> dict[str, Any]:
    record, past, now = account.record, account.past, account.present.verdict
    return {
        "time": record["time"],
        "then": {
            "domain": record.get("GUARDD_DOMAIN", ""),
            "uuid": record.get("GUARDD_DOMAIN_UUID", ""),
            "operation": record.get("GUARDD_OPERATION", ""),
            "decision": record["GUARDD_DECISION"],
            "refused": record.get("GUARDD_REFUSED") == "yes",
            "guest_cpu": record.get("GUARDD_GUEST_CPU", ""),
            "host_cpu": record.get("GUARDD_HOST_CPU", ""),
            "source": record.get("GUARDD_SOURCE", ""),
            "findings": record.get("GUARDD_FINDINGS", "").split(),
            "report": record["GUARDD_REPORT"],
        },
        "now": None if now is None else wire.verdict_to_dict(now),
        "is_same": account.is_same,
        "groups": [] if past is None else groups_to_dicts(past.findings),
        "asked_by": [asked_to_dict(asked) for asked in account.asked],
        "causes": [reason_to_dict(found) for found in account.reasons],
        "steps": [{"what": step.what, "lines": step.lines} for step in account.steps],
    }
