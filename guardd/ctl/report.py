"""cpu-guardctl report: all guests here by many hosts, as a page to look at or to hand on."""

from __future__ import annotations

import functools
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import click

from guardd import files
from guardd.cpu import CPUMap, match_pvr
from guardd.ctl.changes import read_host, revised
from guardd.ctl.common import (
    config_option,
    cpu_map_option,
    json_option,
    print_json,
    shown_errors,
    state_option,
)
from guardd.ctl.errand import Errand, run_errands
from guardd.ctl.far import ask_guard_host, ask_libvirt_all
from guardd.ctl.known import host_snapshot, travellers
from guardd.ctl.progress import progress
from guardd.ctl.source import Far, Source, SourceType, labels
from guardd.errors import CannotWrite, GuardError
from guardd.facts.domain import parse_domain
from guardd.facts.domcaps import HypervisorKey
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.matrix import Bench, KnownBy, Matrix, Place, Traveller
from guardd.judge.policy import Policy
from guardd.render import REPORTED_LENGTH, printable
from guardd.render.matrix import matrix_to_dict
from guardd.watch.learn import utc_now

TEMPLATE = "report.html.j2"
STDOUT = "-"


@click.command()
@click.argument("sources", metavar="[HOST...]", nargs=-1, type=SourceType())
@click.option("--html", "file", metavar="FILE", help="Write the page to FILE; - is stdout.")
@click.option("--title", default="", metavar="TEXT", help="The heading of the page.")
@config_option
@state_option
@cpu_map_option
@json_option
@shown_errors
def report(  # noqa: PLR0913 (its options)
    sources: tuple[Source, ...],
    file: str | None,
    title: str,
    config: Path,
    state: Path,
    cpu_map: CPUMap,
    *,
    as_json: bool,
) -> None:
    """Show which guests of this host can run on it and on each HOST, and why not, as one HTML page.

    HOST is a libvirt URI or a copy of a host's snapshot.json. A guest that runs is judged as its
    migration there would be, any other as its start there. The page needs nothing else: no network,
    no script, no file beside it.

    Exit status: 0 it was made, whatever it says, 3 it could not be.
    """
    if file is None and not as_json:
        raise click.UsageError("say where to put the page: --html FILE, or --html - for stdout")
    if file == STDOUT and as_json:
        raise click.UsageError("--html - and --json cannot both print on stdout")
    if file is not None:
        from guardd.page import page
    rules, _files = files.read_config(config)
    cpu_map = match_pvr(cpu_map, rules.pvr)
    guests, missing = travellers()
    places = [
        _here(state, config, rules.policy, cpu_map),
        *_elsewhere(sources, _hypervisors(guests)),
    ]
    notices = [missing] if missing else []
    _note([*notices, *(f"{place.label}: {place.problem}" for place in places if place.problem)])
    bench = Bench(places, {guest.virt_type for guest in guests}, cpu_map)
    rows = tuple(progress(map(bench.row, guests), f"judging {len(guests)} guests"))
    matrix = Matrix(places=tuple(_told_apart(places)), rows=rows)
    heading = title or f"Where the guests of {places[0].label} can run"
    document = matrix_to_dict(matrix, made=utc_now(), title=heading, notices=notices)
    if file is not None:
        template = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
        _write(file, page(document, template))
    if as_json:
        print_json(document)


def _note(notes: Iterable[str]) -> None:
    for note in notes:
        click.echo(f"note: {printable(note, REPORTED_LENGTH)}", err=True)


def _write(file: str, text: str) -> None:
    if file == STDOUT:
        click.echo(text, nl=False)
        return
    path = Path(file)
    try:
        files.write_asked(path, text)
    except OSError as exc:
        hint = "--html needs a folder that exists and that you may write to"
        raise CannotWrite(f"cannot write {path}: {exc.strerror or exc}", hint=hint) from exc


def _hypervisors(guests: Iterable[Traveller]) -> list[HypervisorKey]:
    """Say what the hosts must be able to tell of for *guests* to be judged by the very thing."""
    keys = []
    for guest in guests:
        if guest.virt_type:
            read = parse_domain(guest.requests[0].xml)
            keys.append(HypervisorKey(read.virt_type, read.arch, read.machine, read.emulator))
    return list(dict.fromkeys(keys))


# -- the hosts


def _here(state: Path, config: Path, policy: Policy, cpu_map: CPUMap) -> Place:
    """Give this host, with the rules of its own configuration."""
    try:
        known = revised(host_snapshot(state), cpu_map, config)
    except GuardError as exc:
        label = socket.gethostname()
        return Place(label=label, given="", known_by=KnownBy.HERE, problem=_problem(exc))
    return Place(
        label=known.hostname, given="", known_by=KnownBy.HERE, snapshot=known, policy=policy
    )


Told = tuple[KnownBy, HostSnapshot]


def _elsewhere(sources: Sequence[Source], sought: Sequence[HypervisorKey]) -> list[Place]:
    """Learn of the other hosts, in order; those behind URIs are asked all at once."""
    far = [source for source in sources if isinstance(source, Far)]
    works = [functools.partial(_ask, each, sought) for each in far]
    outcomes = iter(run_errands(works, f"asking {len(far)} hosts"))
    places = []
    for label, source in zip(labels(sources), sources, strict=True):
        given = source.uri if isinstance(source, Far) else str(source)
        outcome = next(outcomes) if isinstance(source, Far) else _read(source)
        if isinstance(outcome, GuardError):
            place = Place(
                label=label, given=given, known_by=KnownBy.NOBODY, problem=_problem(outcome)
            )
        else:
            known_by, known = outcome
            place = Place(label=known.hostname, given=given, known_by=known_by, snapshot=known)
        places.append(place)
    return places


def _ask(far: Far, sought: Sequence[HypervisorKey], errand: Errand[Told]) -> Told:
    if far.ssh is not None and (known := ask_guard_host(far.ssh, errand)) is not None:
        return KnownBy.GUARD, known
    return KnownBy.LIBVIRT, ask_libvirt_all(far, errand, sought)


def _read(path: Path) -> Told | GuardError:
    try:
        return KnownBy.FILE, read_host(path)
    except GuardError as exc:
        return exc


def _problem(exc: GuardError) -> str:
    return f"{exc}; {exc.hint}" if exc.hint else str(exc)


def _told_apart(places: Sequence[Place]) -> list[Place]:
    """Add to labels that several hosts have how each was named on the command line."""
    times = Counter(place.label for place in places)
    return [
        replace(place, label=f"{place.label} ({place.given})")
        if times[place.label] > 1 and place.given
        else place
        for place in places
    ]
