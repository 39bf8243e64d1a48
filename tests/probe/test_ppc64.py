"""PowerPC hosts from recordings, and from files that contradict each other."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef, CPUType
from guardd.errors import UnreadableHardware
from guardd.probe import mfpvr
from guardd.probe.hardware import Hardware, read_hardware
from guardd.probe.ppc64 import ReadPVR, read_host
from guardd.probe.reading import CoreKind, Source
from tests.cpu.maps import EXACT, MAP

DATA = Path(__file__).parent.parent / "data/powerpc"

PARTITION = "this host is a partition or a guest itself (platform pSeries)"


def tree(root: Path, cpuinfo: str, versions: Mapping[str, str] | None = None) -> Path:
    """Write the files of a PowerPC host, its device tree's numbers given in hexadecimal."""
    (root / "proc").mkdir(parents=True)
    (root / "proc/cpuinfo").write_text(cpuinfo)
    for name, value in (versions or {}).items():
        node = root / "proc/device-tree/cpus" / name
        node.mkdir(parents=True)
        (node / "cpu-version").write_bytes(bytes.fromhex(value))
    return root


def recording(name: str) -> Any:  # noqa: ANN401 (JSON)
    """Read one of the recorded hosts."""
    return json.loads((DATA / f"{name}.json").read_text())


def read(root: Path, read_pvr: ReadPVR | None = None, known: CPUMap = MAP) -> Hardware:
    """Read the host below *root*."""
    return read_host(known, Arch.PPC64LE, root, read_pvr)


@pytest.mark.parametrize(
    ("name", "model", "revision", "compat"),
    [
        ("powernv8", "POWER8", "POWER8_v2.0", None),
        ("powernv8-power8e", "POWER8", "POWER8E_v2.1", None),
        ("powernv9", "POWER9", "POWER9_v2.0", None),
        ("powernv10", "POWER10", "POWER10_v2.0", None),
        ("pseries-power8", "POWER8", "POWER8_v2.0", None),
        ("pseries-power8nvl", "POWER8", "POWER8NVL_v1.0", None),
        ("pseries-power8-compat-power7", "POWER8", "POWER8_v2.0", "power7"),
        ("pseries-power9", "POWER9", "POWER9_v2.0", None),
        ("pseries-power9_v1.0", "POWER9", "POWER9_v1.0", None),
        ("pseries-power9-compat-power8", "POWER9", "POWER9_v2.0", "power8"),
        ("pseries-power10", "POWER10", "POWER10_v2.0", None),
        ("pseries-power10-compat-power8", "POWER10", "POWER10_v2.0", "power8"),
    ],
)
def test_recorded(tmp_path: Path, name: str, model: str, revision: str, compat: str | None) -> None:
    """The real processor by the revision line, and an older mode only where it is older."""
    recorded = recording(name)
    root = tree(tmp_path, recorded["cpuinfo"], recorded["cpu-version"])
    hardware = read(root)

    assert int(recorded["mfpvr"], 16) == hardware.data
    assert (Source.CPUINFO, revision, compat) == (
        hardware.source,
        hardware.revision,
        hardware.compat,
    )
    assert CPUDef(type=CPUType.HOST, arch=Arch.PPC64LE, model=model, vendor="IBM") == hardware.cpu
    assert (name.startswith("pseries")) == (PARTITION in hardware.notes)


def test_recorded_without_device_tree(tmp_path: Path) -> None:
    """Then the cpu line tells the mode, though never the processor."""
    recorded = recording("pseries-power9-compat-power8")
    hardware = read(tree(tmp_path, recorded["cpuinfo"]))

    assert ("POWER9", "power8") == (hardware.cpu and hardware.cpu.model, hardware.compat)


def test_exact_map(tmp_path: Path) -> None:
    """With exact PVRs the host's CPU is its revision."""
    recorded = recording("powernv9")
    hardware = read(tree(tmp_path, recorded["cpuinfo"]), known=EXACT)

    assert "POWER9_v2.0" == (hardware.cpu and hardware.cpu.model)


def test_register_counts(tmp_path: Path) -> None:
    """What the instruction says stands above what the kernel shows, and a difference is told."""
    hardware = read(tree(tmp_path, recording("powernv9")["cpuinfo"]), lambda: 0x004D0200)

    assert (Source.MFPVR, 0x004D0200) == (hardware.source, hardware.data)
    assert "POWER8" == (hardware.cpu and hardware.cpu.model)
    assert ("/proc/cpuinfo does not show the PVR 0x004d0200 that was read",) == hardware.notes


