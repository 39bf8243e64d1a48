"""The CPU driver for x86: features by CPUID and MSR bits."""

from guardd.cpu.driver import Driver
from guardd.cpu.x86 import compare
from guardd.cpu.x86.map import X86Map, asks_qemu, compat_check, load

DRIVER: Driver[X86Map] = Driver(
    name="x86",
    archs=compare.ARCHS,
    load=load,
    compare=compare.compare,
    features=compare.features,
    models=lambda x86: tuple(x86.models),
    non_migratable=lambda x86: frozenset(
        feature.name for feature in x86.features.values() if not feature.migratable
    ),
    asks_qemu=asks_qemu,
    compat_check=compat_check,
    updates_live=True,
)
