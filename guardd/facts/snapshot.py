"""HostSnapshot: all that is known of this host, one immutable value, and its JSON to keep it."""

import json
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from guardd.cpu.arm.host import ArmHost
from guardd.cpu.arm.midr import MIDR
from guardd.cpu.definition import Arch, CPUDef, CPUType
from guardd.cpu.definition import Mode as CPUMode
from guardd.cpu.xml import format_cpu, parse_cpu
from guardd.errors import BadSnapshot, GuardError
from guardd.facts.capabilities import host_cpu_from_element
from guardd.facts.domcaps import Hypervisor, ModelSupport, Usable
from guardd.xmldoc import read_xml

FORMAT = 1  # of the JSON; a newer one is refused, not guessed at


class Origin(StrEnum):
    """Where the running process has its snapshot from."""

    LIBVIRT = "libvirt"
    KEPT = "kept"  # read back from disk
    STALE = "stale"  # kept, and the host has changed since


class HostSnapshot(NamedTuple):
    """What libvirt said of this host and its hypervisors, and when.

    `taken` is a UTC time in ISO 8601. `machines` maps, by arch, each machine alias to its
    canonical name. `fingerprint` holds what must stay the same for the rest to stay true: kernel,
    microcode, CPU map, libvirt, and each emulator's binary, as opaque texts. `qemu` is the version
    of libvirt's default emulator, "" where it is not known. `arm` is what an aarch64 host's
    registers say.
    """

    hostname: str
    taken: str
    libvirt: str
    arch: Arch
    host_cpu: CPUDef | None
    origin: Origin = Origin.LIBVIRT
    qemu: str = ""
    hypervisors: tuple[Hypervisor, ...] = ()
    machines: Mapping[Arch, Mapping[str, str]] = MappingProxyType({})
    fingerprint: Mapping[str, str] = MappingProxyType({})
    arm: ArmHost | None = None

    def __hash__(self) -> int:
        """Hash what tells snapshots apart in practice; the rest has mappings, that have no hash."""
        return hash((self.hostname, self.taken))

    def canonical_machine(self, arch: Arch, machine: str) -> str:
        """Give the machine type that the alias *machine* stands for, or *machine* itself."""
        return self.machines.get(arch, {}).get(machine, machine)


def snapshot_to_json(snapshot: HostSnapshot) -> str:
    """Write *snapshot* as JSON text; its origin is not part of it."""
    host_cpu = snapshot.host_cpu
    document = {
        "format": FORMAT,
        "hostname": snapshot.hostname,
        "taken": snapshot.taken,
        "libvirt": snapshot.libvirt,
        "qemu": snapshot.qemu,
        "arch": snapshot.arch,
        "host_cpu": None if host_cpu is None else format_cpu(host_cpu),
        "hypervisors": [_hypervisor_to_dict(h) for h in snapshot.hypervisors],
        "machines": {arch: dict(names) for arch, names in snapshot.machines.items()},
        "fingerprint": dict(snapshot.fingerprint),
        "arm": None if snapshot.arm is None else _arm_to_dict(snapshot.arm),
    }
    return json.dumps(document, indent=1) + "\n"


def snapshot_from_json(text: str | bytes) -> HostSnapshot:
    """Read a kept snapshot back, with origin KEPT; raises BadSnapshot for anything else."""
    try:
        return _snapshot_from_dict(json.loads(text))
    except UnicodeDecodeError:
        raise BadSnapshot("kept snapshot is not UTF-8") from None  # the error quotes all of it
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, GuardError) as exc:
        raise BadSnapshot(f"kept snapshot cannot be read: {exc!r}") from exc


