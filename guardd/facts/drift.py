"""Drift: what two snapshots of a host tell apart, as far as a guest's CPU may depend on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.arm.host import ArmHost
from guardd.cpu.definition import Arch, CPUDef
from guardd.errors import GuardError
from guardd.facts.domcaps import Hypervisor, HypervisorKey, Usable
from guardd.facts.foreign import known_features
from guardd.facts.snapshot import HostSnapshot

# what a fingerprint calls what cannot be named by a version, and everybody else
_FINGERPRINT_WORDS = {"cpu-map": "CPU map"}
_VERSIONED = frozenset({"kernel", "microcode"})


@dataclass(frozen=True, slots=True)
class Change:
    """Something that has a version, or another one-word value, and now another.

    Both are "" where all that is known is that it is not what it was: a file's content.
    """

    what: str
    before: str = ""
    now: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Names that are there no more, and those that came."""

    lost: frozenset[str] = frozenset()
    gained: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether anything moved."""
        return bool(self.lost or self.gained)


@dataclass(frozen=True, slots=True, kw_only=True)
class HypervisorDrift:
    """How one hypervisor changed: what it gives, in libvirt's words.

    `key` names it as it was. `is_gone`: there is none of its type, architecture and emulator any
    more. `usable` are models that QEMU can give in full, `offered` all that it knows. `changes`
    holds the host-model CPU's name. `problem` says why its features could not be compared.
    """

    key: HypervisorKey
    is_gone: bool = False
    features: Moved = Moved()
    usable: Moved = Moved()
    offered: Moved = Moved()
    modes: Moved = Moved()
    changes: tuple[Change, ...] = ()
    problem: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it is as it was."""
        return self == HypervisorDrift(key=self.key)

    @property
    def loses(self) -> bool:
        """Whether a guest may miss something here that it had, or nobody can tell."""
        moved = (self.features, self.usable, self.offered, self.modes)
        return self.is_gone or bool(self.problem) or any(each.lost for each in moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """All that changed between two snapshots; what did not is left out.

    `changes`: versions, files, and the host CPU's own words. `host`: features of the host's CPU.
    """

    changes: tuple[Change, ...] = ()
    host: Moved = Moved()
    hypervisors: tuple[HypervisorDrift, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return self == Drift()

    @property
    def loses(self) -> bool:
        """Whether a guest may miss something now, or nobody can tell."""
        return bool(self.host.lost) or any(each.loses for each in self.hypervisors)

    @property
    def features(self) -> Moved:
        """What hypervisors lost and gained, all in one, and the host's CPU where they did not."""
        moved = [each.features for each in self.hypervisors if each.features] or [self.host]
        return Moved(
            lost=frozenset().union(*(each.lost for each in moved)),
            gained=frozenset().union(*(each.gained for each in moved)),
        )


def compare_hosts(before: HostSnapshot, now: HostSnapshot, cpu_map: CPUMap) -> Drift:
    """Say what changed from *before* to *now*: two times of one host, or two hosts.

    Hypervisors that only *now* tells of are no drift: libvirt was not asked about them before.
    *cpu_map* is that of *now*.
    """
    pairs = _pairs(before, now)
    hypervisors = tuple(_compare_hypervisors(old, new, cpu_map) for old, new in pairs)
    return Drift(
        changes=(*_versions(before, now), *_host_words(before, now)),
        host=_host_features(before, now, cpu_map),
        hypervisors=tuple(each for each in hypervisors if not each.is_empty),
    )


def fitted(snapshot: HostSnapshot, cpu_map: CPUMap) -> tuple[HostSnapshot, frozenset[str]]:
    """Give *snapshot*, of a host with another CPU map, without features that *cpu_map* lacks.

    No guest here can name them. They are the second value.
    """
    unknown: set[str] = set()

    def fit(arch: Arch, known: CPUDef | None) -> CPUDef | None:
        if known is None or not _has_features(arch):
            return known
        fitting = known_features(cpu_map, arch, known)
        unknown.update(known.features.keys() - fitting.features.keys())
        return fitting

    fitting = snapshot._replace(
        host_cpu=fit(snapshot.arch, snapshot.host_cpu),
        hypervisors=tuple(
            each._replace(host_model=fit(each.arch, each.host_model))
            for each in snapshot.hypervisors
        ),
    )
    return fitting, frozenset(unknown)


def _has_features(arch: Arch) -> bool:
    try:
        return cpu.has_features(arch)
    except GuardError:
        return False


# -- versions


def _versions(before: HostSnapshot, now: HostSnapshot) -> list[Change]:
    pairs = [("libvirt", before.libvirt, now.libvirt), ("QEMU", before.qemu, now.qemu)]
    # snapshots of the first version do not have QEMU's
    changes = [Change(what, old, new) for what, old, new in pairs if old and new and old != new]
    for key, old in before.fingerprint.items():
        new = now.fingerprint.get(key, old)
        if old == new:
            continue
        words = _apart(old, new) if key in _VERSIONED else ("", "")
        changes.append(Change(_FINGERPRINT_WORDS.get(key, key), *words))
    return changes


def _apart(old: str, new: str) -> tuple[str, str]:
    """Shorten a kernel's release and version to the release where that tells them apart."""
    short = old.partition(" ")[0], new.partition(" ")[0]
    old, new = (old, new) if short[0] == short[1] else short
    return old or "unknown", new or "unknown"


# -- the host's CPU


def _host_words(before: HostSnapshot, now: HostSnapshot) -> list[Change]:
    """Give what else of the host's CPU a guest may depend on.

    Not its TSC frequency: the kernel measures it at each boot, a little differently.
    """
    old, new = before.host_cpu, now.host_cpu
    readers: Mapping[str, Callable[[CPUDef | None], str]] = {
        "host CPU": lambda known: "unknown" if known is None else known.model or "unknown",
        "host CPU's vendor": lambda known: "" if known is None else known.vendor or "",
        "physical address bits": _phys_bits,
    }
    changes = [Change("architecture", before.arch, now.arch)] if before.arch != now.arch else []
    changes += [
        Change(what, read(old), read(new))
        for what, read in readers.items()
        if read(old) != read(new) and (what == "host CPU" or (read(old) and read(new)))
    ]
    if before.arm is not None and now.arm is not None:
        old_size, new_size = str(before.arm.page_size), str(now.arm.page_size)
        changes += [Change("page size", old_size, new_size)] if old_size != new_size else []
    return changes


def _phys_bits(known: CPUDef | None) -> str:
    return "" if known is None or known.maxphysaddr is None else str(known.maxphysaddr.bits or "")


def _host_features(before: HostSnapshot, now: HostSnapshot, cpu_map: CPUMap) -> Moved:
    if before.arch != now.arch:
        return Moved()
    old, new = (_features_of_host(snapshot, cpu_map) for snapshot in (before, now))
    return Moved() if old is None or new is None else _moved(old, new)


def _features_of_host(snapshot: HostSnapshot, cpu_map: CPUMap) -> frozenset[str] | None:
    if snapshot.arm is not None:
        return _arm_features(snapshot.arm)
    if snapshot.host_cpu is None:
        return None
    try:
        return cpu.features(cpu_map, snapshot.arch, snapshot.host_cpu)
    except GuardError:
        return None


def _arm_features(host: ArmHost) -> frozenset[str]:
    return host.features


# -- hypervisors


def _pairs(before: HostSnapshot, now: HostSnapshot) -> list[tuple[Hypervisor, Hypervisor | None]]:
    """Pair each hypervisor that was with the one that stands for it now, None: it is gone.

    A default machine gets another name with each QEMU. A machine that nobody asked about again,
    since its guest is gone, is left out.
    """
    present = {hypervisor.key: hypervisor for hypervisor in now.hypervisors}
    had = {hypervisor.key for hypervisor in before.hypervisors}
    pairs: list[tuple[Hypervisor, Hypervisor | None]] = []
    for old in before.hypervisors:
        if old.key in present:
            pairs.append((old, present[old.key]))
            continue
        kin = [new for new in now.hypervisors if _kind(new.key) == _kind(old.key)]
        if not kin:
            pairs.append((old, _elsewhere(old, now.hypervisors)))
        elif successors := [new for new in kin if new.key not in had]:
            pairs.append((old, successors[0]))
    return pairs


def _kind(key: HypervisorKey) -> HypervisorKey:
    return key._replace(machine=None)


def _elsewhere(old: Hypervisor, hypervisors: Iterable[Hypervisor]) -> Hypervisor | None:
    """Find the hypervisor of the same kind whose emulator is another file."""
    kind = _kind(old.key)._replace(emulator=None)
    found = (new for new in hypervisors if _kind(new.key)._replace(emulator=None) == kind)
    return next(found, None)


def _compare_hypervisors(
    old: Hypervisor, new: Hypervisor | None, cpu_map: CPUMap
) -> HypervisorDrift:
    if new is None:
        return HypervisorDrift(key=old.key, is_gone=True)
    drift = HypervisorDrift(
        key=old.key,
        usable=_moved(_usable(old), _usable(new)),
        offered=_moved(old.models.keys(), new.models.keys()),
        modes=_moved(old.modes, new.modes),
    )
    if not _has_features(old.arch):
        return replace(drift, changes=_model_change(old, new))
    try:
        features = _moved(_gives(old, cpu_map), _gives(new, cpu_map))
    except GuardError as exc:
        return drift if old.host_model == new.host_model else replace(drift, problem=str(exc))
    return replace(drift, features=features)


def _usable(hypervisor: Hypervisor) -> frozenset[str]:
    models = hypervisor.models.items()
    return frozenset(name for name, model in models if model.usable is Usable.YES)


def _gives(hypervisor: Hypervisor, cpu_map: CPUMap) -> frozenset[str]:
    if hypervisor.host_model is None:
        return frozenset()
    return cpu.features(cpu_map, hypervisor.arch, hypervisor.host_model)


def _model_change(old: Hypervisor, new: Hypervisor) -> tuple[Change, ...]:
    names = [
        (known.host_model.model if known.host_model else None) or "none" for known in (old, new)
    ]
    return () if names[0] == names[1] else (Change("host-model", *names),)


def _moved(old: Iterable[str], new: Iterable[str]) -> Moved:
    before, now = frozenset(map(str, old)), frozenset(map(str, new))
    return Moved(lost=before - now, gained=now - before)