def test_register_that_is_forbidden(tmp_path: Path) -> None:
    """Memory that must not be executed: the kernel's line serves, and it is said why."""

    def forbidden() -> int:
        raise UnreadableHardware("cannot read the PVR: Permission denied")

    hardware = read(tree(tmp_path, recording("powernv9")["cpuinfo"]), forbidden)

    assert (Source.CPUINFO, 0x004E1200) == (hardware.source, hardware.data)
    assert ("cannot read the PVR: Permission denied",) == hardware.notes


def test_another_machine_s_cpuinfo(tmp_path: Path) -> None:
    """qemu-user shows the PVR it emulates and the /proc/cpuinfo of the x86 machine below."""
    cpuinfo = "processor : 0\nvendor_id : AuthenticAMD\nmodel name : AMD EPYC\n"
    with_register = read(tree(tmp_path / "a", cpuinfo), lambda: 0x004E1200)
    without = read(tree(tmp_path / "b", cpuinfo))

    assert "POWER9" == (with_register.cpu and with_register.cpu.model)
    assert (None, None) == (without.cpu, without.source)
    assert ("/proc/cpuinfo shows no PVR of a PowerPC processor",) == without.notes


def test_logical_pvr_is_no_model(tmp_path: Path) -> None:
    """A logical PVR names a mode; the map does not have it, and nothing is guessed."""
    root = tree(tmp_path, "processor : 0\nrevision : 0.4 (pvr 0f00 0004)\n")
    hardware = read(root)

    assert (None, None, 0x0F000004) == (hardware.cpu, hardware.revision, hardware.data)
    assert ("Cannot find CPU model with PVR 0x0f000004",) == hardware.notes


def test_newer_than_the_map(tmp_path: Path) -> None:
    """POWER11 is in no map of libvirt's yet: no CPU, but its revision by the project's list."""
    hardware = read(tree(tmp_path, "processor : 0\nrevision : 1.2 (pvr 0082 0102)\n"))

    assert (None, "POWER11_v1.2") == (hardware.cpu, hardware.revision)
    assert ("Cannot find CPU model with PVR 0x00820102",) == hardware.notes


def test_cores_that_differ(tmp_path: Path) -> None:
    """Two PVRs in one machine are two kinds of cores."""
    lines = "processor : {}\nrevision : 2.{} (pvr 004e 120{})\n\n"
    cpuinfo = "".join(lines.format(n, n % 2, n % 2) for n in range(4))
    hardware = read(tree(tmp_path, cpuinfo))

    assert (
        CoreKind(cpus=(0, 2), name="PVR 0x004e1200"),
        CoreKind(cpus=(1, 3), name="PVR 0x004e1201"),
    ) == hardware.cores


@pytest.mark.parametrize("version", ["", "0f", "0f00000400", "004e1200"])
def test_no_mode(tmp_path: Path, version: str) -> None:
    """Bare metal, or a device tree that holds something else."""
    root = tree(tmp_path, recording("powernv9")["cpuinfo"], {"PowerPC,POWER9@0": version})

    assert (None, ()) == (read(root).compat, read(root).notes)


def test_unknown_mode(tmp_path: Path) -> None:
    """A mode of the future is told by its number."""
    root = tree(tmp_path, recording("powernv9")["cpuinfo"], {"PowerPC,POWER9@0": "0f0000ff"})

    assert ("the mode with the logical PVR 0x0f0000ff is not known",) == read(root).notes


@pytest.mark.parametrize("cpuinfo", ["", "\0\0\0", "processor : 0\nrevision : (pvr 4e 1200)\n"])
def test_garbage(tmp_path: Path, cpuinfo: str) -> None:
    """No CPU, and a note."""
    hardware = read(tree(tmp_path, cpuinfo))

    assert hardware.cpu is None
    assert ("/proc/cpuinfo shows no PVR of a PowerPC processor",) == hardware.notes


def test_root_elsewhere_is_not_asked_for_its_register(tmp_path: Path) -> None:
    """The instruction would tell of this machine; `read_hardware` knows."""
    tree(tmp_path, recording("powernv10")["cpuinfo"])
    hardware = read_hardware(MAP, tmp_path, machine="ppc64le")

    assert (Source.CPUINFO, "POWER10_v2.0") == (hardware.source, hardware.revision)
    assert () == hardware.notes


def test_instruction_elsewhere() -> None:
    """On another architecture it would be another instruction."""
    if os.uname().machine == "ppc64le":
        pytest.skip("this is a PowerPC machine")
    with pytest.raises(UnreadableHardware):
        mfpvr.read_pvr()
