"""Files that the commands read CPUs from, and how they print one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef
from guardd.cpu.driver import HypervisorModels
from guardd.cpu.xml import format_cpu
from guardd.ctl.common import print_json
from guardd.errors import BrokenMap, GuardError
from guardd.facts.cpus import FoundCPU, parse_cpus
from guardd.facts.domcaps import Hypervisor, Usable, parse_domcaps

models_option = click.option(
    "--models",
    metavar="MODEL,...|@FILE",
    help="Take only these models, or those in domain capabilities in FILE.",
)
READABLE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_STDIN = "-"


def name_of(path: Path) -> str:
    """Name *path* in a message."""
    return "standard input" if str(path) == _STDIN else click.format_filename(path)


def read_text(path: Path) -> str:
    """Read *path*, or standard input for "-"; what is not UTF-8 is left for the parser to say."""
    try:
        data = sys.stdin.buffer.read() if str(path) == _STDIN else path.read_bytes()
    except OSError as exc:
        raise click.BadParameter(f"cannot read {path}: {exc.strerror}") from exc
    return data.decode("utf-8", "surrogateescape")


def read_cpus(path: Path) -> list[FoundCPU]:
    """Give the CPUs in *path*, at least one; raises MalformedXML or InvalidCPU."""
    return parse_cpus(read_text(path), name_of(path))


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Say in an error where what it is about stands; a broken CPU map is nobody's fault here."""
    try:
        yield
    except BrokenMap:
        raise
    except GuardError as exc:
        raise type(exc)(f"{place}: {exc}" if place else str(exc), hint=exc.hint) from exc


@contextmanager
def between(cpu_map: CPUMap, arch: Arch, host: FoundCPU, guest: FoundCPU) -> Iterator[None]:
    """Say in an error which of the two CPUs it is about."""
    try:
        yield
    except GuardError:
        with placed(host.place):
            cpu.compare(cpu_map, arch, host.cpu, host.cpu)
        with placed(guest.place):
            raise


def read_models(words: str | None, cpu_map: CPUMap, arch: Arch) -> HypervisorModels | None:
    """Read --models: names with commas between them, or @FILE with domain capabilities.

    Each model comes with what blocks it; None: there is no such option. Raises what
    `parse_domcaps` raises.
    """
    if words is None:
        return None
    if not words.startswith("@"):
        names = [word for word in words.split(",") if word]
        known = cpu.models(cpu_map, arch)
        for name in names:
            if known and name not in known:
                raise click.BadParameter(f"Unknown CPU model {name}", param_hint="--models")
        return dict.fromkeys(names, ())
    path = READABLE.convert(words[1:], None, None)
    with placed(name_of(path)):
        return offered_models(cpu_map, parse_domcaps(read_text(path)))


def offered_models(cpu_map: CPUMap, hypervisor: Hypervisor) -> HypervisorModels:
    """Give the models of *hypervisor* with what blocks each, as the CPU drivers take them.

    libvirt 9.0.0 does not tell what that is, for all that it knows: it is what of the model the
    host-model CPU lacks. Raises what `cpu.features` raises for that.
    """
    gives: frozenset[str] | None = None
    if hypervisor.host_model is not None:
        gives = cpu.features(cpu_map, hypervisor.arch, hypervisor.host_model)
    offered: dict[str, tuple[str, ...]] = {}
    known = cpu.models(cpu_map, hypervisor.arch)
    for name, model in hypervisor.models.items():
        blockers = model.blockers or ()
        if model.usable is Usable.NO and model.blockers is None and gives and name in known:
            own = cpu.features(cpu_map, hypervisor.arch, CPUDef(model=name))
            blockers = tuple(sorted(own - gives))
        offered[name] = blockers
    return offered


def print_cpu(result: CPUDef, *, as_json: bool) -> None:
    """Print *result* as virsh does, or as JSON."""
    # libvirt before 10.1 knows no clusters: they are not printed unless they say something
    clusters = result.topology is not None and result.topology.clusters > 1
    text = format_cpu(result, clusters=clusters)
    if not as_json:
        click.echo(text)
        return
    print_json(
        {
            "mode": result.mode,
            "model": result.model,
            "vendor": result.vendor,
            "features": dict(result.features),
            "xml": text,
        }
    )
