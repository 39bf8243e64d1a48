"""cpu-guardctl baseline: virsh cpu-baseline and hypervisor-cpu-baseline, of any number of hosts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType

import click

from guardd import cpu
from guardd.cpu import CPUMap, Limits
from guardd.cpu.definition import Arch, CPUDef, Fallback, MaxPhysAddr, PhysAddrMode
from guardd.cpu.families import ARM, PPC64
from guardd.cpu.ppc64.compat import baseline_compat
from guardd.ctl.common import (
    arch_option,
    json_option,
    own_arch,
    print_json,
    pvr_option,
    shown_errors,
)
from guardd.ctl.cpufile import models_option, print_cpu, read_models
from guardd.ctl.pool import note_taken, read_pool
from guardd.ctl.price import (
    Cover,
    CoverType,
    Price,
    note_left_out,
    price_of,
    price_to_dict,
    show_price,
)
from guardd.ctl.source import Source, SourceType
from guardd.errors import (
    BrokenMap,
    GuardError,
    IncompatibleCPUs,
    NoModel,
    NoSuitableModel,
    UnknownFeature,
    UnknownModel,
    UnsupportedArch,
)
from guardd.facts.cpus import FoundCPU
from guardd.judge.compatibility import IGNORED_BY_LIBVIRT

_HINT_NEWER = (
    "if its libvirt is newer: run this there, or give a copy of its CPU map with --cpu-map"
)


@click.command()
@click.argument("sources", metavar="FILE|URI...", nargs=-1, required=True, type=SourceType())
@click.option("--migratable", is_flag=True, help="Leave out features that block migration.")
@click.option("--features", "expanded", is_flag=True, help="List the model's own features too.")
@models_option
@click.option(
    "--compat",
    is_flag=True,
    help="PowerPC: print the newest compatibility mode that all hosts have.",
)
@click.option("--price", "priced", is_flag=True, help="Show what each kind of host costs.")
@click.option("--cover", type=CoverType(), help="Compute it for so many of the hosts only.")
@click.option("--host-cpu", is_flag=True, help="Of URIs and snapshots: the host's own CPU.")
@arch_option
@pvr_option
@json_option
@shown_errors
def baseline(  # noqa: PLR0913 (its options)
    sources: Sequence[Source],
    models: str | None,
    arch: str | None,
    cpu_map: CPUMap,
    cover: Cover | None,
    *,
    priced: bool,
    host_cpu: bool,
    migratable: bool,
    expanded: bool,
    compat: bool,
    as_json: bool,
) -> None:
    """Compute the CPU that runs on all hosts in the files ("-": stdin), as XML for virsh.

    Each FILE may hold several documents, as for virsh cpu-baseline and hypervisor-cpu-baseline:
    cpu, domain, capabilities, domainCapabilities; or it is a copy of a host's snapshot.json. A
    URI is that of a host's libvirt. With --models the result is tailored to a hypervisor.

    With --price it also shows what the others would gain without each kind of host, and the
    trade-off between hosts and features; --cover 95% leaves out those that cost most.

    Exit status: 0 there is one, 1 the CPUs have none, 3 it cannot be told.
    """
    pool = read_pool(sources, own=host_cpu)
    found = pool.found
    family = _common_arch(found, None if arch is None else Arch(arch))
    if compat:
        print_cpu(_compat_mode(family, found), as_json=as_json)
        return
    _note_unseen(family, found)
    limits = Limits(models=read_models(models, cpu_map, family), migratable=migratable)

    def computed(kept: Sequence[FoundCPU]) -> CPUDef:
        result = _tailored(family, _baseline(cpu_map, family, kept, limits), kept, limits)
        return cpu.expand(cpu_map, family, result) if expanded else result

    note_taken(pool)
    if not priced and cover is None:
        print_cpu(computed(found), as_json=as_json)
        return
    if not cpu.has_features(family):
        raise UnsupportedArch(
            f"hosts of {family} have no price: their CPUs are not made of features",
            hint=_compat_hint(family, found),
        )
    price = price_of(cpu_map, family, found, limits, cover=cover, baseline=computed)
    _show(price, priced=priced, as_json=as_json)


def _show(price: Price, *, priced: bool, as_json: bool) -> None:
    """Print *price* where it is wanted, and the CPU; raises IncompatibleCPUs without one."""
    note_left_out(price)
    if priced and as_json:
        print_json(price_to_dict(price), "baseline-price")
    elif priced:
        show_price(price)
        click.echo()
    if price.chosen.cpu is None:
        raise IncompatibleCPUs(price.chosen.problem, hint="see --price and --cover")
    if not (priced and as_json):
        print_cpu(price.chosen.cpu, as_json=as_json)


def _common_arch(found: Iterable[FoundCPU], asked: Arch | None) -> Arch:
    """Give the architecture of all CPUs; raises IncompatibleCPUs where they are of several."""
    arch, whose = asked, "--arch"
    for each in found:
        if each.arch is None:
            continue
        if arch is None:
            arch, whose = each.arch, each.place
        if not cpu.same_family(arch, each.arch):
            raise IncompatibleCPUs(
                f"{each.place}: CPU arch {each.arch} does not match {arch} of {whose}"
            )
    return arch or own_arch()


def _note_unseen(arch: Arch, found: Sequence[FoundCPU]) -> None:
    """Say where libvirt's answer is blind: on Arm the first CPU is taken for all."""
    others = {each.cpu.model for each in found} - {found[0].cpu.model}
    if arch in ARM and others:
        note = f"libvirt looks at {found[0].place} only on {arch}, the others have another model"
        click.echo(f"note: {note}", err=True)


