"""cpu-guardctl fix: the smallest change to a guest's <cpu> that makes it fit."""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from guardd import files, libvirtconn
from guardd.cpu import CPUMap, PVRMatch, match_pvr
from guardd.cpu.x86.meaning import by_meaning
from guardd.ctl.common import (
    Exit,
    config_option,
    cpu_map_option,
    json_option,
    print_json,
    shown_errors,
    state_option,
)
from guardd.ctl.errand import run_errands
from guardd.ctl.far import ask_libvirt
from guardd.ctl.guest import Guest as GuestType
from guardd.ctl.known import connected, definition_text, file_text, host_snapshot, is_file
from guardd.ctl.prospect import read_snapshot
from guardd.ctl.source import Far, Source, SourceType
from guardd.errors import GuardError, NoFix
from guardd.facts.domain import Guest, Rewritten, parse_domain, rewrite_cpu
from guardd.facts.domcaps import HypervisorKey, Usable
from guardd.facts.foreign import in_our_words
from guardd.facts.snapshot import HostSnapshot, with_revision
from guardd.judge import judge_guest
from guardd.judge.finding import CheckRequest, Operation, Verdict
from guardd.judge.fix import Fix, fix_guest
from guardd.judge.policy import Policy
from guardd.judge.reference import find_hypervisor
from guardd.probe.revision import read_revision
from guardd.render import printable

Host = tuple[HostSnapshot, Policy]


@click.command()
@click.argument("guest", metavar="GUEST|FILE", type=GuestType(or_file=True))
@click.option(
    "--for",
    "sources",
    metavar="URI|FILE",
    type=SourceType(),
    multiple=True,
    help="Make it fit that host in place of this one; may be given many times.",
)
@click.option("--xml", "only_xml", is_flag=True, help="Print only the new <cpu>, for virsh edit.")
@click.option("--apply", "applies", is_flag=True, help="Define the guest so, after asking.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@state_option
@cpu_map_option
@json_option
@shown_errors
def fix(  # noqa: PLR0913 (its options)
    guest: str,
    sources: Sequence[Source],
    config: Path,
    state: Path,
    cpu_map: CPUMap,
    *,
    only_xml: bool,
    applies: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Find the smallest change to the <cpu> of GUEST with which it can start on this host.

    GUEST is a guest's name, UUID or id, or FILE a domain's XML ("-": stdin); its definition counts,
    not what it runs with. Printed are what is changed and lost, the change as a diff, and the new
    <cpu> to paste into `virsh edit`. Nothing is changed but with --apply, and then for the guest's
    next start.

    With --for, one <cpu> for all of the hosts: libvirt URIs, or copies of their snapshot.json.

    Exit status: 0 it fits, as it is or changed so, 1 no <cpu> would make it fit, 3 it cannot be
    told.
    """
    text = file_text(guest) if is_file(guest) else definition_text(guest)
    if applies and is_file(guest):
        raise click.UsageError("--apply takes a guest of this host's libvirt, not a file")
    read = parse_domain(text)
    rules = files.read_config(config)[0]
    cpu_map = match_pvr(cpu_map, rules.pvr)
    if sources:
        hosts = [(each, Policy()) for each in _snapshots(sources, read, cpu_map)]
    else:
        snapshot = host_snapshot(state)
        if rules.pvr is PVRMatch.EXACT:
            snapshot = with_revision(snapshot, read_revision(cpu_map))
        hosts = [(snapshot, rules.policy)]
    judges = functools.partial(_judge_all, hosts=hosts, cpu_map=cpu_map)
    try:
        found = fix_guest(read, judges, cpu_map, _models(read, hosts))
    except NoFix as exc:
        click.echo(f"error: {printable(read.name)}: {exc}", err=True)
        click.echo(f"hint: {exc.hint}", err=True)
        sys.exit(Exit.INCOMPATIBLE)
    rewritten = rewrite_cpu(text, found.cpu)
    if as_json:
        print_json(_to_dict(read, found, rewritten))
    elif only_xml:
        click.echo(rewritten.after if found.steps else rewritten.before)
    else:
        for line in _lines(read, found, rewritten):
            click.echo(line)
    if applies and found.steps:
        _apply(guest, found, yes=yes)


def _apply(guest: str, found: Fix, *, yes: bool) -> None:
    if not yes:
        click.confirm(f"Define {printable(guest)} so, for its next start?", abort=True, err=True)
    with connected(read_only=False) as connection:
        libvirtconn.redefine(connection, guest, lambda text: rewrite_cpu(text, found.cpu).domain)
    click.echo(f"{printable(guest)} is defined anew; it takes effect at its next start", err=True)


def _snapshots(sources: Sequence[Source], guest: Guest, cpu_map: CPUMap) -> Iterator[HostSnapshot]:
    """Give what is known of each host; raises what the first that cannot be read raises."""
    key = HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)
    wanted = (key, key._replace(emulator=None))
    far = [source for source in sources if isinstance(source, Far)]
    works = [functools.partial(ask_libvirt, each, sought=wanted) for each in far]
    asked = iter(run_errands(works, f"asking {len(far)} hosts"))
    for source in sources:
        outcome = read_snapshot(source) if isinstance(source, Path) else next(asked)
        if isinstance(outcome, GuardError):
            raise outcome
        yield in_our_words(cpu_map, outcome, guest.virt_type)


def _judge_all(guest: Guest, *, hosts: Sequence[Host], cpu_map: CPUMap) -> list[Verdict]:
    request = CheckRequest(domain=guest.name, operation=Operation.PREPARE, xml="", arrives=False)
    return [judge_guest(request, guest, host, policy, cpu_map) for host, policy in hosts]


def _models(guest: Guest, hosts: Sequence[Host]) -> list[str]:
    """Name the models that all *hosts* offer, as far as QEMU there does not rule them out."""
    key = HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)
    offered = []
    for host, _ in hosts:
        hypervisor = find_hypervisor(host, key)
        if hypervisor is not None:
            models = hypervisor[0].models.items()
            offered.append({name for name, each in models if each.usable is not Usable.NO})
    return sorted(set.intersection(*offered)) if offered else []


def _lines(guest: Guest, found: Fix, rewritten: Rewritten) -> Iterator[str]:
    name = printable(guest.name)
    if not found.steps:
        yield f"{name} fits as it is"
        return
    yield f"{name} fits with:"
    yield from (f"  {printable(step)}" for step in found.steps)
    if found.lost:
        yield "it loses:"
        for meaning, names in by_meaning(found.lost).items():
            yield f"  {meaning}: {', '.join(map(printable, names))}"
    if found.mitigations:
        yield f"warning: security depends on {', '.join(found.mitigations)}"
    yield ""
    before, after = rewritten.before.splitlines(), rewritten.after.splitlines()
    yield from difflib.unified_diff(before, after, "as it is", "as it would fit", lineterm="")
    yield ""
    yield rewritten.after or "(no <cpu>)"


def _to_dict(guest: Guest, found: Fix, rewritten: Rewritten) -> dict[str, Any]:
    return {
        "domain": guest.name,
        "steps": list(found.steps),
        "lost": list(found.lost),
        "mitigations_lost": list(found.mitigations),
        "cpu_before": rewritten.before,
        "cpu": rewritten.after,
    }