def _snapshot_from_dict(document: dict[str, Any]) -> HostSnapshot:
    if document["format"] != FORMAT or isinstance(document["format"], bool):
        raise ValueError(f"its format is {document['format']!r}, this program reads {FORMAT}")
    host_cpu = document["host_cpu"]
    return HostSnapshot(
        hostname=_str(document["hostname"]),
        taken=_str(document["taken"]),
        origin=Origin.KEPT,
        libvirt=_str(document["libvirt"]),
        qemu=_str(document.get("qemu", "")),  # not in those of the first version
        arch=Arch(document["arch"]),
        host_cpu=None if host_cpu is None else host_cpu_from_element(read_xml(host_cpu)),
        hypervisors=tuple(_hypervisor_from_dict(h) for h in _list(document["hypervisors"])),
        machines=MappingProxyType(
            {
                Arch(arch): MappingProxyType({_str(k): _str(v) for k, v in names.items()})
                for arch, names in document["machines"].items()
            }
        ),
        fingerprint=MappingProxyType(
            {_str(k): _str(v) for k, v in document["fingerprint"].items()}
        ),
        arm=_arm_from_dict(document.get("arm")),
    )


def _arm_to_dict(host: ArmHost) -> dict[str, Any]:
    return {
        "cores": sorted(core.value for core in host.cores),
        "features": sorted(host.features),
        "registers": dict(host.registers),
        "page_size": host.page_size,
    }


def _arm_from_dict(document: dict[str, Any] | None) -> ArmHost | None:
    if document is None:
        return None
    return ArmHost(
        cores=frozenset(MIDR.of(_int(core)) for core in _list(document["cores"])),
        features=frozenset(_str(name) for name in _list(document["features"])),
        registers=MappingProxyType({_str(k): _int(v) for k, v in document["registers"].items()}),
        page_size=_int(document["page_size"]),
    )


def _hypervisor_to_dict(hypervisor: Hypervisor) -> dict[str, Any]:
    host_model = hypervisor.host_model
    return {
        "virt_type": hypervisor.virt_type,
        "arch": hypervisor.arch,
        "machine": hypervisor.machine,
        "emulator": hypervisor.emulator,
        "modes": sorted(hypervisor.modes),
        "host_model": None if host_model is None else format_cpu(host_model),
        "models": {
            name: {"usable": model.usable, "blockers": model.blockers}
            for name, model in hypervisor.models.items()
        },
    }


def _hypervisor_from_dict(document: dict[str, Any]) -> Hypervisor:
    host_model = document["host_model"]
    return Hypervisor(
        virt_type=_str(document["virt_type"]),
        arch=Arch(document["arch"]),
        machine=_str(document["machine"]),
        emulator=_str(document["emulator"]),
        modes=frozenset(CPUMode(mode) for mode in _list(document["modes"])),
        host_model=None if host_model is None else parse_cpu(host_model, CPUType.GUEST),
        models=MappingProxyType(
            {_str(name): _model_from_dict(model) for name, model in document["models"].items()}
        ),
    )


def _model_from_dict(document: dict[str, Any]) -> ModelSupport:
    blockers = document["blockers"]
    return ModelSupport(
        usable=Usable(document["usable"]),
        blockers=None if blockers is None else tuple(_str(name) for name in _list(blockers)),
    )


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {value!r}")
    return value


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a number, found {value!r}")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, found {value!r}")
    return value


def with_hypervisor(snapshot: HostSnapshot, hypervisor: Hypervisor) -> HostSnapshot:
    """Give *snapshot* with *hypervisor* in the place of what was known of the same guests."""
    others = tuple(known for known in snapshot.hypervisors if known.key != hypervisor.key)
    return snapshot._replace(hypervisors=(*others, hypervisor))


def with_revision(snapshot: HostSnapshot, revision: str | None) -> HostSnapshot:
    """Give *snapshot* with a PowerPC host's CPU called by its exact model.

    libvirt's name, that of the family, stays where *revision* is None or of another family.
    """
    host = snapshot.host_cpu
    if revision is None or host is None or not revision.startswith(host.model or "?"):
        return snapshot
    return snapshot._replace(host_cpu=host._replace(model=revision))


def with_present(snapshot: HostSnapshot, present: Mapping[str, str]) -> HostSnapshot:
    """Give a kept *snapshot*, marked STALE where the *present* fingerprint is another."""
    if snapshot.fingerprint == present:
        return snapshot
    return snapshot._replace(origin=Origin.STALE)


def has_changed(before: HostSnapshot, now: HostSnapshot) -> bool:
    """Whether *now* says anything else of the host than *before*, be it only its fingerprint."""
    return before._replace(taken=now.taken, origin=now.origin) != now
