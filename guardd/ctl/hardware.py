"""What the processors say of themselves, as text and as JSON."""

from __future__ import annotations

from typing import Any

from guardd import cpu
from guardd.cpu.xml import format_cpu
from guardd.probe.hardware import CoreKind, Hardware


def hardware_lines(hardware: Hardware) -> list[str]:
    """Say in a line each what is known."""
    model = hardware.cpu.model if hardware.cpu else "unknown"
    vendor = (hardware.cpu and hardware.cpu.vendor) or "unknown"
    facts = {
        "Arch": hardware.arch,
        "CPU": f"{model}, vendor {vendor}",
        "Revision": hardware.revision,
        "Runs as": hardware.compat,
        "PVR": _pvr(hardware),
        "Microcode": None if hardware.microcode is None else f"0x{hardware.microcode:x}",
        "Address": None if hardware.phys_bits is None else f"{hardware.phys_bits} physical bits",
        "TSC": _tsc(hardware),
        "Read from": hardware.source,
    }
    lines = [f"{name + ':':<11}{fact}" for name, fact in facts.items() if fact is not None]
    return [*lines, *(f"{'Cores:':<11}{_cores(kind)}" for kind in hardware.cores)]


def _pvr(hardware: Hardware) -> str | None:
    return f"0x{hardware.data:08x}" if isinstance(hardware.data, int) else None


def _tsc(hardware: Hardware) -> str | None:
    if hardware.tsc is None:
        return None
    scaling = {True: ", a guest's is scaled", False: ", a guest's is not scaled", None: ""}
    return f"{hardware.tsc.frequency} Hz{scaling[hardware.tsc.scaling]}"


def _cores(kind: CoreKind) -> str:
    words = f"{len(kind.cpus)} of kind {kind.name}" if kind.name else f"{len(kind.cpus)}"
    more = f", they alone have {', '.join(kind.features)}" if kind.features else ""
    return f"{words} (CPU {', '.join(map(str, kind.cpus))}){more}"


def hardware_to_dict(hardware: Hardware) -> dict[str, Any]:
    """Give *hardware* for JSON; `cpudata` is what decode takes."""
    data, tsc, definition = hardware.data, hardware.tsc, hardware.cpu
    cpudata = _pvr(hardware)
    if data is not None and cpudata is None:
        cpudata = cpu.format_cpu_data(hardware.arch, data)
    return {
        "arch": hardware.arch,
        "model": definition and definition.model,
        "vendor": definition and definition.vendor,
        "xml": definition and format_cpu(definition),
        "source": hardware.source,
        "cpudata": cpudata,
        "revision": hardware.revision,
        "compat": hardware.compat,
        "microcode": hardware.microcode,
        "phys_bits": hardware.phys_bits,
        "tsc": tsc and {"frequency": tsc.frequency, "scaling": tsc.scaling},
        "cores": [
            {"cpus": kind.cpus, "name": kind.name, "features": kind.features}
            for kind in hardware.cores
        ],
        "notes": hardware.notes,
    }
