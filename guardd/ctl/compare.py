"""cpu-guardctl compare: virsh cpu-compare, with reasons and without libvirtd."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import assert_never

import click

from guardd import cpu
from guardd.cpu.definition import Arch
from guardd.cpu.driver import CompareResult, Comparison
from guardd.ctl.common import Exit, json_option, print_json, shown_errors
from guardd.ctl.known import host_snapshot
from guardd.errors import InvalidCPU
from guardd.facts.cpus import FoundCPU, parse_cpus
from guardd.probe.cpu_map import read_cpu_map

_READABLE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.command()
@click.argument("file", type=_READABLE)
@click.option("--host", "host_file", type=_READABLE, help="Compare with the CPU in this file.")
@json_option
@shown_errors
def compare(file: Path, host_file: Path | None, *, as_json: bool) -> None:
    """Compare the CPU in FILE with this host's, or with the one given by --host.

    Both files may hold a cpu, domain, capabilities or domainCapabilities document, as for virsh
    cpu-compare. Superset means that the host has more than the CPU asks for.

    Exit status: 0 identical or superset, 1 incompatible, 3 it cannot be told.
    """
    host, arch = _host(host_file)
    asked = _first(file).cpu
    comparison = cpu.compare(read_cpu_map(), arch, host.cpu, asked)
    if as_json:
        print_json(
            {
                "result": comparison.result,
                "difference": comparison.difference,
                "subjects": comparison.subjects,
            }
        )
    else:
        click.echo(_sentence(comparison, file))
    sys.exit(_exit(comparison.result))


def _host(host_file: Path | None) -> tuple[FoundCPU, Arch]:
    snapshot = None if host_file else host_snapshot()
    if host_file is not None:
        found = _first(host_file)
        return found, found.arch or _own_arch()
    if snapshot is None or snapshot.host_cpu is None:
        raise InvalidCPU("libvirt could not name this host's CPU")
    return FoundCPU(cpu=snapshot.host_cpu, arch=snapshot.arch), snapshot.arch


def _own_arch() -> Arch:
    return host_snapshot().arch


def _first(path: Path) -> FoundCPU:
    data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    return parse_cpus(data.decode("utf-8", "surrogateescape"))[0]


def _sentence(comparison: Comparison, file: Path) -> str:
    described = f"CPU described in {file}"
    match comparison.result:
        case CompareResult.IDENTICAL:
            return f"{described} is identical to host CPU"
        case CompareResult.SUPERSET:
            return f"The CPU provided by host is a superset of {described}"
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
