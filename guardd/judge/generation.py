"""PowerPC has no features to compare: which generation of processors a guest is of."""

from __future__ import annotations

from guardd import cpu
from guardd.cpu.definition import CPUDef, Mode
from guardd.cpu.ppc64.compat import compat_modes, generation
from guardd.judge.case import Case
from guardd.judge.reference import KVM


def guest_generation(case: Case) -> tuple[str, int | None]:
    """Name the processor or the compatibility mode that the guest gets, and its generation.

    None where that is not known.
    """
    asked, host = case.asked, case.snapshot.host_cpu
    if asked.model is not None and asked.mode is Mode.HOST_MODEL:
        return asked.model, mode_generation(asked.model)
    if asked.model is not None and asked.mode is Mode.CUSTOM:
        name = cpu.convert_legacy(case.guest.arch, asked).model or asked.model
        return name, model_generation(name)
    if case.guest.virt_type == KVM and host is not None and host.model is not None:
        return host.model, model_generation(host.model)
    return str(asked.mode), None


def mode_generation(compat: str) -> int | None:
    """Read the generation off a compatibility mode's name, as power9."""
    return generation(compat, "power")


def model_generation(model: str) -> int | None:
    """Read the generation off a model's name, be it of a family or of one revision."""
    modes = compat_modes(CPUDef(model=model))
    return generation(modes[-1], "power") if modes else None
