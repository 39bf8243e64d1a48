"""The rule that a guest may only start with a CPU that every host of the pool can give.

What is known of those hosts are their snapshots. A guest is judged once, when it starts: later it
has what it has, and the host that is to take it judges it.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from guardd import cpu
from guardd.cpu.arm.host import compare_hosts
from guardd.cpu.definition import Arch, CPUDef, FeaturePolicy, Mode
from guardd.cpu.driver import CompareResult
from guardd.cpu.families import PPC64
from guardd.errors import GuardError
from guardd.facts.domcaps import Hypervisor, HypervisorKey
from guardd.facts.foreign import known_features
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.birth import OPEN_MODES, phys_bits
from guardd.judge.case import Case
from guardd.judge.compatibility import IGNORED_BY_LIBVIRT
from guardd.judge.finding import Code, Finding, Operation
from guardd.judge.generation import guest_generation, model_generation
from guardd.judge.in_force import features_in_force
from guardd.judge.reference import (
    ONLY_BY_NAME,
    build_reference,
    find_hypervisor,
    usable_features,
)
from guardd.judge.stage import Stage

HOSTS_SHOWN = 5  # in a sentence; the rest is counted

_HINT = (
    "use a CPU that all hosts of the pool have, as `cpu-guardctl baseline` computes it, or take the"
    " host out of /etc/cpu-guardd/pool.d"
)


def judge_pool(case: Case) -> list[Finding]:
    """Find what a guest that starts here would have and another host of the pool has not."""
    others = [host for host in case.policy.pool if host.hostname != case.snapshot.hostname]
    if not others or not _starts(case):
        return []
    lacking: dict[str, list[str]] = {}
    doubts = []
    for host in others:
        try:
            for subject in _lacks(case, host):
                lacking.setdefault(subject, []).append(host.hostname)
        except GuardError as exc:
            sentence = f"what pool host {host.hostname} can give is not known: {exc}"
            doubts.append(Finding(Code.UNCHECKED, host.hostname, sentence, exc.hint))
    findings = [
        Finding(Code.OUTSIDE_POOL, subject, f"{subject}: not on pool {_hosts(names)}", _HINT)
        for subject, names in lacking.items()
    ]
    return findings + doubts


def _starts(case: Case) -> bool:
    """Whether the guest starts from nothing; what arrives or is in force already has its CPU."""
    if case.operation is not Operation.PREPARE or case.arrives is True:
        return False
    if case.asked.mode in OPEN_MODES:
        return case.arrives is False and case.stamp is None
    return case.stage is Stage.WRITTEN


def _lacks(case: Case, host: HostSnapshot) -> Iterator[str]:
    """Name what the guest would have here and *host* has not, one kind after the other."""
    guest, mode = case.guest, case.asked.mode or Mode.CUSTOM
    key = HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)
    found = find_hypervisor(host, key)
    if found is None:
        yield f"{guest.virt_type} guests of {guest.arch}"
        return
    there = found[0]
    if mode not in there.modes:
        yield f"mode {mode}"
        return
    model = case.asked.model or ""
    is_named = mode is Mode.CUSTOM and model in case.reference.hypervisor.models
    if is_named and there.models and model not in there.models:
        yield f"model {model}"
    if cpu.has_features(guest.arch):
        yield from _lacks_of_x86(case, host, there)
    elif case.is_native and guest.arch in PPC64:
        yield from _lacks_of_power(case, host)
    elif case.is_native and guest.arch is Arch.AARCH64 and mode in OPEN_MODES:
        yield from _lacks_of_arm(case, host)


def _lacks_of_x86(case: Case, host: HostSnapshot, there: Hypervisor) -> Iterator[str]:
    own, other = case.snapshot.host_cpu, host.host_cpu
    if case.is_native and own is not None and other is not None:
        if own.vendor and other.vendor and own.vendor != other.vendor:
            yield f"vendor {own.vendor}"
        bits = phys_bits(case.asked, own)
        here = None if other.maxphysaddr is None else other.maxphysaddr.bits
        if bits is not None and here is not None and bits > here:
            yield f"{bits} physical address bits"
    if there.host_model is None:
        return  # libvirt tells nothing of what it gives
    arch = case.guest.arch
    there = there._replace(host_model=known_features(case.cpu_map, arch, there.host_model))
    reference = build_reference(case.cpu_map, host, there, exact=True)
    wanted = features_in_force(case) - IGNORED_BY_LIBVIRT - ONLY_BY_NAME
    missing = wanted - reference.gives
    if missing:
        whole = CPUDef(features=MappingProxyType(dict.fromkeys(wanted, FeaturePolicy.REQUIRE)))
        missing -= cpu.hidden_features(case.cpu_map, arch, whole)
        missing -= usable_features(case.cpu_map, reference, arch)
    yield from sorted(missing)


def _lacks_of_power(case: Case, host: HostSnapshot) -> Iterator[str]:
    if host.host_cpu is None or host.host_cpu.model is None:
        return
    arch, asked = case.guest.arch, case.asked
    if asked.model is not None:
        compared = cpu.compare(case.cpu_map, arch, host.host_cpu, asked)
        if compared.result is CompareResult.INCOMPATIBLE:
            yield from compared.subjects
        return
    name, generation = guest_generation(case)
    there = model_generation(host.host_cpu.model)
    if generation is not None and there is not None and generation > there:
        yield name


def _lacks_of_arm(case: Case, host: HostSnapshot) -> Iterator[str]:
    if case.snapshot.arm is None or host.arm is None:
        return
    compared = compare_hosts(host.arm, case.snapshot.arm)
    if compared.result is CompareResult.INCOMPATIBLE:
        yield from compared.subjects


def _hosts(names: list[str]) -> str:
    first = ", ".join(names[:HOSTS_SHOWN])
    rest = len(names) - HOSTS_SHOWN
    return f"{'host' if len(names) == 1 else 'hosts'} {first}" + (f" (+{rest})" if rest > 0 else "")
