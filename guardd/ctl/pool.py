"""The hosts of a pool, from files, snapshots and libvirt URIs, each as the CPU that it gives."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click

from guardd.cpu.definition import CPUDef
from guardd.ctl.cpufile import name_of, placed, read_text
from guardd.ctl.errand import run_errands
from guardd.ctl.far import ask_libvirt
from guardd.ctl.source import Far, Source
from guardd.errors import GuardError, UnknownHost
from guardd.facts.cpus import FoundCPU, parse_cpus
from guardd.facts.snapshot import HostSnapshot, snapshot_from_json
from guardd.judge.reference import KVM
from guardd.render import FIELD_LENGTH, printable

SHOWN_HOSTS = 5  # in a note; the rest is counted


class Which(StrEnum):
    """Which of a host's two CPUs is taken, where it has told both."""

    HOST_MODEL = "the host-model CPU of KVM"
    HOST = "the host's own CPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """CPUs in the order of the command line, and which CPU was taken of hosts that told several."""

    found: list[FoundCPU]
    taken: dict[Which, list[str]]


def read_pool(sources: Sequence[Source], *, own: bool) -> Pool:
    """Read the CPUs of all *sources*, at least one of each; all libvirts are asked at once.

    Of a snapshot and of a libvirt it is what KVM gives its guests; with *own*, and where there is
    no KVM, the host's own. Raises what the first that cannot be read raises.
    """
    far = [source for source in sources if isinstance(source, Far)]
    works = [functools.partial(ask_libvirt, each) for each in far]
    asked = iter(run_errands(works, f"asking {len(far)} hosts"))
    pool = Pool(found=[], taken={})
    for source in sources:
        if isinstance(source, Path):
            _add_file(pool, source, own=own)
            continue
        outcome = next(asked)
        if isinstance(outcome, GuardError):
            raise outcome
        _add_snapshot(pool, outcome, source.uri, own=own)
    return pool


def note_taken(pool: Pool) -> None:
    """Say on standard error which CPU was taken of hosts that have told several."""
    for which, places in pool.taken.items():
        click.echo(f"note: {which} is taken of {few(places, SHOWN_HOSTS)}", err=True)


def _add_file(pool: Pool, path: Path, *, own: bool) -> None:
    text, name = read_text(path), name_of(path)
    if not text.lstrip().startswith("{"):
        pool.found.extend(parse_cpus(text, name))
        return
    with placed(name):
        snapshot = snapshot_from_json(text)
    _add_snapshot(pool, snapshot, name, own=own)


def _add_snapshot(pool: Pool, snapshot: HostSnapshot, place: str, *, own: bool) -> None:
    given = None if own else _host_model(snapshot)
    taken = snapshot.host_cpu if given is None else given
    if taken is None:
        raise UnknownHost(f"{printable(place)}: libvirt there could not name the host's CPU")
    pool.found.append(FoundCPU(cpu=taken, arch=snapshot.arch, place=place))
    which = Which.HOST if given is None else Which.HOST_MODEL
    pool.taken.setdefault(which, []).append(place)


def _host_model(snapshot: HostSnapshot) -> CPUDef | None:
    for hypervisor in snapshot.hypervisors:
        is_native = hypervisor.virt_type == KVM and hypervisor.arch == snapshot.arch
        if is_native and hypervisor.host_model is not None:
            return hypervisor.host_model._replace(arch=None)
    return None


def few(places: Sequence[str], limit: int) -> str:
    """Name the first *limit* of *places*, each in full, and count the rest."""
    shown = ", ".join(printable(place, FIELD_LENGTH) for place in places[:limit])
    rest = len(places) - limit
    return f"{shown} (+{rest})" if rest > 0 else shown