def _baseline(cpu_map: CPUMap, arch: Arch, found: Sequence[FoundCPU], limits: Limits) -> CPUDef:
    """Compute the baseline; an error names the CPU that it is about."""
    try:
        return cpu.baseline(cpu_map, arch, [each.cpu for each in found], limits)
    except (BrokenMap, UnsupportedArch):
        raise
    except (IncompatibleCPUs, NoSuitableModel) as exc:
        at = _first_failing(cpu_map, arch, found, limits)
        message, the_one = f"{found[at].place}: {exc}", found[at]
        if at > 0 and _has_baseline(cpu_map, arch, [the_one, the_one], limits):
            message += f" ({the_one.cpu.model}, before it {_models(found[:at])})"
        raise IncompatibleCPUs(message, hint=_compat_hint(arch, found)) from exc
    except GuardError as exc:
        raise _blamed(cpu_map, arch, found, exc) from exc


def _first_failing(cpu_map: CPUMap, arch: Arch, found: Sequence[FoundCPU], limits: Limits) -> int:
    """Say with which CPU there is no baseline any more: what all have can only get less."""
    good, bad = 0, len(found)
    while bad - good > 1:
        middle = (good + bad) // 2
        if _has_baseline(cpu_map, arch, found[:middle], limits):
            good = middle
        else:
            bad = middle
    return good


def _has_baseline(cpu_map: CPUMap, arch: Arch, found: Iterable[FoundCPU], limits: Limits) -> bool:
    try:
        cpu.baseline(cpu_map, arch, [each.cpu for each in found], limits)
    except GuardError:
        return False
    return True


def _models(found: Iterable[FoundCPU]) -> str:
    names = dict.fromkeys(str(each.cpu.model) for each in found)
    first, more = next(iter(names)), len(names) - 1
    return f"{first} and {more} more" if more else first


def _blamed(cpu_map: CPUMap, arch: Arch, found: Iterable[FoundCPU], exc: GuardError) -> GuardError:
    """Give *exc* with the place of the first CPU that is wrong by itself."""
    for each in found:
        if each.cpu.model is None:
            return NoModel(f"{each.place}: no CPU model specified")
        try:
            cpu.baseline(cpu_map, arch, [each.cpu])
        except GuardError as own:
            is_name = isinstance(own, UnknownModel | UnknownFeature)
            return type(own)(f"{each.place}: {own}", hint=_HINT_NEWER if is_name else own.hint)
    return exc


def _tailored(arch: Arch, result: CPUDef, found: Sequence[FoundCPU], limits: Limits) -> CPUDef:
    """Do to a baseline what libvirt's QEMU driver does to it (spec cpu-x86, 6.2, wrappers)."""
    if cpu.has_features(arch):
        kept = {n: p for n, p in result.features.items() if n not in IGNORED_BY_LIBVIRT}
        result = result._replace(features=MappingProxyType(kept))
    if limits.models is not None:
        result = result._replace(fallback=Fallback.FORBID)
    addresses = [each.cpu.maxphysaddr for each in found]
    limits_given = [a.limit for a in addresses if a is not None and a.limit is not None]
    if len(limits_given) == len(found):
        address = MaxPhysAddr(mode=PhysAddrMode.PASSTHROUGH, limit=min(limits_given))
        result = result._replace(maxphysaddr=address)
    return result


def _compat_mode(arch: Arch, found: Iterable[FoundCPU]) -> CPUDef:
    if arch not in PPC64:
        raise click.BadParameter(f"{arch} has no compatibility modes", param_hint="--compat")
    return baseline_compat([each.cpu for each in found])


def _compat_hint(arch: Arch, found: Iterable[FoundCPU]) -> str:
    if arch not in PPC64:
        return ""
    try:
        mode = baseline_compat([each.cpu for each in found]).model
    except GuardError:
        return ""
    return f"all of them have compatibility mode {mode}, see --compat"
