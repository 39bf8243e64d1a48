"""What another host told, in the words of the CPU map here."""

from __future__ import annotations

from types import MappingProxyType

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef
from guardd.errors import UnknownModel
from guardd.facts.snapshot import HostSnapshot

FIRST_VERSION = "-v1"
_HINT = "a guard there knows it: ask it by way of ssh"


def in_our_words(cpu_map: CPUMap, snapshot: HostSnapshot, virt_type: str) -> HostSnapshot:
    """Give *snapshot*, of a host with a newer libvirt maybe, for guests of *virt_type* only.

    Features that are new are left out: no guest that was defined here can ask for them. So is the
    host's own CPU where its model is new. Raises UnknownModel where a hypervisor gives a model that
    is new: nobody here knows what it is made of.
    """
    hypervisors = [each for each in snapshot.hypervisors if each.virt_type == virt_type]
    try:
        host_cpu = _known(cpu_map, snapshot.arch, snapshot.host_cpu)
    except UnknownModel:
        host_cpu = None
    return snapshot._replace(
        host_cpu=host_cpu,
        hypervisors=tuple(
            each._replace(host_model=_known(cpu_map, each.arch, each.host_model))
            for each in hypervisors
        ),
    )


def _known(cpu_map: CPUMap, arch: Arch, given: CPUDef | None) -> CPUDef | None:
    if given is None or not cpu.has_features(arch):
        return given
    model, known = given.model, cpu.models(cpu_map, arch)
    if model is not None and model not in known:
        # libvirt 11 puts a version behind each name; the first is what had the bare name
        model = model.removesuffix(FIRST_VERSION)
        if model not in known:
            problem = f"the CPU map of this host's libvirt does not know CPU model {given.model}"
            raise UnknownModel(problem, hint=_HINT)
    return known_features(cpu_map, arch, given._replace(model=model))


def known_features(cpu_map: CPUMap, arch: Arch, given: CPUDef) -> CPUDef:
    """Give a CPU without the features that *cpu_map* has no name for.

    Nothing that was defined here can ask for them.
    """
    unknown = cpu.unknown_features(cpu_map, arch, given.features)
    kept = {name: policy for name, policy in given.features.items() if name not in unknown}
    return given._replace(features=MappingProxyType(kept))
