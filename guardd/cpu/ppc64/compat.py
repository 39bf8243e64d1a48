"""Which compatibility modes a PowerPC host really has; libvirt only compares numbers.

A POWER processor offers the modes of its own generation and of the two before it: POWER8 offers
power6 to power8, Power10 power8 to power10 (IBM, "Processor compatibility mode definitions";
Power E1080 Redbook, 2.1.5). libvirt takes power6 on POWER10 (spec cpu-ppc64, section 5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from guardd.cpu.definition import CPUDef, Mode
from guardd.cpu.driver import CompareResult, Comparison, Difference
from guardd.errors import IncompatibleCPUs, InvalidCPU, NoModel, UnknownCompat

GENERATIONS = range(6, 12)
_GENERATIONS_BACK = 2

# POWER8, and the names that tell chip or revision: POWER7+_v2.1, POWER8NVL_v1.0
_HOST = r"POWER([1-9][0-9]?)(?:(?:\+|E|NVL)?_v.+)?"
_MODE = r"power([1-9][0-9]?)"

# what C's strtol takes for a decimal number: blanks and a sign may stand before it
_STRTOL = r"[ \t\n\v\f\r]*([+-]?)0*([0-9]{1,10})"
_LIBVIRTS = range(6, 11)  # generations that it compares


def compat_modes(host: CPUDef) -> tuple[str, ...]:
    """Name the compatibility modes that *host* offers, oldest first; none where it is no POWER.

    Raises NoModel.
    """
    if host.model is None:
        raise NoModel("no CPU model specified")
    found = re.fullmatch(_HOST, host.model)
    if found is None or int(found[1]) not in GENERATIONS:
        return ()
    newest = int(found[1])
    oldest = max(newest - _GENERATIONS_BACK, GENERATIONS[0])
    return tuple(f"power{generation}" for generation in range(oldest, newest + 1))


def check_compat(host: CPUDef, mode: str) -> Comparison:
    """Say whether *host* offers compatibility *mode*, which libvirt's compare does not.

    Raises NoModel, or UnknownCompat if no host offers it.
    """
    found = re.fullmatch(_MODE, mode)
    if found is None or int(found[1]) not in GENERATIONS:
        raise UnknownCompat(f"Unknown compatibility mode {mode}")
    if mode not in compat_modes(host):
        return Comparison.incompatible(Difference.COMPAT, mode)
    return Comparison(CompareResult.IDENTICAL)


def baseline_compat(hosts: Sequence[CPUDef]) -> CPUDef:
    """Give the host-model guest CPU in the newest compatibility mode that all *hosts* offer.

    Where libvirt's baseline sees only incompatible models. Raises InvalidCPU, NoModel or
    IncompatibleCPUs.
    """
    if not hosts:
        raise InvalidCPU("no CPUs given")
    offered = [compat_modes(host) for host in hosts]
    common = [mode for mode in offered[0] if all(mode in modes for modes in offered)]
    if not common:
        models = ", ".join(dict.fromkeys(str(host.model) for host in hosts))
        raise IncompatibleCPUs(f"no compatibility mode serves all of {models}")
    return CPUDef(mode=Mode.HOST_MODEL, model=common[-1])


def generation(name: str, prefix: str) -> int | None:
    """Read the generation off a model's ("POWER") or a mode's ("power") name, if libvirt does."""
    found = re.fullmatch(_STRTOL, name.removeprefix(prefix))
    if not name.startswith(prefix) or found is None:
        return None
    number = int(found[1] + found[2])
    return number if number in _LIBVIRTS else None
