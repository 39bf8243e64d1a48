"""Another model for a guest whose own the hypervisor lacks (spec cpu-x86, section 6.5)."""

from __future__ import annotations

from types import MappingProxyType

from guardd.cpu.definition import CPUDef, Signature
from guardd.cpu.driver import HypervisorModels, Limits
from guardd.cpu.x86.compare import all_bits
from guardd.cpu.x86.data import SIGNATURE, encode_signature
from guardd.cpu.x86.decode import decode_bits
from guardd.cpu.x86.map import Model, X86Map
from guardd.errors import NoModel


def translate(x86: X86Map, cpu: CPUDef, models: HypervisorModels) -> CPUDef:
    """Give *cpu* with the one of *models* that is nearest, and features that make up for it.

    Raises NoModel, UnknownModel, UnknownFeature or NoSuitableModel.
    """
    if cpu.model is None:
        raise NoModel("no CPU model specified")
    model = x86.model(cpu.model)
    bits = all_bits(x86, cpu) | _signature(model) << x86.positions[SIGNATURE]
    if model.vendor is not None:
        bits |= x86.vendors[model.vendor].bits
    stub = cpu._replace(model=None, features={})
    nearest = decode_bits(x86, stub, bits, Limits(models=models))
    return cpu._replace(
        model=nearest.model,
        features=MappingProxyType({**nearest.features, **cpu.features}),
    )


def _signature(model: Model) -> int:
    if not model.signatures:
        return 0
    first = model.signatures[0]
    stepping = min(first.steppings, default=0)
    return encode_signature(Signature(family=first.family, model=first.model, stepping=stepping))
