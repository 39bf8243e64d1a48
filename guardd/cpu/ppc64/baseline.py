"""PowerPC CPUs by PVR, for several hosts, for a guest (spec cpu-ppc64, sections 2, 6 and 7)."""

from __future__ import annotations

from collections.abc import Sequence

from guardd.cpu.definition import CPUDef, Fallback, FeaturePolicy, Match, Mode
from guardd.cpu.driver import Limits
from guardd.cpu.ppc64 import PVRMatch
from guardd.cpu.ppc64.map import Model, PPC64Map
from guardd.cpu.ppc64.revision import find_model, model_with
from guardd.errors import IncompatibleCPUs, NoSuitableModel, UnknownVendor, UnsupportedModel


def decode(ppc64: PPC64Map, stub: CPUDef, pvr: int, limits: Limits) -> CPUDef:
    """Give *stub* the model and the vendor of the processor whose version register holds *pvr*.

    Of *limits* only the hypervisor's models count. Raises NoSuitableModel or UnsupportedModel.
    """
    model = model_with(ppc64, pvr)
    if model is None:
        raise NoSuitableModel(f"Cannot find CPU model with PVR 0x{pvr:08x}")
    if limits.models is not None and not {model.name, model.family} & limits.models.keys():
        raise UnsupportedModel(f"CPU model {model.name} is not supported by hypervisor")
    return stub._replace(model=model.name, vendor=model.vendor)


def baseline(ppc64: PPC64Map, cpus: Sequence[CPUDef], _limits: Limits) -> CPUDef:
    """Give the guest CPU that runs on all of *cpus*, which must be of one model.

    With exact PVRs it names the vendor and allows a fallback, as the driver of 2012 did.
    Raises UnknownModel, IncompatibleCPUs or UnknownVendor.
    """
    model = find_model(ppc64, cpus[0].model)
    vendor = None
    for cpu in cpus:
        if cpu.model != model.name:
            raise IncompatibleCPUs("CPUs are incompatible")
        if cpu.vendor is not None:
            vendor = _common_vendor(ppc64, model, vendor, cpu.vendor)
    is_exact = ppc64.pvr is PVRMatch.EXACT
    return CPUDef(
        model=model.name,
        match=Match.EXACT,
        fallback=Fallback.ALLOW if is_exact else Fallback.FORBID,
        vendor=model.vendor if is_exact else vendor,
    )


def _common_vendor(ppc64: PPC64Map, model: Model, vendor: str | None, own: str) -> str | None:
    """Give the vendor to put out: one that was given, and only for a model that has none."""
    if own not in ppc64.vendors:
        raise UnknownVendor(f"Unknown CPU vendor {own}")
    if model.vendor is not None:
        if model.vendor != own:
            raise IncompatibleCPUs(
                f"CPU vendor {model.vendor} of model {model.name} differs from vendor {own}"
            )
        return None
    if vendor not in (None, own):
        raise IncompatibleCPUs("CPU vendors do not match")
    return own


def update(
    _ppc64: PPC64Map, guest: CPUDef, _host: CPUDef | None, _removed: FeaturePolicy
) -> CPUDef:
    """Give *guest* with match exact if its mode is custom; host-model stays what it is."""
    return guest._replace(match=Match.EXACT) if guest.mode is Mode.CUSTOM else guest


def vendor_for_model(ppc64: PPC64Map, name: str) -> str | None:
    """Give the map's vendor of the model called *name*, if it has one and is known."""
    model = ppc64.models.get(name)
    return None if model is None else model.vendor
