"""cpu-guardctl compare: virsh cpu-compare, with reasons and without libvirtd."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import assert_never

import click

from guardd import cpu
from guardd.cpu import CPUMap, PVRMatch
from guardd.cpu.definition import Arch
from guardd.cpu.driver import CompareResult, Comparison
from guardd.cpu.families import PPC64, driver_for
from guardd.ctl.common import (
    Exit,
    json_option,
    own_arch,
    print_json,
    pvr_option,
    shown_errors,
    state_option,
)
from guardd.ctl.cpufile import READABLE, between, name_of, read_cpus
from guardd.ctl.known import host_snapshot
from guardd.errors import UnknownHost
from guardd.facts.cpus import FoundCPU
from guardd.facts.snapshot import with_revision
from guardd.probe.revision import read_revision


@click.command()
@click.argument("file", type=READABLE)
@click.option("--host", "host_file", type=READABLE, help="Compare with the CPU in this file.")
@state_option
@pvr_option
@json_option
@shown_errors
def compare(
    file: Path, host_file: Path | None, state: Path, cpu_map: CPUMap, *, as_json: bool
) -> None:
    """Compare the CPU in FILE with this host's, or with the one given by --host ("-": stdin).

    Both files may hold a cpu, domain, capabilities or domainCapabilities document, as for virsh
    cpu-compare; the first CPU in them counts. Superset means that the host has more than the CPU
    asks for.

    Exit status: 0 identical or superset, 1 incompatible, 3 it cannot be told.
    """
    host = _this_host(state, cpu_map) if host_file is None else read_cpus(host_file)[0]
    asked = read_cpus(file)[0]
    arch = host.arch or own_arch()
    with between(cpu_map, arch, host, asked):
        comparison = cpu.compare(cpu_map, arch, host.cpu, asked.cpu)
    if as_json:
        print_json(
            {
                "result": comparison.result,
                "difference": comparison.difference,
                "subjects": comparison.subjects,
            }
        )
    else:
        click.echo(_sentence(comparison, name_of(file), arch))
    sys.exit(_exit(comparison.result))


def _this_host(state: Path, cpu_map: CPUMap) -> FoundCPU:
    snapshot = host_snapshot(state)
    is_power = snapshot.arch in PPC64
    if is_power and cpu_map.part(driver_for(snapshot.arch)).pvr is PVRMatch.EXACT:
        snapshot = with_revision(snapshot, read_revision(cpu_map))
    if snapshot.host_cpu is None:
        raise UnknownHost("libvirt could not name this host's CPU")
    return FoundCPU(cpu=snapshot.host_cpu, arch=snapshot.arch, place="this host")


def _sentence(comparison: Comparison, name: str, arch: Arch) -> str:
    described = f"CPU described in {name}"
    match comparison.result:
        case CompareResult.IDENTICAL:
            return f"{described} is identical to host CPU"
        case CompareResult.SUPERSET:
            return f"Host CPU is a superset of {described}"
        case CompareResult.UNCHECKED if arch in PPC64:
            return f"{described} is of the host CPU's family, the host's own PVR is not known"
        case CompareResult.UNCHECKED:
            return f"{described} is not compared on this architecture, QEMU decides at start"
        case CompareResult.INCOMPATIBLE:
            subjects = ", ".join(comparison.subjects)
            return f"{described} is incompatible with host CPU\n{comparison.difference}: {subjects}"
        case _:
            assert_never(comparison.result)


def _exit(result: CompareResult) -> Exit:
    match result:
        case CompareResult.INCOMPATIBLE:
            return Exit.INCOMPATIBLE
        case CompareResult.UNCHECKED:
            return Exit.CANNOT_TELL
        case _:
            return Exit.COMPATIBLE
