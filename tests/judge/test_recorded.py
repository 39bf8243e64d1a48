"""Guests that really ran on a recorded host, with the CPU map that libvirt installed here."""

from collections.abc import Iterator

import pytest

from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch
from guardd.facts.domcaps import Usable
from tests.judge.table import cpu, domain, judged, mode, told
from tests.recordings import recorded, recorded_host

EPYC = recorded_host("epyc-libvirt9")  # silicon of an EPYC-Genoa, of which KVM gives little
KVM = next(h for h in EPYC.hypervisors if h.virt_type == "kvm")


@pytest.mark.parametrize(
    "name", ["x86_64-guest-haswell-in-force-kvm", "x86_64-guest-skylake-in-force-tcg"]
)
@pytest.mark.parametrize("operation", ["prepare", "migrate", "restore"])
def test_what_ran_here_may_come_back(name: str, operation: str, cpu_map: CPUMap) -> None:
    """The CPU that libvirt recorded as in force on this host, after QEMU dropped what it must."""
    verdict = judged(EPYC, recorded(name), operation=operation, cpu_map=cpu_map)

    assert "allow" == told(verdict)
    assert verdict.unseen is None


def test_a_feature_that_this_host_never_gave(cpu_map: CPUMap) -> None:
    """The same guest, coming from a host where KVM gives more."""
    xml = recorded("x86_64-guest-haswell-in-force-kvm").replace(
        "policy='disable' name='avx2'", "policy='require' name='avx2'"
    )

    assert "deny: missing-feature avx2" == told(judged(EPYC, xml, cpu_map=cpu_map))


def usable_models() -> Iterator[str]:
    return (name for name, model in KVM.models.items() if model.usable is Usable.YES)


@pytest.mark.parametrize("model", sorted(usable_models()))
def test_usable_models(model: str, cpu_map: CPUMap) -> None:
    """What QEMU says it can give starts."""
    assert "allow" == told(judged(EPYC, domain(cpu(model)), cpu_map=cpu_map))


@pytest.mark.parametrize("model", ["EPYC", "EPYC-Milan", "qemu64"])
def test_models_that_libvirt_refused(model: str, cpu_map: CPUMap) -> None:
    """Seen on that host: Host CPU does not provide required features: svm, for Milan more."""
    verdict = judged(EPYC, domain(cpu(model)), cpu_map=cpu_map)

    assert verdict.refused
    assert "svm" in [finding.subject for finding in verdict.findings]


@pytest.mark.parametrize("model", ["Nehalem", "EPYC-Milan", "Skylake-Server"])
def test_models_that_ran_with_less(model: str, cpu_map: CPUMap) -> None:
    """Seen on that host: with check='none' they start, and lack what KVM there does not give."""
    xml = domain(cpu(model, attributes="check='none'"))
    verdict = judged(EPYC, xml, cpu_map=cpu_map)

    assert told(verdict).startswith("warn: silent-downgrade ")
    assert "pni" in [finding.subject for finding in verdict.findings]


@pytest.mark.parametrize("virt", ["kvm", "qemu"])
@pytest.mark.parametrize("asked", ["", mode("host-model"), mode("maximum")])
def test_whatever_the_host_gives(asked: str, virt: str, cpu_map: CPUMap) -> None:
    """Nothing is asked that the host could lack."""
    assert "allow" == told(judged(EPYC, domain(asked, virt=virt), cpu_map=cpu_map))


def test_the_default_cpu_as_libvirt_fills_it_in(cpu_map: CPUMap) -> None:
    """Every guest without <cpu>: on silicon without svm it always lacked that, and always ran."""
    xml = domain(cpu("qemu64", attributes="check='none'", fallback="forbid"))
    verdict = judged(EPYC, xml, cpu_map=cpu_map)

    assert not verdict.refused
    assert Arch.X86_64 is EPYC.arch
    assert told(verdict).startswith("warn: silent-downgrade ")
