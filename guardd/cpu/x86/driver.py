"""The CPU driver for x86: features by CPUID and MSR bits."""

from guardd.cpu.driver import Driver
from guardd.cpu.x86.baseline import baseline
from guardd.cpu.x86.compare import compare
from guardd.cpu.x86.data import CPUData, format_data, parse_data
from guardd.cpu.x86.decode import decode
from guardd.cpu.x86.features import (
    data_has_feature,
    encode,
    expand,
    features,
    has_feature,
    hidden_features,
    non_migratable,
    validate_features,
    vendor_for_model,
)
from guardd.cpu.x86.map import X86Map, asks_qemu, compat_check, load
from guardd.cpu.x86.translate import translate
from guardd.cpu.x86.update import update, update_live

DRIVER: Driver[X86Map, CPUData] = Driver(
    name="x86",
    load=load,
    compare=compare,
    features=features,
    models=lambda x86: tuple(x86.models),
    hidden_features=hidden_features,
    non_migratable=non_migratable,
    asks_qemu=asks_qemu,
    compat_check=compat_check,
    updates_live=True,
    decode=decode,
    encode=encode,
    parse_data=parse_data,
    format_data=format_data,
    baseline=baseline,
    update=update,
    update_live=update_live,
    translate=translate,
    expand=expand,
    has_feature=has_feature,
    data_has_feature=data_has_feature,
    validate_features=validate_features,
    vendor_for_model=vendor_for_model,
)
