"""cpu-guardctl decode: from CPU data to the CPU that libvirt would call it."""

from __future__ import annotations

import re
from pathlib import Path

import click

from guardd import cpu
from guardd.cpu import CPUMap, Limits
from guardd.cpu.definition import Arch, CPUDef, CPUType, Fallback
from guardd.ctl.common import json_option, pvr_option, shown_errors
from guardd.ctl.cpufile import (
    READABLE,
    models_option,
    name_of,
    placed,
    print_cpu,
    read_models,
    read_text,
)

_PVR = re.compile(r"0x[0-9a-fA-F]{1,8}")


@click.command()
@click.argument("cpudata", metavar="CPUDATA")
@click.option("--guest", is_flag=True, help="Decode as a guest's CPU, not as a host's.")
@models_option
@pvr_option
@json_option
@shown_errors
def decode(
    cpudata: str, models: str | None, cpu_map: CPUMap, *, guest: bool, as_json: bool
) -> None:
    """Decode CPUDATA to a CPU definition.

    CPUDATA is a file ("-": stdin) with a cpudata document as libvirt writes it, of x86 CPUs, or
    the version register of a PowerPC processor, as 0x004e1202.

    Exit status: 0 done, 3 it is no CPU that the CPU map, or the hypervisor, has.
    """
    arch, data, place = _data(cpudata)
    limits = Limits(models=read_models(models, cpu_map, arch))
    stub = CPUDef(fallback=Fallback.FORBID) if guest else CPUDef(type=CPUType.HOST, arch=arch)
    with placed(place):
        result = cpu.decode(cpu_map, arch, stub, data, limits)
    print_cpu(result, as_json=as_json)


def _data(word: str) -> tuple[Arch, object, str]:
    """Give architecture, data and name of what *word* stands for."""
    if _PVR.fullmatch(word) and not Path(word).exists():
        return Arch.PPC64, int(word, 16), ""  # errors name the PVR themselves
    path = READABLE.convert(word, None, None)
    with placed(name_of(path)):
        # no driver but that of x86 has a text for its data
        return Arch.X86_64, cpu.parse_cpu_data(read_text(path)), name_of(path)
