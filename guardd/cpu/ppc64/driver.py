"""The CPU driver for PowerPC: models by PVR, no features."""

from guardd.cpu.driver import Driver
from guardd.cpu.ppc64.baseline import baseline, decode, update, vendor_for_model
from guardd.cpu.ppc64.compare import compare, convert_legacy
from guardd.cpu.ppc64.map import PPC64Map, load

DRIVER: Driver[PPC64Map, int] = Driver(
    name="ppc64",
    load=load,
    compare=compare,
    models=lambda ppc64: tuple(ppc64.models),
    convert_legacy=convert_legacy,
    decode=decode,
    baseline=baseline,
    update=update,
    vendor_for_model=vendor_for_model,
)
