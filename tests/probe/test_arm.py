"""aarch64 hosts from trees that are made up here."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from guardd.cpu.arm.midr import MIDR
from guardd.cpu.definition import Arch, CPUDef, CPUType
from guardd.probe.arm import read_host
from guardd.probe.hardware import Hardware
from guardd.probe.reading import CoreKind, Source
from tests.cpu.maps import MAP

N1 = 0x413FD0C1
A72 = 0x410FD083
CPUID, SVE = 1 << 11, 1 << 22


def tree(root: Path, cores: Mapping[int, str], *, hwcap: int = CPUID | 3, hwcap2: int = 0) -> Path:
    """Write what the kernel shows of *cores*, by number the text of midr_el1."""
    cpus = root / "sys/devices/system/cpu"
    for number, text in cores.items():
        folder = cpus / f"cpu{number}/regs/identification"
        folder.mkdir(parents=True)
        (folder / "midr_el1").write_text(text)
    cpus.mkdir(parents=True, exist_ok=True)
    (cpus / "online").write_text(",".join(map(str, sorted(cores))) + "\n")
    (root / "proc/self").mkdir(parents=True)
    pairs = (6, 65536, 16, hwcap, 26, hwcap2, 0, 0)
    (root / "proc/self/auxv").write_bytes(struct.pack("<8Q", *pairs))
    return root


def shown(midr: int) -> str:
    """Give *midr* as sysfs does."""
    return f"0x{midr:016x}\n"


def read(root: Path) -> Hardware:
    """Read the host below *root*."""
    return read_host(MAP, Arch.AARCH64, root)


def test_host(tmp_path: Path) -> None:
    """Model, vendor and features as libvirt's capabilities have them."""
    hardware = read(tree(tmp_path, {0: shown(N1), 1: shown(N1)}))

    assert (Source.MIDR, (), ()) == (hardware.source, hardware.cores, hardware.notes)
    assert (
        CPUDef(
            type=CPUType.HOST,
            arch=Arch.AARCH64,
            model="Neoverse-N1",
            vendor="ARM",
            features=dict.fromkeys(["fp", "asimd", "cpuid"]),
        )
        == hardware.cpu
    )


def test_what_another_host_is_compared_by(tmp_path: Path) -> None:
    """Both vectors of capabilities by name, those of the future by number, and the page size."""
    root = tree(tmp_path, {0: shown(N1)}, hwcap=CPUID | SVE | 1 << 32 | 1 << 62, hwcap2=1 << 63 | 2)
    arm = read(root).arm

    assert arm is not None
    assert {"cpuid", "sve", "gcs", "hwcap-bit62", "sve2", "poe"} == arm.features
    assert (frozenset({MIDR.of(N1)}), 65536, {}) == (arm.cores, arm.page_size, arm.registers)


def test_cores_that_differ(tmp_path: Path) -> None:
    """Of a big.LITTLE host the first core is the CPU, and all kinds are told."""
    hardware = read(tree(tmp_path, {0: shown(A72), 4: shown(N1), 1: shown(A72)}))

    assert "cortex-a72" == (hardware.cpu and hardware.cpu.model)
    assert (
        CoreKind(cpus=(0, 1), name="implementer 0x41 part 0xd08 variant 0 revision 3"),
        CoreKind(cpus=(4,), name="implementer 0x41 part 0xd0c variant 3 revision 1"),
    ) == hardware.cores
    assert hardware.arm is not None
    assert {MIDR.of(A72), MIDR.of(N1)} == hardware.arm.cores


@pytest.mark.parametrize(
    ("midr", "note"),
    [
        (0x410FFFF0, "Cannot find CPU model with PVR 0xfff, vendor id 0x41"),
        (0x7F0FD0C0, "Cannot find CPU vendor with vendor id 0x7f"),
    ],
)
def test_unknown_processor(tmp_path: Path, midr: int, note: str) -> None:
    """libvirt's words; what another host is compared by is there all the same."""
    hardware = read(tree(tmp_path, {0: shown(midr)}))

    assert (None, (note,)) == (hardware.cpu, hardware.notes)
    assert hardware.arm is not None


def test_no_id_registers(tmp_path: Path) -> None:
    """A kernel that does not show them to user space: libvirt names no model either."""
    hardware = read(tree(tmp_path, {0: shown(N1)}, hwcap=3))

    assert (None, ("CPUID registers unavailable",)) == (hardware.cpu, hardware.notes)


@pytest.mark.parametrize("text", ["", "\n", "zzz", "-1", "0x1000000000", "\0"])
def test_garbage(tmp_path: Path, text: str) -> None:
    """What is no MIDR leaves its core out; with none left there is no CPU."""
    some = read(tree(tmp_path / "some", {0: text, 1: shown(N1)}))
    none = read(tree(tmp_path / "none", {0: text}))

    assert "Neoverse-N1" == (some.cpu and some.cpu.model)
    assert some.notes[0].startswith("not every core could be read: ")
    assert (None, None) == (none.cpu, none.source)
    assert "which is no MIDR_EL1" in none.notes[0]


def test_empty_tree(tmp_path: Path) -> None:
    """Nothing to read: no CPU, and a note that says which file."""
    [note] = read(tmp_path).notes

    assert f"cannot read {tmp_path}/sys/devices/system/cpu/online: No such file" in note
