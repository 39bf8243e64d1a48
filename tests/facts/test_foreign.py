"""Hosts whose libvirt knows more than the CPU map here."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from guardd.cpu.definition import CPUDef
from guardd.errors import UnknownModel
from guardd.facts.foreign import in_our_words
from guardd.facts.snapshot import HostSnapshot
from tests.recordings import recorded_host, small_map


def with_cpu(snapshot: HostSnapshot, cpu: CPUDef) -> HostSnapshot:
    """Give *snapshot* with *cpu* for its host's and for what its hypervisors give."""
    hypervisors = tuple(replace(each, host_model=cpu) for each in snapshot.hypervisors)
    return replace(snapshot, host_cpu=cpu, hypervisors=hypervisors)


KNOWN = CPUDef(model="Haswell", features=MappingProxyType({"sse2": None}))


def test_new_features() -> None:
    """They are left out, wherever they stand; what is known stays as it is."""
    host = recorded_host("haswell")
    newer = replace(KNOWN, features=MappingProxyType({"sse2": None, "warp-drive": None}))

    assert with_cpu(host, KNOWN) == in_our_words(small_map(), with_cpu(host, newer))
    assert with_cpu(host, KNOWN) == in_our_words(small_map(), with_cpu(host, KNOWN))


def test_new_model() -> None:
    """Nobody here can say what it is made of."""
    newer = with_cpu(recorded_host("haswell"), replace(KNOWN, model="Warp-Server"))

    with pytest.raises(UnknownModel, match="does not know CPU model Warp-Server"):
        in_our_words(small_map(), newer)


@pytest.mark.parametrize("name", ["power9", "neoverse"])
def test_other_architectures(name: str) -> None:
    """Where models are not made of features they are libvirt's business alone."""
    host = recorded_host(name)

    assert host == in_our_words(small_map(), host)


def test_nothing_known() -> None:
    """A host that libvirt could not name."""
    host = replace(recorded_host("haswell"), host_cpu=None, hypervisors=())

    assert host == in_our_words(small_map(), host)
