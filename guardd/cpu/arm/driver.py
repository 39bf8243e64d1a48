"""The CPU driver for Arm: QEMU decides, but for what two hosts are called."""

from guardd.cpu.arm.compare import baseline, compare, update, validate_features
from guardd.cpu.arm.map import ArmMap, load
from guardd.cpu.driver import Driver

DRIVER: Driver[ArmMap, None] = Driver(
    name="arm",
    load=load,
    compare=compare,
    baseline=baseline,
    update=update,
    validate_features=validate_features,
)
