"""The CPU driver for PowerPC: models by PVR, no features."""

from guardd.cpu.driver import Driver
from guardd.cpu.ppc64.baseline import baseline, decode, update, vendor_for_model
from guardd.cpu.ppc64.compare import ARCHS, compare, convert_legacy, generation
from guardd.cpu.ppc64.map import PPC64Map, PVRMatch, load

__all__ = ["DRIVER", "PVRMatch", "generation"]

DRIVER: Driver[PPC64Map, int] = Driver(
    name="ppc64",
    archs=ARCHS,
    load=load,
    compare=compare,
    models=lambda ppc64: tuple(ppc64.models),
    convert_legacy=convert_legacy,
    decode=decode,
    baseline=baseline,
    update=update,
    vendor_for_model=vendor_for_model,
)
