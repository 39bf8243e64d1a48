"""The one entry point: which probe a machine gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardd import cpu
from guardd.cpu.definition import Arch
from guardd.errors import BrokenMap, UnreadableHardware, UnsupportedArch
from guardd.probe.hardware import Hardware, read_hardware, read_hypervisor_cpu
from tests.cpu.maps import MAP, reader


@pytest.mark.parametrize("machine", ["x86_64", "i686", "i586", "ppc64", "ppc64le", "aarch64"])
def test_probed(tmp_path: Path, machine: str) -> None:
    """Each has a probe, which says of an empty tree what it lacks."""
    hardware = read_hardware(MAP, tmp_path, machine=machine)

    assert (machine.replace("i5", "i6"), None, None) == (
        hardware.arch,
        hardware.cpu,
        hardware.source,
    )
    assert any(str(tmp_path) in note for note in hardware.notes)


@pytest.mark.parametrize("machine", ["s390x", "riscv64", "loongarch64", "armv7l"])
def test_no_probe(tmp_path: Path, machine: str) -> None:
    """That is said, and is no error."""
    note = f"the CPU of {machine} hosts cannot be read"

    assert Hardware(arch=Arch(machine), notes=(note,)) == read_hardware(
        MAP, tmp_path, machine=machine
    )


def test_unknown_machine(tmp_path: Path) -> None:
    """An architecture that libvirt does not know."""
    with pytest.raises(UnsupportedArch, match="'vax' is no architecture that libvirt knows"):
        read_hardware(MAP, tmp_path, machine="vax")


def test_broken_map() -> None:
    """Nothing can be named without a map; the error is the map's own."""
    with pytest.raises(BrokenMap, match=r"index\.xml"):
        read_hardware(cpu.CPUMap(reader({})), Path("/nonexistent"), machine="x86_64")


def test_hypervisor(tmp_path: Path) -> None:
    """No KVM below *root*; and KVM on PowerPC names no features."""
    with pytest.raises(UnreadableHardware, match="No such file or directory"):
        read_hypervisor_cpu(MAP, tmp_path, machine="x86_64")
    with pytest.raises(UnsupportedArch, match="on ppc64le"):
        read_hypervisor_cpu(MAP, tmp_path, machine="ppc64le")
