"""PowerPC processors by their exact version, which libvirt no longer tells apart.

libvirt's map knows families, the upper half of the PVR. Its first PowerPC driver, of 2012, knew
three revisions of POWER7 by the whole register, and its names are kept here (spec cpu-ppc64, 4
and 11). Major and minor are read off the lower half as Linux does for /proc/cpuinfo
(arch/powerpc/kernel/setup-common.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardd.cpu.ppc64 import PVRMatch
from guardd.cpu.ppc64.map import PVR, Model, PPC64Map
from guardd.errors import NoModel, UnknownModel

FAMILY_MASK = 0xFFFF0000
ALL_BITS = 0xFFFFFFFF

# names that libvirt in 2012 or QEMU 7.2 (target/ppc/cpu-models.h) gave to one version
REVISIONS = {
    "POWER7": 0x003F0200,
    "POWER7_v2.1": 0x003F0201,
    "POWER7_v2.3": 0x003F0203,
    "POWER7+_v2.1": 0x004A0201,
    "POWER8_v1.0": 0x004B0100,
    "POWER8E_v2.1": 0x004B0201,
    "POWER8NVL_v1.0": 0x004C0100,
    "POWER8_v2.0": 0x004D0200,
    "POWER9_v1.0": 0x004E0100,
    "POWER9_v2.0": 0x004E1200,
    "POWER9_v2.2": 0x004E1202,
    "POWER10_v1.0": 0x00800100,
    "POWER10_v2.0": 0x00800200,
}
_NAMES = {pvr: name for name, pvr in REVISIONS.items()}

# what a chip is called whose libvirt family has several, by the upper half of its PVR
_CHIPS = {0x004A: "POWER7+", 0x004B: "POWER8E", 0x004C: "POWER8NVL"}

# families that libvirt 11.3.0 does not have yet (Linux, arch/powerpc/kernel/cpu_specs_book3s_64.h)
NEW_FAMILIES = {
    "POWER11": Model(
        name="POWER11", family="POWER11", vendor="IBM", pvrs=(PVR(0x00820000, FAMILY_MASK),)
    )
}

# bits 12-15 are no part of the revision there but the type of the chip; what is usual in each
_USUAL_TYPE = {0x004E: 1, 0x0080: 0, 0x0082: 0}
_FREESCALE = 0x8000

_NAME = re.compile(r".+_v([0-9]{1,3})\.([0-9]{1,3})(?:_([0-9a-f]{8}))?")


def find_model(ppc64: PPC64Map, name: str | None) -> Model:
    """Give the model called *name*; raises NoModel or UnknownModel.

    With exact PVRs it is one revision, or a family where only that is named.
    """
    if name is None:
        raise NoModel("no CPU model specified")
    model = ppc64.models.get(name)
    if ppc64.pvr is PVRMatch.EXACT:
        model = _find_revision(ppc64, name) or model or NEW_FAMILIES.get(name)
    if model is None:
        raise UnknownModel(f"Unknown CPU model {name}")
    return model


def model_with(ppc64: PPC64Map, pvr: int) -> Model | None:
    """Give the model of the processor with *pvr*: the first of the map whose family it is of.

    With exact PVRs it is named by its revision, whether `REVISIONS` lists that or not.
    """
    is_exact = ppc64.pvr is PVRMatch.EXACT
    families = _families(ppc64) if is_exact else ppc64.models.values()
    family = next((m for m in families if any(each.includes(pvr) for each in m.pvrs)), None)
    if family is None or not is_exact:
        return family
    name = _revision_name(family.name, pvr)
    return Model(name=name, family=family.name, vendor=family.vendor, pvrs=(PVR(pvr, ALL_BITS),))


def _families(ppc64: PPC64Map) -> Iterator[Model]:
    yield from ppc64.models.values()
    for name, model in NEW_FAMILIES.items():
        if name not in ppc64.models:
            yield model


def _revision_name(family: str, pvr: int) -> str:
    """Name one version; the PVR itself stands in the name where two would be called alike."""
    if pvr in _NAMES:
        return _NAMES[pvr]
    chip, (major, minor) = pvr >> 16, _revision(pvr)
    name = f"{_CHIPS.get(chip, family)}_v{major}.{minor}"
    if name in REVISIONS or _usual_pvr(chip, major, minor) != pvr:
        return f"{name}_{pvr:08x}"
    return name


def _revision(pvr: int) -> tuple[int, int]:
    chip = pvr >> 16
    if chip & _FREESCALE:
        return pvr >> 4 & 0xF, pvr & 0xF
    return pvr >> 8 & (0xF if chip in _USUAL_TYPE else 0xFF), pvr & 0xFF


def _usual_pvr(chip: int, major: int, minor: int) -> int:
    if chip & _FREESCALE:
        return chip << 16 | major << 4 | minor
    return chip << 16 | _USUAL_TYPE.get(chip, 0) << 12 | major << 8 | minor


def _find_revision(ppc64: PPC64Map, name: str) -> Model | None:
    """Give the version called *name*; None: it is the name of no single version."""
    found = _NAME.fullmatch(name)
    if name in REVISIONS:
        candidates = [REVISIONS[name]]
    elif found is None:
        return None
    elif found[3]:
        candidates = [int(found[3], 16)]
    else:
        chips = (each.value >> 16 for family in _families(ppc64) for each in family.pvrs)
        candidates = [_usual_pvr(chip, int(found[1]), int(found[2])) for chip in chips]
    models = (model_with(ppc64, pvr) for pvr in candidates)
    return next((model for model in models if model is not None and model.name == name), None)
