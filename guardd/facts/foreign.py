"""What another host told, in the words of the CPU map here."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef
from guardd.errors import UnknownFeature, UnknownModel
from guardd.facts.domcaps import Hypervisor
from guardd.facts.snapshot import HostSnapshot

_HINT = "a guard there knows it: ask it by way of ssh"


def in_our_words(cpu_map: CPUMap, snapshot: HostSnapshot) -> HostSnapshot:
    """Give *snapshot*, of a host with a newer libvirt maybe, without features that are new.

    No guest that was defined here can ask for them. Raises UnknownModel for a CPU model that is
    new: nobody here knows what it is made of.
    """
    host = snapshot.host_cpu
    return replace(
        snapshot,
        host_cpu=None if host is None else _known(cpu_map, snapshot.arch, host),
        hypervisors=tuple(_with_known(cpu_map, each) for each in snapshot.hypervisors),
    )


def _with_known(cpu_map: CPUMap, hypervisor: Hypervisor) -> Hypervisor:
    model = hypervisor.host_model
    if model is None:
        return hypervisor
    return replace(hypervisor, host_model=_known(cpu_map, hypervisor.arch, model))


def _known(cpu_map: CPUMap, arch: Arch, given: CPUDef) -> CPUDef:
    if not cpu.has_features(arch):
        return given
    if given.model is not None and given.model not in cpu.models(cpu_map, arch):
        problem = f"the CPU map of this host's libvirt does not know CPU model {given.model}"
        raise UnknownModel(problem, hint=_HINT)
    features = {n: p for n, p in given.features.items() if _is_known(cpu_map, arch, n)}
    return replace(given, features=MappingProxyType(features))


def _is_known(cpu_map: CPUMap, arch: Arch, name: str) -> bool:
    try:
        cpu.validate_features(cpu_map, arch, CPUDef(features={name: None}))
    except UnknownFeature:
        return False
    return True
