"""The probe on real kernels of emulated PowerPC hosts; each boots a machine."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.powerpc import image, machine
from tests.powerpc.image import Image, ImageError
from tests.powerpc.machine import Machine

pytestmark = pytest.mark.slow

PARTITION = "this host is a partition or a guest itself (platform pSeries)"
IN_POWER8_MODE = "this host runs in compatibility mode power8, its processor is newer"


def cannot(reason: str) -> None:
    """CI is there to run these tests: nothing may keep it from that unnoticed."""
    (pytest.fail if os.environ.get("GUARDD_CI") == "1" else pytest.skip)(reason)


@pytest.fixture(scope="module")
def built() -> Image:
    """A kernel and an initramfs, made of Debian's packages at the first run."""
    if (reason := image.obstacle()) is not None:
        cannot(reason)
    try:
        return image.build()
    except ImageError as exc:
        cannot(str(exc))
        raise


def report(built: Image, which: Machine) -> dict[str, Any]:
    """Boot *which*, where this QEMU has it."""
    if (reason := machine.obstacle(which)) is not None:
        cannot(reason)
    return machine.boot(built, which)


@pytest.mark.parametrize(
    ("which", "pvr", "model", "revision"),
    [
        ("powernv8", "0x004d0200", "POWER8", "POWER8_v2.0"),
        ("powernv9", "0x004e1200", "POWER9", "POWER9_v2.0"),
        ("powernv10", "0x00800200", "POWER10", "POWER10_v2.0"),
    ],
)
def test_bare_metal(built: Image, which: str, pvr: str, model: str, revision: str) -> None:
    """A KVM host: the register by its instruction, family and revision, no mode, no complaint."""
    said = report(built, Machine(which))
    expected: dict[str, object] = {
        "arch": "ppc64le",
        "model": model,
        "vendor": "IBM",
        "source": "mfpvr",
        "pvr": pvr,
        "revision": revision,
        "compat": None,
        "cores": 0,
        "notes": [],
    }

    assert expected == said["hardware"]
    assert {**expected, "model": revision} == said["exact"]
    assert {**expected, "source": "cpuinfo"} == said["by cpuinfo alone"]


def test_partition_in_an_older_mode(built: Image) -> None:
    """The kernel calls a POWER9 in POWER8 mode "POWER8"; the probe says both."""
    said = report(built, Machine("pseries,max-cpu-compat=power8", "power9"))
    hardware = said["hardware"]

    assert "POWER8 (architected)" in said["cpuinfo"]
    assert ["0f000004"] == list(said["cpu-version"].values())
    assert ("POWER9", "0x004e1200", "mfpvr") == tuple(
        hardware[key] for key in ("model", "pvr", "source")
    )
    assert "power8" == hardware["compat"]
    assert [PARTITION, IN_POWER8_MODE] == hardware["notes"]
    assert "power8" == said["by cpuinfo alone"]["compat"]
