"""The CPU of an aarch64 host as libvirt makes it from registers (spec cpu-other-arches, arm)."""

from __future__ import annotations

from types import MappingProxyType

from guardd.cpu.arm.map import ArmMap
from guardd.cpu.arm.midr import MIDR
from guardd.cpu.definition import Arch, CPUDef, CPUType
from guardd.cpu.driver import HypervisorModels
from guardd.errors import NoSuitableModel, UnknownVendor, UnsupportedModel

# the bits of AT_HWCAP in Linux, from bit 0 (arch/arm64/include/uapi/asm/hwcap.h)
_HWCAP_NAMES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma"
    " lrcpc dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg"
)
HWCAPS = tuple(_HWCAP_NAMES.split())


def get_host(arm: ArmMap, midr: MIDR, hwcap: int, models: HypervisorModels | None = None) -> CPUDef:
    """Give the host's CPU as libvirt does from MIDR_EL1 and AT_HWCAP (32 bits of it).

    Raises NoSuitableModel, UnsupportedModel or UnknownVendor.
    """
    model = next((each for each in arm.models.values() if each.part == midr.part), None)
    if model is None:
        raise NoSuitableModel(
            f"Cannot find CPU model with PVR 0x{midr.part:03x}, vendor id 0x{midr.implementer:02x}"
        )
    if models is not None and model.name not in models:
        raise UnsupportedModel(f"CPU model {model.name} is not supported by hypervisor")
    vendor = next((name for name, code in arm.vendors.items() if code == midr.implementer), None)
    if vendor is None and midr.implementer:
        raise UnknownVendor(f"Cannot find CPU vendor with vendor id 0x{midr.implementer:02x}")
    features = {name: None for bit, name in enumerate(HWCAPS) if hwcap >> bit & 1}
    return CPUDef(
        type=CPUType.HOST,
        arch=Arch.AARCH64,
        model=model.name,
        vendor=vendor,
        features=MappingProxyType(features),
    )
