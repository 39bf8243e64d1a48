"""cpu-guardctl replay: which past decisions another policy would have changed."""

from __future__ import annotations

import datetime as dt
import difflib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from guardd import files
from guardd.ctl.common import (
    Exit,
    choice,
    config_option,
    json_option,
    json_schema,
    json_text,
    shown_errors,
)
from guardd.ctl.progress import progress
from guardd.ctl.when import Moment
from guardd.journal import reader
from guardd.judge.finding import Code, Decision, Enforcement, Finding
from guardd.judge.policy import Outcome, Policy
from guardd.judge.replay import Past, decide_anew, is_different, past_verdict
from guardd.render import counted, printable

SHOWN_NAMES = 4
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class Rule(click.ParamType):
    """CODE=MODE, as in the table [rules] of guardd.toml."""

    name = "rule"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Code, Enforcement]:
        """Give both; what is unknown is a usage error that names the nearest known word."""
        if isinstance(value, tuple):
            return value
        code, equals, mode = str(value).partition("=")
        codes = [known.value for known in Code if not known.is_doubt]
        if not equals:
            self.fail(
                f"{value!r} is not written CODE=MODE, as silent-downgrade=enforce", param, ctx
            )
        if code not in codes:
            near = difflib.get_close_matches(code, codes, n=1)
            self.fail(
                f"unknown rule {code!r}" + (f", did you mean {near[0]!r}?" if near else ""),
                param,
                ctx,
            )
        if mode not in list(Enforcement):
            self.fail(f"{mode!r} is no mode: {', '.join(Enforcement)}", param, ctx)
        return Code(code), Enforcement(mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A decision that would have been another; `time` is local, ISO 8601."""

    time: str
    past: Past
    outcome: Outcome


@click.command()
@click.argument("guest", required=False)
@click.option("--mode", type=choice(Enforcement), help="The mode of the host.")
@click.option(
    "--rule", "rules", type=Rule(), multiple=True, metavar="CODE=MODE", help="The mode of a rule."
)
@click.option("--since", type=Moment(), help="Begin here, as: today, -2h, 2026-11-20.")
@click.option("--until", type=Moment(), help="End here.")
@click.option("--directory", type=_FOLDER, help="The journal in this folder, not this machine's.")
@config_option
@json_option
@shown_errors
def replay(  # noqa: PLR0913, PLR0917 (its options)
    guest: str | None,
    mode: str | None,
    rules: tuple[tuple[Code, Enforcement], ...],
    since: dt.datetime | None,
    until: dt.datetime | None,
    directory: Path | None,
    config: Path,
    *,
    as_json: bool,
) -> None:
    """Say which verdicts in the journal would have been others, of GUEST (name or UUID) or of all.

    They are decided anew on their findings, by the configuration in force with the mode and the
    rules that are given here.

    Exit status: 0 none would, 1 some would, 3 there is no verdict, or the journal may not be read.
    """
    policy = _policy(config, mode, dict(rules))
    counts: Counter[str] = Counter()
    try:
        found = reader.verdicts(guest=guest, since=since, until=until, directory=directory)
        changed = _changed(progress(found, "reading the journal"), policy, counts)
        if as_json:
            _print_json(changed, counts)
        else:
            _print(changed, counts)
    except OSError as exc:
        click.echo(f"error: cannot read the journal: {exc.strerror or exc}", err=True)
        sys.exit(Exit.CANNOT_TELL)
    if not counts["read"]:
        click.echo("error: no such verdict in the journal that you may read", err=True)
        sys.exit(Exit.CANNOT_TELL)
    sys.exit(Exit.INCOMPATIBLE if counts["changed"] else Exit.COMPATIBLE)


def _policy(config: Path, mode: str | None, rules: Mapping[Code, Enforcement]) -> Policy:
    policy = files.read_config(config)[0].policy
    bound = policy.mode if mode is None else Enforcement(mode)
    return policy._replace(mode=bound, rules=MappingProxyType({**policy.rules, **rules}))


def _changed(
    found: Iterator[Mapping[str, str]], policy: Policy, counts: Counter[str]
) -> Iterator[Replayed]:
    """Give what would be different; *counts* are complete when nothing more comes."""
    for fields in found:
        counts["read"] += 1
        past = past_verdict(fields)
        if past is None:
            counts["unknown"] += 1
            continue
        outcome = decide_anew(past, policy)
        if is_different(past, outcome):
            counts["changed"] += 1
            if past.refused is not outcome.refused:
                counts["refused" if outcome.refused else "allowed"] += 1
            yield Replayed(time=fields["time"], past=past, outcome=outcome)


# -- for people


def _print(changed: Iterator[Replayed], counts: Counter[str]) -> None:
    for each in changed:
        past, outcome = each.past, each.outcome
        click.echo(
            f"{each.time}  {printable(past.domain)}  {printable(past.operation)}:"
            f" {_decided(past.decision, refused=past.refused)} ->"
            f" {_decided(outcome.decision, refused=outcome.refused)}"
        )
        for line in _finding_lines(outcome.findings):
            click.echo(f"  {line}")
    if not counts["read"]:
        return
    line = f"{counts['changed']} of {counts['read']} verdicts would have been others"
    if counts["changed"]:
        line += f": {counts['refused']} refused, {counts['allowed']} let through"
    click.echo(line)
    if counts["unknown"]:
        click.echo(f"{counts['unknown']} were written by another version and could not be read")


def _decided(decision: Decision, *, refused: bool) -> str:
    is_said = refused is (decision is Decision.DENY)
    return str(decision) if is_said else f"{decision}, {'refused' if refused else 'let through'}"


def _finding_lines(findings: tuple[Finding, ...]) -> Iterator[str]:
    groups: dict[Code, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.code, []).append(finding)
    for code, group in groups.items():
        yield f"{code} ({group[0].mode}): {counted([f.subject for f in group], SHOWN_NAMES)}"


# -- for programs


def _print_json(changed: Iterator[Replayed], counts: Counter[str]) -> None:
    """Print one object piece by piece: a journal may hold more than fits into memory."""
    click.echo(f'{{\n"schema": "{json_schema()}",\n"changed": [', nl=False)
    for number, each in enumerate(changed):
        text = json_text(_to_dict(each))
        click.echo((",\n  " if number else "\n  ") + text, nl=False)
    numbers = {name: counts[name] for name in ("read", "changed", "refused", "allowed", "unknown")}
    click.echo(f'\n],\n"counts": {json.dumps(numbers)}\n}}')


def _to_dict(each: Replayed) -> dict[str, Any]:
    past, outcome = each.past, each.outcome
    return {
        "time": each.time,
        "domain": past.domain,
        "uuid": past.uuid,
        "operation": past.operation,
        "then": {"decision": past.decision, "refused": past.refused},
        "now": {"decision": outcome.decision, "refused": outcome.refused},
        "findings": [
            {"code": f.code, "subject": f.subject, "mode": f.mode} for f in outcome.findings
        ],
    }
