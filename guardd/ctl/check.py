"""cpu-guardctl check: whether a guest would start here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from guardd import files, render
from guardd.cpu import CPUMap, PVRMatch, match_pvr
from guardd.ctl.common import (
    DECISION_EXIT,
    choice,
    config_option,
    cpu_map_option,
    json_option,
    print_json,
    shown_errors,
    state_option,
)
from guardd.ctl.guest import Guest
from guardd.ctl.known import file_text, guest_as_sent, guest_text, host_snapshot, is_file
from guardd.ctl.source import Source, SourceType
from guardd.errors import GuardError
from guardd.facts.domain import Guest as Domain
from guardd.facts.domain import parse_domain, trim_domain
from guardd.facts.snapshot import with_revision
from guardd.judge import judge
from guardd.judge.advice import advise
from guardd.judge.finding import CheckRequest, Decision, Finding, Operation


@click.command()
@click.argument("guest", metavar="GUEST|FILE", type=Guest(or_file=True))
@click.option(
    "--on",
    "destinations",
    metavar="URI|FILE",
    type=SourceType(),
    multiple=True,
    help="Ask that host instead of this one; may be given many times.",
)
@click.option(
    "--operation",
    type=choice(Operation),
    help="Judge as for a start (prepare, the default), an incoming migration or a restore.",
)
@config_option
@state_option
@cpu_map_option
@json_option
@shown_errors
def check(  # noqa: PLR0913 (its options)
    guest: str,
    destinations: Sequence[Source],
    operation: str | None,
    config: Path,
    state: Path,
    cpu_map: CPUMap,
    *,
    as_json: bool,
) -> None:
    """Say whether GUEST, or the domain in FILE ("-": stdin), can start on this host.

    GUEST is a name, UUID or id. A running guest is judged by the CPU that it really has. Neither
    the daemon nor libvirt need to run: this host is known by the snapshot that the daemon keeps.
    Of a definition it also tells what it will lead to: a guest that could never migrate, and such.

    With --on, whether it can go to other hosts: libvirt URIs as virsh migrate takes them, or
    copies of their snapshot.json. Their guards are asked by way of ssh, else their libvirt. A
    running guest is judged as its migration would be, any other as its start there.

    Exit status: 0 it can, 1 it would be refused, 3 it cannot be told. With several hosts: 0 it can
    go to all of them, 1 one of them would refuse it, 3 else.
    """
    text = file_text(guest) if is_file(guest) else guest_text(guest)
    if destinations:
        from guardd.ctl.prospect import prospects, show_prospects

        requests = _requests_elsewhere(guest, text, operation)
        sys.exit(show_prospects(prospects(destinations, requests, cpu_map), as_json=as_json))
    read = _parsed(text)
    name, runs = (read.name, read.runs) if read else (guest, False)
    # one that runs is judged as if it arrived, by the CPU that it has; else it would be a start
    wanted = Operation(operation or Operation.PREPARE)
    request = CheckRequest(domain=name, operation=wanted, xml=text, arrives=runs)
    (rules, _), snapshot = files.read_config(config), host_snapshot(state)
    cpu_map = match_pvr(cpu_map, rules.pvr)
    if rules.pvr is PVRMatch.EXACT:
        from guardd.probe.revision import read_revision

        snapshot = with_revision(snapshot, read_revision(cpu_map))
    verdict = judge(request, snapshot, rules.policy, cpu_map)
    advice: list[Finding] = []
    if read and not runs and request.operation is Operation.PREPARE:  # of a definition only
        advised = advise(read, verdict, snapshot, rules.policy, cpu_map)
        advice = [finding for finding in advised if finding not in verdict.findings]
    if as_json:
        from guardd import wire

        document = wire.verdict_to_dict(verdict)
        print_json({**document, "advice": [wire.finding_to_dict(finding) for finding in advice]})
    else:
        click.echo(render.report(verdict))
        if verdict.decision is Decision.ALLOW and not verdict.findings:
            click.echo("  nothing stands against it")
        for line in ["advice:", *render.advice_lines(verdict, advice)] if advice else []:
            click.echo(line)
    sys.exit(DECISION_EXIT[verdict.decision])


def _parsed(text: str) -> Domain | None:
    """Read the domain XML *text*; None: the verdict will say what is wrong with it."""
    try:
        return parse_domain(text)
    except GuardError:
        return None


def _requests_elsewhere(guest: str, text: str, operation: str | None) -> Sequence[CheckRequest]:
    """Give what another host is asked of the guest with the XML *text*, and no more than it needs.

    Raises what `parse_domain` raises: what cannot be read here need not be sent.
    """
    read, trimmed = parse_domain(text), trim_domain(text)
    if operation is not None or not read.runs:
        wanted = Operation(operation or Operation.PREPARE)
        return [CheckRequest(domain=read.name, operation=wanted, xml=trimmed, arrives=read.runs)]
    from guardd.judge.arrival import arrival_requests

    as_sent = None if is_file(guest) else guest_as_sent(guest)
    sent = trimmed if as_sent is None else trim_domain(as_sent)
    return arrival_requests(read.name, as_sent=sent, in_force=trimmed)
