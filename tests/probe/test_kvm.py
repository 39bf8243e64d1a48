"""What is asked of KVM, and what it may answer; a function plays the kernel."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from guardd.cpu.definition import TSC
from guardd.cpu.x86.data import Register
from guardd.errors import UnreadableHardware
from guardd.probe.kvm import KVM, open_kvm

API_VERSION, CHECK_EXTENSION = 0xAE00, 0xAE03
CREATE_VM, CREATE_VCPU, TSC_KHZ = 0xAE01, 0xAE41, 0xAEA3
CPUID, MSRS = 0xC008AE05, 0xC008AE88

Answer = int | OSError | Callable[[bytearray], int]


def kernel(**answers: Answer) -> Callable[[int, int, bytearray | int], int]:
    """Give an ioctl that answers by name, and says EINVAL to the rest."""
    requests = {
        CHECK_EXTENSION: "extension",
        CREATE_VM: "vm",
        CREATE_VCPU: "vcpu",
        TSC_KHZ: "khz",
        CPUID: "cpuid",
        MSRS: "msrs",
        API_VERSION: "version",
    }
    known = {"version": 12, **answers}

    def ioctl(_descriptor: int, request: int, argument: bytearray | int) -> int:
        answer = known.get(requests[request], OSError(errno.EINVAL, "Invalid argument"))
        if isinstance(answer, OSError):
            raise answer
        if isinstance(answer, int):
            return answer
        assert isinstance(argument, bytearray)
        return answer(argument)

    return ioctl


def entries(buffer: bytearray, *leaves: tuple[int, ...]) -> int:
    """Fill in leaves as the kernel does: function, index, flags, EAX, EBX, ECX, EDX."""
    struct.pack_into("=I", buffer, 0, len(leaves))
    for number, leaf in enumerate(leaves):
        struct.pack_into("=10I", buffer, 8 + 40 * number, *leaf, 0, 0, 0)
    return 0


def test_supported_cpuid() -> None:
    """Non-zero registers by leaf and sub-leaf."""

    def cpuid(buffer: bytearray) -> int:
        return entries(buffer, (1, 0, 0, 0xA10F11, 0, 0x80000000, 0), (7, 1, 1, 0x10, 0, 0, 0))

    data = KVM(-1, kernel(cpuid=cpuid)).supported_cpuid()

    assert {
        Register("cpuid", 1, 0, "eax"): 0xA10F11,
        Register("cpuid", 1, 0, "ecx"): 0x80000000,
        Register("cpuid", 7, 1, "eax"): 0x10,
    } == data.registers


def test_a_larger_buffer_is_offered() -> None:
    """E2BIG asks for one, as often as that is credible."""
    sizes = []

    def cpuid(buffer: bytearray) -> int:
        sizes.append(struct.unpack_from("=I", buffer)[0])
        if len(sizes) < 3:
            raise OSError(errno.E2BIG, "Argument list too long")
        return entries(buffer, (0, 0, 0, 1, 0, 0, 0))

    KVM(-1, kernel(cpuid=cpuid)).supported_cpuid()
    endless = KVM(-1, kernel(cpuid=OSError(errno.E2BIG, "Argument list too long")))

    assert [256, 1024, 4096] == sizes
    with pytest.raises(UnreadableHardware, match="more than 4096 leaves"):
        endless.supported_cpuid()


def test_more_entries_than_fit() -> None:
    """A count beyond the buffer is not believed."""

    def cpuid(buffer: bytearray) -> int:
        struct.pack_into("=I", buffer, 0, 0xFFFFFFFF)
        return 0

    with pytest.raises(UnreadableHardware, match="4294967295 leaves of CPUID where 256 fit"):
        KVM(-1, kernel(cpuid=cpuid)).supported_cpuid()


def test_msr() -> None:
    """One index is asked at a time; a count of 0 means that KVM does not know it."""

    def msrs(buffer: bytearray) -> int:
        count, _, index = struct.unpack_from("=III", buffer)
        assert (1, 0x10A) == (count, index)
        struct.pack_into("=Q", buffer, 16, 1 << 40 | 5)
        return 1

    assert 1 << 40 | 5 == KVM(-1, kernel(msrs=msrs)).msr(0x10A)
    assert KVM(-1, kernel(msrs=0)).msr(0x10A) is None


def test_tsc() -> None:
    """kHz of a throw-away CPU, whose descriptors are closed again."""
    before = set(Path("/proc/self/fd").iterdir())

    def some_file() -> int:
        return os.open("/dev/null", os.O_RDONLY)

    ioctl = kernel(vm=some_file(), vcpu=some_file(), khz=2596128, extension=1)

    assert TSC(frequency=2596128000, scaling=True) == KVM(-1, ioctl).tsc()
    assert before == set(Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ({"version": 11}, "KVM's API has version 11, not 12"),
        (
            {"version": OSError(errno.ENOTTY, "Inappropriate ioctl for device")},
            "KVM does not give its API version: Inappropriate ioctl for device",
        ),
        ({"extension": 0}, "KVM does not give a virtual machine: Invalid argument"),
        (
            {"extension": 0, "vm": OSError(errno.ENOMEM, "Cannot allocate memory")},
            "KVM does not give a virtual machine: Cannot allocate memory",
        ),
    ],
)
def test_refusals(answers: dict[str, Answer], complaint: str) -> None:
    """Each says what was asked for."""
    with pytest.raises(UnreadableHardware) as raised:
        KVM(-1, kernel(**answers)).tsc()

    assert complaint == str(raised.value)


@pytest.mark.parametrize("khz", [0, -1])
def test_no_frequency(khz: int) -> None:
    """A counter without a frequency is unknown, not slow."""
    ioctl = kernel(vm=os.open("/dev/null", 0), vcpu=os.open("/dev/null", 0), khz=khz, extension=0)
    with pytest.raises(UnreadableHardware, match=f"{khz} kHz"):
        KVM(-1, ioctl).tsc()


def test_no_kvm(tmp_path: Path) -> None:
    """No device, or a file in its place."""
    with pytest.raises(UnreadableHardware, match="No such file") as raised:
        open_kvm(tmp_path / "kvm").__enter__()
    (tmp_path / "kvm").touch()

    assert "load KVM's module; in the firmware, virtualization may be off" == raised.value.hint
    with pytest.raises(UnreadableHardware, match="does not give its API version"):
        open_kvm(tmp_path / "kvm").__enter__()
