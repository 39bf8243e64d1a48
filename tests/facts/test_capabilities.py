"""Capabilities as libvirt 9.0.0 and 11.3.0 write them."""

import pytest

from guardd.cpu.definition import Arch, CPUType, Mode
from guardd.errors import GuardError, InvalidCapabilities, InvalidCPU, MalformedXML
from guardd.facts.capabilities import parse_capabilities
from tests.recordings import recorded


@pytest.mark.parametrize(
    ("name", "arch", "model", "vendor"),
    [
        ("x86_64-epyc-libvirt9", Arch.X86_64, "kvm64", "AMD"),
        ("x86_64-epyc-libvirt11", Arch.X86_64, "kvm64-v1", "AMD"),
        ("x86_64-haswell", Arch.X86_64, "Haswell-noTSX", "Intel"),
        ("ppc64le-power9", Arch.PPC64LE, "POWER9", "IBM"),
        ("aarch64-neoverse", Arch.AARCH64, "Neoverse-N1", "ARM"),
    ],
)
def test_the_host_cpu(name: str, arch: Arch, model: str, vendor: str) -> None:
    """A host's CPU keeps mode custom, as libvirt's own has it: it can be formatted again."""
    found = parse_capabilities(recorded(f"{name}-capabilities"))

    assert arch is found.arch
    assert found.host_cpu is not None
    assert (CPUType.HOST, Mode.CUSTOM) == (found.host_cpu.type, found.host_cpu.mode)
    assert (arch, model, vendor) == (found.host_cpu.arch, found.host_cpu.model, vendor)


@pytest.mark.parametrize("name", ["x86_64-nameless", "ppc64le-power11"])
def test_a_host_cpu_without_a_name(name: str) -> None:
    """libvirt has no name for it, only a topology: None, and the rest is still read."""
    found = parse_capabilities(recorded(f"{name}-capabilities"))

    assert found.host_cpu is None
    assert 2 == len(found.guests)


def test_guests() -> None:
    """Each architecture with its emulator, and what each machine alias stands for."""
    found = parse_capabilities(recorded("x86_64-epyc-libvirt9-capabilities"))
    x86 = next(support for support in found.guests if support.arch is Arch.X86_64)

    assert {Arch.I686, Arch.PPC, Arch.PPC64, Arch.PPC64LE, Arch.X86_64} == {
        support.arch for support in found.guests
    }
    assert ("/usr/bin/qemu-system-x86_64", ("qemu", "kvm")) == (x86.emulator, x86.virt_types)
    assert "pc-q35-7.2" == dict(x86.machines)["q35"]
    assert "pc-q35-6.2" == dict(x86.machines)["pc-q35-6.2"]


@pytest.mark.parametrize(
    "arch",
    [
        pytest.param("<arch name='pdp11'><emulator>/q</emulator></arch>", id="newer than we are"),
        pytest.param("<arch name='x86_64'></arch>", id="no emulator"),
        pytest.param("<arch><emulator>/q</emulator></arch>", id="no name"),
    ],
)
def test_a_guest_that_cannot_be_judged_is_left_out(arch: str) -> None:
    """One odd architecture must not hide all the others."""
    text = recorded("x86_64-haswell-capabilities").replace("<guest>", f"<guest>{arch}", 1)

    assert parse_capabilities(recorded("x86_64-haswell-capabilities")) == parse_capabilities(text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("", MalformedXML, id="nothing"),
        pytest.param("<domain/>", InvalidCapabilities, id="a domain"),
        pytest.param("<x><host><cpu><arch>x86_64</arch></cpu></host></x>", InvalidCapabilities),
        pytest.param("<capabilities><host/></capabilities>", InvalidCapabilities, id="no cpu"),
        pytest.param(
            "<capabilities><host><cpu/></host></capabilities>", InvalidCapabilities, id="no arch"
        ),
        pytest.param(
            "<capabilities><host><cpu><arch>pdp11</arch></cpu></host></capabilities>",
            InvalidCapabilities,
            id="unknown arch",
        ),
        pytest.param(
            "<capabilities><host><cpu><arch>x86_64</arch><model/></cpu></host></capabilities>",
            InvalidCPU,
            id="empty model",
        ),
    ],
)
def test_refused(text: str, error: type[GuardError]) -> None:
    """The watcher says what it could not read, and keeps what it knew."""
    with pytest.raises(error):
        parse_capabilities(text)
