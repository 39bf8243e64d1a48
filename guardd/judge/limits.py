"""The rules of what is no feature: physical address bits and the time stamp counter of x86."""

from __future__ import annotations

from guardd import cpu
from guardd.cpu.definition import TSC, FeaturePolicy, PhysAddrMode
from guardd.judge.birth import NOT_MIGRATABLE, OPEN_MODES, open_features, phys_bits
from guardd.judge.case import Case
from guardd.judge.finding import Code, Finding, Operation

# libvirt's own tolerance, of the host's frequency (seen with libvirt 9.0.0: "outside tolerance
# range ([2595478968, 2596777032] Hz) around host frequency 2596128000 Hz")
TOLERANCE_PPM = 250

_HINT_BITS = "use a host that has as many, or <maxphysaddr mode='emulate' bits='N'/> with fewer"
_HINT_TSC = "use a host whose counter runs at that frequency, or can be scaled"
_HINT_INVTSC = (
    "give <timer name='tsc' frequency='HZ'/> in <clock> with the frequency of `virsh capabilities`,"
    " or set policy='disable' for invtsc"
)


def judge_limits(case: Case) -> list[Finding]:
    """Find what the definition itself fixes and this host does not have."""
    return [*_judge_fixed_bits(case), *_judge_fixed_tsc(case), *_judge_invtsc(case)]


def judge_seen_limits(case: Case) -> list[Finding]:
    """Find what the guest has seen since it booted, by its stamp, and this host does not have."""
    return [*_judge_seen_bits(case), *_judge_seen_tsc(case)]


def _judge_fixed_bits(case: Case) -> list[Finding]:
    """libvirt refuses more bits than the host has under KVM and TCG alike (seen with 9.0.0)."""
    wanted, here = case.asked.maxphysaddr, _host_bits(case)
    if wanted is None or wanted.mode is not PhysAddrMode.EMULATE:
        return []
    if wanted.bits is None or here is None or wanted.bits <= here:
        return []
    return [_bits(wanted.bits, f"the definition asks for {wanted.bits}, this host has {here}")]


def _judge_seen_bits(case: Case) -> list[Finding]:
    wanted, stamp, host = case.asked.maxphysaddr, case.stamp, case.snapshot.host_cpu
    if stamp is None or stamp.phys_bits is None or not case.is_native:
        return []
    if wanted is not None and wanted.mode is PhysAddrMode.EMULATE:
        return []  # it has what it asks for
    here = phys_bits(case.asked, host)
    if here is None or stamp.phys_bits <= here:
        return []
    return [
        _bits(stamp.phys_bits, f"the guest has seen {stamp.phys_bits}, here it would see {here}")
    ]


def _bits(wanted: int, sentence: str) -> Finding:
    return Finding(Code.PHYS_BITS, str(wanted), f"physical address bits: {sentence}", _HINT_BITS)


def _host_bits(case: Case) -> int | None:
    host = case.snapshot.host_cpu
    if host is None or not cpu.same_family(case.snapshot.arch, case.guest.arch):
        return None
    return None if host.maxphysaddr is None else host.maxphysaddr.bits


def _judge_fixed_tsc(case: Case) -> list[Finding]:
    wanted, tsc = case.guest.tsc_frequency, _host_tsc(case)
    if wanted is None or tsc is None or _can_run(tsc, wanted):
        return []
    return [_tsc(Code.TSC_FREQUENCY, wanted, tsc, "the definition asks for")]


def _judge_seen_tsc(case: Case) -> list[Finding]:
    stamp, tsc = case.stamp, _host_tsc(case)
    if stamp is None or stamp.tsc is None or tsc is None or case.guest.tsc_frequency is not None:
        return []
    if _can_run(tsc, stamp.tsc):
        return []
    is_promised = not NOT_MIGRATABLE.isdisjoint(stamp.features)
    code = Code.TSC_FREQUENCY if is_promised else Code.TSC_CHANGE
    return [_tsc(code, stamp.tsc, tsc, "the guest booted with")]


def _can_run(tsc: TSC, frequency: int) -> bool:
    """Whether a guest's counter can run at *frequency*, or nothing tells that it cannot."""
    is_near = abs(tsc.frequency - frequency) <= tsc.frequency * TOLERANCE_PPM // 10**6
    return is_near or tsc.scaling is not False


def _tsc(code: Code, wanted: int, tsc: TSC, what: str) -> Finding:
    sentence = (
        f"time stamp counter: {what} {wanted} Hz, this host's runs at {tsc.frequency} Hz and"
        " cannot be scaled"
    )
    return Finding(code, f"{wanted} Hz", sentence, _HINT_TSC)


def _host_tsc(case: Case) -> TSC | None:
    host = case.snapshot.host_cpu
    return host.tsc if case.is_native and host is not None else None


def _judge_invtsc(case: Case) -> list[Finding]:
    """Source: libvirt's source side refuses to migrate it (spec cpu-x86, 8.5), QEMU to save it."""
    is_start = case.operation is Operation.PREPARE and case.arrives is not True
    if not is_start or not case.is_native or case.guest.tsc_frequency is not None:
        return []
    if not cpu.has_features(case.guest.arch):
        return []
    has = case.asked.named(FeaturePolicy.FORCE, FeaturePolicy.REQUIRE)
    if case.asked.mode in OPEN_MODES:
        has = open_features(case.cpu_map, case.guest, case.asked, case.snapshot, case.reference)
    return [
        Finding(
            Code.INVTSC,
            name,
            f"the guest has {name} and no fixed TSC frequency: it can never migrate or be saved",
            _HINT_INVTSC,
        )
        for name in sorted(NOT_MIGRATABLE & has)
    ]
