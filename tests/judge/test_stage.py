"""Which CPU a hook call shows: what was written, what is in force, or neither."""

import pytest

from guardd.cpu.definition import Arch, Check, CPUDef, Mode
from guardd.facts.domain import Guest
from guardd.judge.finding import CheckRequest, Operation
from guardd.judge.stage import Stage, check_in_effect, stage_of
from tests.judge.table import HASWELL, cpu, domain, judged, mode, told


def guest(arch: Arch = Arch.X86_64, virt_type: str = "kvm") -> Guest:
    return Guest(name="web1", uuid=None, virt_type=virt_type, arch=arch)


@pytest.mark.parametrize(
    ("operation", "arch", "check", "expected"),
    [
        # prepare after a migration or a restore shows check='full'; at a fresh start the rest
        ("prepare", Arch.X86_64, Check.FULL, Stage.IN_FORCE),
        ("prepare", Arch.X86_64, Check.PARTIAL, Stage.WRITTEN),
        ("prepare", Arch.X86_64, Check.NONE, Stage.WRITTEN),
        ("prepare", Arch.X86_64, None, Stage.WRITTEN),
        # migrate and restore show what was written, what the guest has travels beside it
        ("migrate", Arch.X86_64, Check.PARTIAL, Stage.ARRIVING),
        ("migrate", Arch.X86_64, Check.NONE, Stage.ARRIVING),
        ("restore", Arch.X86_64, None, Stage.ARRIVING),
        # under TCG libvirt 9.0.0 expands host-model before it migrates
        ("migrate", Arch.X86_64, Check.FULL, Stage.IN_FORCE),
        ("restore", Arch.X86_64, Check.FULL, Stage.IN_FORCE),
        # libvirt never updates a PowerPC guest's definition
        ("prepare", Arch.PPC64LE, Check.NONE, Stage.WRITTEN),
        ("migrate", Arch.PPC64LE, Check.NONE, Stage.IN_FORCE),
        ("restore", Arch.PPC64LE, None, Stage.IN_FORCE),
    ],
)
def test_stage(operation: str, arch: Arch, check: Check | None, expected: Stage) -> None:
    """Measured on two hosts of libvirt 9.0.0 and two of 11.3.0."""
    asked = CPUDef(model="A", check=check)

    request = CheckRequest(domain="a", operation=Operation(operation), xml="")

    assert expected is stage_of(request, guest(arch), asked)


@pytest.mark.parametrize(
    ("arch", "arrives", "expected"),
    [
        (Arch.X86_64, None, Stage.WRITTEN),
        (Arch.X86_64, False, Stage.WRITTEN),
        # a definition that came by offline migration, and is started now
        (Arch.X86_64, True, Stage.WRITTEN),
        (Arch.PPC64LE, False, Stage.WRITTEN),
        # a restored PowerPC guest is judged at its prepare, and has what was written
        (Arch.PPC64LE, True, Stage.IN_FORCE),
    ],
)
def test_stage_of_an_arrival(arch: Arch, *, arrives: bool | None, expected: Stage) -> None:
    """The prepare that comes after migrate or restore is of the same guest as they were."""
    request = CheckRequest(domain="a", operation=Operation.PREPARE, xml="", arrives=arrives)

    assert expected is stage_of(request, guest(arch), CPUDef(model="A", check=Check.NONE))


@pytest.mark.parametrize(
    ("cpu_mode", "virt_type", "check", "expected"),
    [
        (Mode.CUSTOM, "kvm", None, Check.PARTIAL),
        (Mode.CUSTOM, "qemu", None, Check.NONE),
        (Mode.HOST_MODEL, "kvm", None, Check.PARTIAL),
        (Mode.HOST_MODEL, "qemu", None, Check.PARTIAL),
        (Mode.HOST_PASSTHROUGH, "kvm", None, Check.NONE),
        (Mode.MAXIMUM, "qemu", None, Check.NONE),
        (Mode.CUSTOM, "qemu", Check.PARTIAL, Check.PARTIAL),
        (Mode.HOST_PASSTHROUGH, "kvm", Check.FULL, Check.FULL),
    ],
)
def test_check_in_effect(
    cpu_mode: Mode, virt_type: str, check: Check | None, expected: Check
) -> None:
    """libvirt's defaults for a definition that does not say."""
    asked = CPUDef(mode=cpu_mode, check=check)

    assert expected is check_in_effect(guest(virt_type=virt_type), asked)


@pytest.mark.parametrize("operation", ["migrate", "restore"])
@pytest.mark.parametrize(
    "asked",
    [
        cpu("Skylake-Server"),
        cpu("Skylake-Server", attributes="check='none'"),
        cpu("Nehalem", "forbid avx2"),
        mode("host-model", "require avx512f"),
    ],
)
def test_an_arriving_guest_as_written_is_not_refused(asked: str, operation: str) -> None:
    """It may well run without what was written: `prepare` shows what it has, and is asked next."""
    assert "allow" == told(judged(HASWELL, domain(asked), operation=operation))


@pytest.mark.parametrize("operation", ["migrate", "restore"])
def test_an_arriving_guest_that_cannot_run_is_refused_at_once(operation: str) -> None:
    """A model that QEMU has not is no matter of what is in force."""
    asked = cpu("Haswell-v2", fallback="forbid")

    assert "deny: unsupported-model Haswell-v2" == told(
        judged(HASWELL, domain(asked), operation=operation)
    )
