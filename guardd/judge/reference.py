"""What a guest's CPU is held against: what the hypervisor that will run it can give."""

from collections.abc import Iterable
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef, CPUType
from guardd.facts.domcaps import Hypervisor, HypervisorKey, Usable
from guardd.facts.snapshot import HostSnapshot, Origin

KVM = "kvm"
# references that are built once: every verdict on a host needs one of the same few
REMEMBERED = 16

# what QEMU's `host` and `max` leave out although it can be had by name, since it has to suit the
# guest's topology (no_autoenable_flags in QEMU's target/i386/cpu.c)
ONLY_BY_NAME = frozenset({"topoext", "ht"})

_ORIGINS = {
    Origin.LIBVIRT: "libvirt at",
    Origin.KEPT: "snapshot kept since",
    Origin.STALE: "outdated snapshot of",
}
ACCELERATORS = {KVM: "KVM", "qemu": "TCG", "hvf": "HVF"}


class Reference(NamedTuple):
    """The host's side of one judgement.

    `accepted` is the CPU that libvirt's own check='partial' compares with, on KVM the silicon and
    what KVM adds. `gives` names the features that the hypervisor can really give. Both are
    libvirt's and empty or None where it does not tell. `label` and `source` are for people.
    """

    hypervisor: Hypervisor
    accepted: CPUDef | None
    gives: frozenset[str]
    label: str
    source: str


def find_hypervisor(
    snapshot: HostSnapshot, sought: HypervisorKey
) -> tuple[Hypervisor, bool] | None:
    """Give what is known of the hypervisor that *sought* names, or of the nearest one.

    The second value: whether it is that very emulator, arch and machine. None where nothing is
    known of the virt type and architecture.
    """
    machine = sought.machine and snapshot.canonical_machine(sought.arch, sought.machine)

    def likeness(hypervisor: Hypervisor) -> tuple[bool, bool, bool]:
        return (
            hypervisor.arch == sought.arch,
            sought.emulator in (None, hypervisor.emulator),
            machine in (None, hypervisor.machine),
        )

    candidates = [
        hypervisor
        for hypervisor in snapshot.hypervisors
        if hypervisor.virt_type == sought.virt_type
        and cpu.same_family(hypervisor.arch, sought.arch)
    ]
    if not candidates:
        return None
    nearest = max(candidates, key=likeness)
    return nearest, all(likeness(nearest))


@lru_cache(maxsize=REMEMBERED)
def build_reference(
    cpu_map: CPUMap, snapshot: HostSnapshot, hypervisor: Hypervisor, *, exact: bool
) -> Reference:
    """Say what *hypervisor* gives and accepts on this host.

    Raises what `cpu.features` raises when the CPU map does not fit what libvirt said.
    """
    gives: frozenset[str] = frozenset()
    if hypervisor.host_model is not None:
        gives = cpu.features(cpu_map, hypervisor.arch, hypervisor.host_model)
    return Reference(
        hypervisor=hypervisor,
        accepted=_accepted(snapshot, hypervisor, gives),
        gives=gives,
        label=_label(snapshot, hypervisor),
        source=_source(snapshot, hypervisor, exact=exact),
    )


def _accepted(
    snapshot: HostSnapshot, hypervisor: Hypervisor, gives: Iterable[str]
) -> CPUDef | None:
    # spec cpu-x86, 7.5, "FULL": on KVM the silicon plus what KVM reports, else what QEMU reports
    is_native = cpu.same_family(snapshot.arch, hypervisor.arch)
    if hypervisor.virt_type != KVM or not is_native or snapshot.host_cpu is None:
        return hypervisor.host_model
    added = {name: None for name in sorted(gives) if name not in snapshot.host_cpu.features}
    features = MappingProxyType({**snapshot.host_cpu.features, **added})
    return snapshot.host_cpu._replace(type=CPUType.HOST, features=features)


def model_gives(cpu_map: CPUMap, reference: Reference, arch: Arch, model: str) -> frozenset[str]:
    """Name the features of *model* that QEMU says it can give as part of that model.

    Surer than the host model where QEMU lists what blocks a model; empty where it does not say.
    """
    support = reference.hypervisor.models.get(model)
    if support is None or (support.usable is not Usable.YES and support.blockers is None):
        return frozenset()
    names = cpu.features(cpu_map, arch, CPUDef(model=model))
    return names.difference(support.blockers or ())


def usable_features(cpu_map: CPUMap, reference: Reference, arch: Arch) -> frozenset[str]:
    """Name the features that QEMU can give as part of any model, as far as it says so."""
    known = reference.hypervisor.models.keys() & set(cpu.models(cpu_map, arch))
    return frozenset().union(*(model_gives(cpu_map, reference, arch, name) for name in known))


def _label(snapshot: HostSnapshot, hypervisor: Hypervisor) -> str:
    accelerator = ACCELERATORS.get(hypervisor.virt_type, hypervisor.virt_type)
    known = hypervisor.host_model
    if known is None and cpu.same_family(snapshot.arch, hypervisor.arch):
        known = snapshot.host_cpu
    model = hypervisor.arch if known is None or known.model is None else known.model
    return f"{model}, {accelerator}"


def _source(snapshot: HostSnapshot, hypervisor: Hypervisor, *, exact: bool) -> str:
    words = f"domain capabilities of {hypervisor.emulator} {hypervisor.machine}"
    if not exact:
        words += ", the nearest known"
    return f"{_ORIGINS[snapshot.origin]} {snapshot.taken}: {words}"
