"""From x86 CPU data to the model that fits best (spec cpu-x86, section 5)."""

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import NamedTuple

from guardd.cpu.attributes import UINT_MAX
from guardd.cpu.definition import CPUDef, CPUType, Fallback, FeaturePolicy, Signature
from guardd.cpu.driver import NO_LIMITS, Limits
from guardd.cpu.x86.data import SIGNATURE, CPUData, decode_signature
from guardd.cpu.x86.map import Model, X86Map
from guardd.errors import NoSuitableModel, UnsupportedModel

Features = dict[str, FeaturePolicy | None]

# the bits of leaf 1 EAX that are not reserved
SIGNATURE_MASK = 0x0FFF3FFF

# Haswells whose transactional memory is broken; stepping 4 of model 63 mended it
_TSX = ("hle", "rtm")
_NO_TSX_MODELS = frozenset({60, 69, 70})
_HASWELL_EP = 63
_HASWELL_EP_MENDED = 4
_P6_FAMILY = 6


class Candidate(NamedTuple):
    """A model and the features that turn it into the CPU that is decoded.

    `size` counts the features, `penalty` what the disabled ones cost; less is better.
    """

    model: Model
    features: Features
    size: int
    penalty: int


def decode(x86: X86Map, stub: CPUDef, data: CPUData, limits: Limits = NO_LIMITS) -> CPUDef:
    """Give *stub* with the model, features, vendor and signature of *data*.

    Raises NoSuitableModel, and UnsupportedModel when the one preferred model is not offered and
    *stub* forbids a fallback.
    """
    return decode_bits(x86, stub, x86.bits(data), limits)


def decode_bits(x86: X86Map, stub: CPUDef, bits: int, limits: Limits = NO_LIMITS) -> CPUDef:
    """Do what `decode` does, from the bits of *x86* that stand for the data."""
    vendor = x86.vendor(bits)
    if vendor is not None:
        bits &= ~vendor.bits
    eax = bits >> x86.positions[SIGNATURE] & UINT_MAX & SIGNATURE_MASK
    signature = decode_signature(eax)
    if vendor is not None and vendor.name == "Intel" and _has_broken_tsx(signature):
        bits &= ~x86.union(_TSX)

    best: Candidate | None = None
    for model in _offered(x86, stub, limits):
        if vendor is not None and model.vendor not in (None, vendor.name):
            continue
        candidate = _candidate(x86, stub.type, model, bits, (limits.models or {}).get(model.name))
        if candidate is None:
            continue
        is_chosen = limits.preferred == (model.name,)
        known = signature if eax else None
        if is_chosen or best is None or _is_better(candidate, best, known, limits.preferred):
            best = candidate
        if is_chosen:
            break
    if best is None:
        raise NoSuitableModel("Cannot find suitable CPU model for given data")
    if limits.migratable:
        for name in [n for n in best.features if not x86.features[n].migratable]:
            del best.features[name]
    return stub._replace(
        model=best.model.name,
        vendor=stub.vendor if vendor is None else vendor.name,
        signature=signature if signature.family else None,
        features=MappingProxyType(best.features),
    )


def _has_broken_tsx(signature: Signature) -> bool:
    if signature.family != _P6_FAMILY:
        return False
    if signature.model == _HASWELL_EP:
        return signature.stepping < _HASWELL_EP_MENDED
    return signature.model in _NO_TSX_MODELS


def _offered(x86: X86Map, stub: CPUDef, limits: Limits) -> Iterable[Model]:
    """Give the models that the hypervisor has, the map's last first."""
    for model in reversed(x86.models.values()):
        if limits.models is None or model.name in limits.models:
            yield model
        elif limits.preferred == (model.name,) and stub.fallback is not Fallback.ALLOW:
            raise UnsupportedModel(f"CPU model {model.name} is not supported by hypervisor")


def _candidate(
    x86: X86Map, cpu_type: CPUType, model: Model, bits: int, blockers: Iterable[str] | None
) -> Candidate | None:
    """Say how *model* becomes a CPU with *bits*; None: it must not, or the host lacks some."""
    if not (model.decode_host if cpu_type is CPUType.HOST else model.decode_guest):
        return None
    extra = bits & ~model.bits
    missing = model.bits & ~bits
    for name in blockers or ():
        blocker = x86.features.get(name)
        if blocker is not None and extra & blocker.bits != blocker.bits:
            missing |= blocker.bits
    required, disabled = x86.take(extra), x86.take(missing)
    if cpu_type is CPUType.HOST:
        if disabled:
            return None
        return Candidate(model, dict.fromkeys(required), len(required), 0)
    features: Features = dict.fromkeys(required, FeaturePolicy.REQUIRE)
    features |= dict.fromkeys(disabled, FeaturePolicy.DISABLE)
    for name in model.removed:
        features.setdefault(name, FeaturePolicy.DISABLE)
    return Candidate(model, features, *_size(len(required), len(features) - len(required)))


def _size(required: int, disabled: int) -> tuple[int, int]:
    """Give size and penalty (section 5.3).

    libvirt lets each disabled feature cost more than the one before, 2, 3, 4, ..., but its loop
    ends after the first half of them; the others count 1 as if they were required.
    """
    seen = (disabled + 1) // 2
    penalty = seen * (seen + 3) // 2
    return required + disabled - seen + penalty, penalty


def _is_better(
    candidate: Candidate, best: Candidate, signature: Signature | None, preferred: Sequence[str]
) -> bool:
    """Whether *candidate* takes the place of *best*; on a tie it does not (section 5.2)."""
    if signature is not None:
        fits, best_fits = (
            any(known.matches(signature) for known in each.model.signatures)
            for each in (candidate, best)
        )
        if fits != best_fits:
            return fits
    if (candidate.size, candidate.penalty) < (best.size, best.penalty):
        return True
    return candidate.model.name in preferred and candidate.penalty < best.penalty
