"""Hosts whose libvirt knows more than the CPU map here."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from guardd.cpu.definition import CPUDef
from guardd.errors import UnknownModel
from guardd.facts.foreign import in_our_words
from guardd.facts.snapshot import HostSnapshot
from tests.recordings import recorded_host, small_map


def with_cpu(snapshot: HostSnapshot, cpu: CPUDef) -> HostSnapshot:
    """Give *snapshot* with *cpu* for its host's and for what its KVM gives."""
    kvm = (each for each in snapshot.hypervisors if each.virt_type == "kvm")
    hypervisors = tuple(each._replace(host_model=cpu) for each in kvm)
    return snapshot._replace(host_cpu=cpu, hypervisors=hypervisors)


def of_kvm(snapshot: HostSnapshot) -> HostSnapshot:
    """Give *snapshot* in our words, for guests of KVM."""
    return in_our_words(small_map(), snapshot, "kvm")


KNOWN = CPUDef(model="Haswell", features=MappingProxyType({"sse2": None}))


def test_new_features() -> None:
    """They are left out, wherever they stand; what is known stays as it is."""
    host = recorded_host("haswell")
    newer = KNOWN._replace(features=MappingProxyType({"sse2": None, "warp-drive": None}))

    assert with_cpu(host, KNOWN) == of_kvm(with_cpu(host, newer))
    assert with_cpu(host, KNOWN) == of_kvm(with_cpu(host, KNOWN))


def test_new_model() -> None:
    """Nobody here can say what it is made of."""
    newer = with_cpu(recorded_host("haswell"), KNOWN._replace(model="Warp-Server"))

    with pytest.raises(UnknownModel, match="does not know CPU model Warp-Server"):
        of_kvm(newer)


def test_new_host_cpu() -> None:
    """Its own CPU does not matter where what its hypervisor gives is known."""
    host = with_cpu(recorded_host("haswell"), KNOWN)
    newer = host._replace(host_cpu=KNOWN._replace(model="Warp-Server"))

    assert host._replace(host_cpu=None) == of_kvm(newer)


def test_versions() -> None:
    """What libvirt 11 calls Haswell-v1 was Haswell before; a later version is another model."""
    host = recorded_host("haswell")

    assert with_cpu(host, KNOWN) == of_kvm(with_cpu(host, KNOWN._replace(model="Haswell-v1")))
    with pytest.raises(UnknownModel):
        of_kvm(with_cpu(host, KNOWN._replace(model="Haswell-v9")))


def test_others_hypervisors() -> None:
    """Those of another kind do not matter to a guest."""
    host = with_cpu(recorded_host("haswell"), KNOWN._replace(model="Warp-Server"))

    assert () == in_our_words(small_map(), host, "qemu").hypervisors


@pytest.mark.parametrize("name", ["power9", "neoverse"])
def test_other_architectures(name: str) -> None:
    """Where models are not made of features they are libvirt's business alone."""
    host = recorded_host(name)
    kvm = tuple(each for each in host.hypervisors if each.virt_type == "kvm")

    assert host._replace(hypervisors=kvm) == of_kvm(host)


def test_nothing_known() -> None:
    """A host that libvirt could not name."""
    host = recorded_host("haswell")._replace(host_cpu=None, hypervisors=())

    assert host == of_kvm(host)
