"""What a guest that has just started sees of its CPU: the stamp it gets."""

from __future__ import annotations

from types import MappingProxyType

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, Check, CPUDef, FeaturePolicy, Mode, PhysAddrMode
from guardd.cpu.families import PPC64
from guardd.errors import UnknownHost, UnknownHypervisor
from guardd.facts.domain import Guest
from guardd.facts.domcaps import HypervisorKey
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.stamp import Stamp
from guardd.judge.reference import KVM, Reference, build_reference, find_hypervisor

# the modes in which a guest takes what the hypervisor has; libvirt compares nothing then
OPEN_MODES = frozenset({Mode.HOST_PASSTHROUGH, Mode.MAXIMUM})
# what QEMU's `host` and `max` leave out unless told migratable=off (unmigratable_flags in its
# target/i386/cpu.c), though domain capabilities list it
NOT_MIGRATABLE = frozenset({"invtsc"})


def birth_record(guest: Guest, snapshot: HostSnapshot, cpu_map: CPUMap, *, taken: str) -> Stamp:
    """Say what *guest*, read from the XML of the running guest, sees of its CPU since it booted.

    *snapshot* must be of this host as it is now; *taken* is the UTC time in ISO 8601. Raises
    UnknownHypervisor where nothing is known of its hypervisor yet, UnknownHost where it cannot be
    told, and what `build_reference` raises.
    """
    key = HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)
    found = find_hypervisor(snapshot, key)
    if found is None or not found[1]:
        raise UnknownHypervisor(f"what {guest.emulator} {guest.machine} gives is not known")
    if guest.uuid is None or guest.cpu is None:
        raise UnknownHost("libvirt does not tell its CPU")
    reference = build_reference(cpu_map, snapshot, found[0], exact=True)
    is_native = guest.virt_type == KVM and cpu.same_family(snapshot.arch, guest.arch)
    host = snapshot.host_cpu if is_native else None
    arm = snapshot.arm if is_native else None
    return Stamp(
        uuid=guest.uuid.lower(),
        taken=taken,
        host=snapshot.hostname,
        virt_type=guest.virt_type,
        arch=guest.arch,
        model=_model(guest.cpu, host, reference),
        # QEMU shows a KVM guest the host's own vendor, whatever its model's is
        vendor=(guest.cpu.vendor if host is None else host.vendor) or "",
        signature=host.signature if host is not None and guest.cpu.mode in OPEN_MODES else None,
        compat=_compat(guest.cpu, guest.arch),
        features=_features(guest.cpu, guest, snapshot, cpu_map, reference),
        phys_bits=phys_bits(guest.cpu, host),
        tsc=guest.tsc_frequency or _host_tsc(host),
        page_size=None if arm is None else arm.page_size,
        cores=frozenset() if arm is None else frozenset(core.value for core in arm.cores),
        versions=MappingProxyType(versions_of(snapshot)),
    )


def arrival_record(guest: Guest, record: Stamp) -> Stamp:
    """Give what is left of *record* for a *guest* that booted elsewhere, and came without a stamp.

    Its XML tells the features in force, and the numbers that it sets itself. The host, vendor,
    microcode and the rest of where it booted are not known, and so not said; `host` and `taken` are
    those of its first stamp.
    """
    return record._replace(
        vendor="",
        signature=None,
        phys_bits=None if guest.cpu is None else phys_bits(guest.cpu, None),
        tsc=guest.tsc_frequency,
        page_size=None,
        cores=frozenset(),
        versions=MappingProxyType({}),
    )


def is_of_host_as_it_is(stamp: Stamp, snapshot: HostSnapshot) -> bool:
    """Whether *stamp* was written on the host of *snapshot*, with all the versions of today."""
    return stamp.host == snapshot.hostname and stamp.versions == versions_of(snapshot)


