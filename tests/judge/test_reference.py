"""Which hypervisor a guest is held against, and what that one gives."""

import pytest

from guardd.cpu.definition import Arch, CPUType
from guardd.errors import UnknownModel
from guardd.facts.domcaps import HypervisorKey
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.reference import build_reference, find_hypervisor, model_gives
from tests.judge.table import HASWELL, HASWELL_11, OWN_MAP, POWER9
from tests.recordings import recorded_host

QEMU = "/usr/bin/qemu-system-x86_64"
Q35, TCG = HASWELL.hypervisors
PC = Q35._replace(machine="pc-i440fx-7.2")
OTHER = Q35._replace(emulator="/opt/qemu")
SMALL = Q35._replace(arch=Arch.I686, emulator="/usr/bin/qemu-system-i386", machine="pc-i440fx-7.2")
HOST = HASWELL._replace(hypervisors=(Q35, TCG, PC, OTHER, SMALL))


@pytest.mark.parametrize(
    ("sought", "expected"),
    [
        pytest.param(("kvm", Arch.X86_64, "pc-q35-7.2", QEMU), (Q35, True), id="itself"),
        pytest.param(("kvm", Arch.X86_64, "q35", QEMU), (Q35, True), id="by an alias"),
        pytest.param(("kvm", Arch.X86_64, "pc", QEMU), (PC, True), id="by another alias"),
        pytest.param(("qemu", Arch.X86_64, "q35", QEMU), (TCG, True), id="another virt type"),
        pytest.param(("kvm", Arch.X86_64, "q35", "/opt/qemu"), (OTHER, True), id="emulator"),
        pytest.param(("kvm", Arch.X86_64, None, None), (Q35, True), id="whatever there is"),
        pytest.param(
            ("kvm", Arch.X86_64, "pc-q35-6.0", QEMU), (Q35, False), id="the emulator's other one"
        ),
        pytest.param(
            ("kvm", Arch.X86_64, "pc", "/opt/qemu"),
            (OTHER, False),
            id="the emulator counts more than the machine",
        ),
        pytest.param(
            ("kvm", Arch.I686, "q35", QEMU),
            (SMALL, False),
            id="the architecture counts more than the emulator",
        ),
        pytest.param(("kvm", Arch.PPC64, "pseries", None), None, id="another family"),
        pytest.param(("hvf", Arch.X86_64, "q35", QEMU), None, id="another accelerator"),
    ],
)
def test_find_hypervisor(
    sought: tuple[str, Arch, str | None, str | None], expected: object
) -> None:
    """The same emulator, machine and architecture, or the nearest that is known."""
    assert expected == find_hypervisor(HOST, HypervisorKey(*sought))


def test_accepted_on_kvm() -> None:
    """libvirt compares with the silicon and what KVM adds to it."""
    accepted = build_reference(OWN_MAP, HASWELL, Q35, exact=True).accepted

    assert accepted is not None
    assert (CPUType.HOST, "Haswell-noTSX", "Intel") == (
        accepted.type,
        accepted.model,
        accepted.vendor,
    )
    assert {"cmt", "invtsc", "hypervisor", "avx2"} <= set(accepted.features)
    assert "hle" not in accepted.features


@pytest.mark.parametrize("number", [1, 0])
def test_accepted_without_the_silicon(number: int) -> None:
    """TCG gives what QEMU makes; and so it is where libvirt could not name the host."""
    host = HASWELL if number else HASWELL._replace(host_cpu=None)
    hypervisor = host.hypervisors[number]

    reference = build_reference(OWN_MAP, host, hypervisor, exact=True)

    assert hypervisor.host_model == reference.accepted


def test_gives() -> None:
    """All that host-model stands for, what its model has included and what is off excluded."""
    given = build_reference(OWN_MAP, HASWELL_11, HASWELL_11.hypervisors[0], exact=True).gives

    assert {"avx2", "hypervisor", "umip"} <= given
    assert not {"pni", "hle", "cmt"} & given


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Nehalem", {"fpu", "sse2", "pni", "sse4.2", "lm"}),
        ("Haswell", {"fpu", "sse2", "pni", "sse4.2", "lm", "aes", "avx", "avx2"}),
        ("qemu64", {"fpu", "sse2", "pni", "lm"}),
        ("Pentium9", set()),
    ],
)
def test_model_gives(model: str, expected: set[str]) -> None:
    """A usable model gives all it has, a blocked one all but its blockers."""
    kvm = HASWELL_11.hypervisors[0]
    reference = build_reference(OWN_MAP, HASWELL_11, kvm, exact=True)

    assert expected == model_gives(OWN_MAP, reference, Arch.X86_64, model)


def test_model_gives_nothing_where_qemu_does_not_say() -> None:
    """libvirt 9 only says that a model is unusable."""
    reference = build_reference(OWN_MAP, HASWELL, Q35, exact=True)

    assert frozenset() == model_gives(OWN_MAP, reference, Arch.X86_64, "Haswell")


def test_a_host_model_that_the_map_does_not_have() -> None:
    """Raised, not taken for a host that gives nothing."""
    kvm = recorded_host("epyc-libvirt11").hypervisors[1]

    with pytest.raises(UnknownModel):
        build_reference(OWN_MAP, HASWELL, kvm, exact=True)


@pytest.mark.parametrize(
    ("host", "number", "expected"),
    [
        (HASWELL, 0, "Haswell-noTSX, KVM"),
        (HASWELL, 1, "EPYC, TCG"),
        (POWER9, 0, "POWER9, KVM"),
        (POWER9, 1, "POWER9, TCG"),
        (recorded_host("power11"), 0, "ppc64le, KVM"),
        (recorded_host("epyc-libvirt9"), 0, "ppc64le, TCG"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_label(host: HostSnapshot, number: int, expected: str) -> None:
    """The host in the hook's one line; a foreign silicon is not named."""
    reference = build_reference(OWN_MAP, host, host.hypervisors[number], exact=True)

    assert expected == reference.label
