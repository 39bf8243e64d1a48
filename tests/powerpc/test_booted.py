"""The probe on real kernels of emulated PowerPC hosts; each boots a machine."""

from __future__ import annotations

from typing import Any

import pytest

from tests.powerpc import image, machine
from tests.powerpc.image import Image, ImageError
from tests.powerpc.machine import Machine

pytestmark = pytest.mark.slow

PARTITION = "this host is a partition or a guest itself (platform pSeries)"
IN_POWER8_MODE = "this host runs in compatibility mode power8, its processor is newer"


@pytest.fixture(scope="module")
def built() -> Image:
    """A kernel and an initramfs, made of Debian's packages at the first run."""
    if (reason := image.obstacle()) is not None:
        pytest.skip(reason)
    try:
        return image.build()
    except ImageError as exc:
        pytest.skip(str(exc))


def report(built: Image, which: Machine) -> dict[str, Any]:
    """Boot *which*, where this QEMU has it."""
    if (reason := machine.obstacle(which)) is not None:
        pytest.skip(reason)
    return machine.boot(built, which)


@pytest.mark.parametrize(
    ("which", "model", "pvrs"),
    [
        # what QEMU 7.2 has, and what QEMU 10 has
        ("powernv8", "POWER8", {"0x004d0200"}),
        ("powernv9", "POWER9", {"0x004e1200", "0x004e1202"}),
        ("powernv10", "POWER10", {"0x00800200", "0x00801200"}),
    ],
)
def test_bare_metal(built: Image, which: str, model: str, pvrs: set[str]) -> None:
    """A KVM host: the register by its instruction, family and revision, no mode, no complaint."""
    said = report(built, Machine(which))
    revision = said["hardware"]["revision"]
    expected: dict[str, object] = {
        "arch": "ppc64le",
        "model": model,
        "vendor": "IBM",
        "source": "mfpvr",
        "pvr": said["mfpvr"],
        "revision": revision,
        "compat": None,
        "cores": 0,
        "notes": [],
    }

    assert said["mfpvr"] in pvrs
    assert revision.startswith(f"{model}_v2.")
    assert expected == said["hardware"]
    assert {**expected, "model": revision} == said["exact"]
    assert {**expected, "source": "cpuinfo"} == said["by cpuinfo alone"]


def test_partition_in_an_older_mode(built: Image) -> None:
    """The kernel calls a POWER9 in POWER8 mode "POWER8"; the probe says both."""
    said = report(built, Machine("pseries,max-cpu-compat=power8", "power9"))
    hardware = said["hardware"]

    assert "POWER8 (architected)" in said["cpuinfo"]
    assert ["0f000004"] == list(said["cpu-version"].values())
    assert ("POWER9", said["mfpvr"], "mfpvr") == tuple(
        hardware[key] for key in ("model", "pvr", "source")
    )
    assert said["mfpvr"].startswith("0x004e")
    assert "power8" == hardware["compat"]
    assert [PARTITION, IN_POWER8_MODE] == hardware["notes"]
    assert "power8" == said["by cpuinfo alone"]["compat"]
