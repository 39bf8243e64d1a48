"""cpu-guardctl update: what a guest's CPU becomes on a host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import click

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef, Fallback, Mode
from guardd.cpu.driver import HypervisorModels
from guardd.ctl.common import json_option, own_arch, pvr_option, shown_errors, state_option
from guardd.ctl.cpufile import (
    READABLE,
    between,
    models_option,
    name_of,
    offered_models,
    print_cpu,
    read_models,
    read_text,
)
from guardd.ctl.known import host_snapshot
from guardd.errors import GuardError, IncompatibleCPUs, UnknownHost
from guardd.facts.cpus import FoundCPU, parse_cpus
from guardd.facts.domain import parse_domain
from guardd.facts.domcaps import HypervisorKey, parse_domcaps
from guardd.judge.compatibility import IGNORED_BY_LIBVIRT
from guardd.judge.reference import KVM, find_hypervisor

_UPDATED = (Mode.CUSTOM, Mode.HOST_MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    """The host's side: its CPU, where that was found, and the models of its QEMU (None: all)."""

    found: FoundCPU
    models: HypervisorModels | None


@click.command()
@click.argument("file", metavar="CPU", type=READABLE)
@click.option("--host", "host_file", type=READABLE, help="Update for the host in this file.")
@models_option
@state_option
@pvr_option
@json_option
@shown_errors
def update(
    file: Path,
    host_file: Path | None,
    models: str | None,
    state: Path,
    cpu_map: CPUMap,
    *,
    as_json: bool,
) -> None:
    """Print the CPU that a guest gets where libvirt starts it: on this host, or on another.

    CPU and the file of --host may hold a cpu, domain, capabilities or domainCapabilities document
    ("-": stdin). What a QEMU can give stands in domainCapabilities: a host's capabilities tell of
    its silicon. Whether the host can honour the CPU is what compare and check say.

    Exit status: 0 done, 1 the architectures differ, 3 it cannot be told.
    """
    text = read_text(file)
    guest = parse_cpus(text, name_of(file))[0]
    host = _this_host(cpu_map, state, text) if host_file is None else _host_in(cpu_map, host_file)
    arch = guest.arch or host.found.arch or own_arch()
    if host.found.arch is not None and not cpu.same_family(arch, host.found.arch):
        raise IncompatibleCPUs(
            f"{guest.place}: CPU arch {arch} does not match {host.found.arch} of {host.found.place}"
        )
    offered = read_models(models, cpu_map, arch) or host.models
    with between(cpu_map, arch, host.found, guest):
        result = _started(cpu_map, arch, guest.cpu, host.found.cpu, offered)
    print_cpu(result, as_json=as_json)


def _started(
    cpu_map: CPUMap,
    arch: Arch,
    guest: CPUDef,
    host: CPUDef,
    models: HypervisorModels | None,
) -> CPUDef:
    """Do what libvirt does to a guest's CPU before it starts (spec cpu-x86, 8.3, 4 to 7)."""
    if guest.mode is Mode.CUSTOM and guest.model is None:
        return guest  # only a topology: QEMU's default model
    guest = cpu.convert_legacy(arch, guest)
    if guest.mode in _UPDATED:
        guest = cpu.update(cpu_map, arch, guest, cpu.copy_migratable(cpu_map, arch, host))
        guest = cpu.translate(cpu_map, arch, guest, models)
        guest = guest._replace(fallback=Fallback.FORBID)
    if not cpu.has_features(arch):
        return guest
    kept = {n: p for n, p in guest.features.items() if n not in IGNORED_BY_LIBVIRT}
    return guest._replace(features=MappingProxyType(kept))


def _host_in(cpu_map: CPUMap, path: Path) -> _Host:
    text = read_text(path)
    found = parse_cpus(text, name_of(path))[0]
    try:
        models = offered_models(cpu_map, parse_domcaps(text)) or None
    except GuardError:
        models = None  # another kind of document: whatever model the guest has is taken
    return _Host(found=found, models=models)


def _this_host(cpu_map: CPUMap, state: Path, guest: str) -> _Host:
    """Give what this host's hypervisor gives *guest*, a domain, or else a guest on KVM."""
    snapshot = host_snapshot(state)
    try:
        domain = parse_domain(guest)
        key = HypervisorKey(domain.virt_type, domain.arch, domain.machine, domain.emulator)
    except GuardError:
        key = HypervisorKey(KVM, snapshot.arch)
    known = find_hypervisor(snapshot, key)
    hypervisor = known[0] if known else next(iter(snapshot.hypervisors), None)
    if hypervisor is None or hypervisor.host_model is None:
        raise UnknownHost("libvirt tells nothing of what this host's hypervisor gives")
    place = f"the {hypervisor.virt_type} hypervisor of this host"
    found = FoundCPU(cpu=hypervisor.host_model, arch=hypervisor.arch, place=place)
    return _Host(found=found, models=offered_models(cpu_map, hypervisor) or None)