def open_features(
    cpu_map: CPUMap, guest: Guest, asked: CPUDef, snapshot: HostSnapshot, reference: Reference
) -> frozenset[str]:
    """Name what a guest with mode host-passthrough or maximum sees here, with what it names itself.

    *asked* is the guest's CPU; *reference* is what the hypervisor of *snapshot* gives.
    """
    gives, host = reference.gives, snapshot.host_cpu
    if asked.migratable is not False:
        gives -= NOT_MIGRATABLE
    elif guest.virt_type == KVM and host is not None:
        gives |= cpu.non_migratable(cpu_map, guest.arch) & host.features.keys()
    added = asked.named(FeaturePolicy.FORCE, FeaturePolicy.REQUIRE)
    seen = (gives | added) - asked.named(FeaturePolicy.DISABLE, FeaturePolicy.FORBID)
    return seen - _hidden(cpu_map, guest, seen, reference)


def _hidden(
    cpu_map: CPUMap, guest: Guest, seen: frozenset[str], reference: Reference
) -> frozenset[str]:
    """Name what a guest that sees *seen* cannot see, as QEMU hides the MSR that it stands in."""
    known = reference.hypervisor.host_model
    if known is None:
        return frozenset()
    dropped = dict.fromkeys(reference.gives - seen, FeaturePolicy.DISABLE)
    features = MappingProxyType({**known.features, **dropped})
    return cpu.hidden_features(cpu_map, guest.arch, known._replace(features=features))


def phys_bits(asked: CPUDef, host: CPUDef | None) -> int | None:
    """Give how many physical address bits a guest with the CPU *asked* sees on the CPU *host*.

    None where it is neither a number of its own nor the host's, or the host's is not known.
    """
    wanted = asked.maxphysaddr
    if wanted is not None and wanted.mode is PhysAddrMode.EMULATE:
        return wanted.bits
    if wanted is None and asked.mode not in OPEN_MODES:
        return None  # QEMU's default, the same on every host
    here = None if host is None or host.maxphysaddr is None else host.maxphysaddr.bits
    limit = None if wanted is None else wanted.limit
    return here if here is None or limit is None else min(here, limit)


def _features(
    asked: CPUDef, guest: Guest, snapshot: HostSnapshot, cpu_map: CPUMap, reference: Reference
) -> frozenset[str]:
    if not cpu.has_features(guest.arch):
        is_host = guest.virt_type == KVM and asked.mode in OPEN_MODES and snapshot.arm is not None
        return snapshot.arm.features if is_host and snapshot.arm is not None else frozenset()
    if asked.mode in OPEN_MODES:
        if reference.hypervisor.host_model is None:
            raise UnknownHost("libvirt does not tell what its hypervisor gives")
        return open_features(cpu_map, guest, asked, snapshot, reference)
    if asked.check is not Check.FULL:
        raise UnknownHost("libvirt does not tell its CPU in force")
    return cpu.features(cpu_map, guest.arch, asked)


def _model(asked: CPUDef, host: CPUDef | None, reference: Reference) -> str:
    if asked.mode is Mode.CUSTOM:
        return asked.model or ""
    known = reference.hypervisor.host_model if host is None else host
    return (known.model if known is not None else None) or ""


def _compat(asked: CPUDef, arch: Arch) -> str:
    """PowerPC: mode host-model names the compatibility mode that the guest is held to."""
    is_held = asked.mode is Mode.HOST_MODEL and arch in PPC64
    return (asked.model or "") if is_held else ""


def _host_tsc(host: CPUDef | None) -> int | None:
    return None if host is None or host.tsc is None else host.tsc.frequency


def versions_of(snapshot: HostSnapshot) -> dict[str, str]:
    """Give the versions that a stamp of the host of *snapshot* has, as far as they are known."""
    kept = snapshot.fingerprint
    versions = {
        "libvirt": snapshot.libvirt,
        "qemu": snapshot.qemu,
        "kernel": kept.get("kernel", "").split(" ")[0],
        "microcode": kept.get("microcode", ""),
    }
    return {name: text for name, text in versions.items() if text}
