"""A guest's x86 CPU, updated by the host's or by what QEMU gave (spec cpu-x86, 6.3 and 6.4)."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import NamedTuple

from guardd.cpu.definition import Check, CPUDef, FeaturePolicy, Match, Mode
from guardd.cpu.driver import LiveData, copy_model, is_relative
from guardd.cpu.x86.compare import all_bits
from guardd.cpu.x86.data import CPUData
from guardd.cpu.x86.map import Feature, X86Map
from guardd.errors import InvalidCPUData, NoModel, SpecificationMismatch, UnknownHost

Features = dict[str, FeaturePolicy | None]


def update(x86: X86Map, guest: CPUDef, host: CPUDef | None, removed: FeaturePolicy) -> CPUDef:
    """Give *guest* with all that depends on *host* written out, and its model's removed features.

    *removed* is the policy for features that QEMU took out of the model and *guest* does not
    mention. Raises UnknownHost, NoModel, UnknownModel or UnknownFeature.
    """
    if is_relative(guest):
        if host is None:
            raise UnknownHost("unknown host CPU model")
        guest = _update_from_host(x86, guest, host)
    if guest.model is None:
        raise NoModel("no CPU model specified")
    features = dict(guest.features)
    _add_removed(features, x86.model(guest.model).removed, removed)
    return guest._replace(features=MappingProxyType(features))


def _update_from_host(x86: X86Map, guest: CPUDef, host: CPUDef) -> CPUDef:
    given = all_bits(x86, host)
    own: Features = {}
    for name, policy in guest.features.items():
        own[name] = policy
        if policy is FeaturePolicy.OPTIONAL:
            has = x86.any_feature(name).bits & ~given == 0
            own[name] = FeaturePolicy.REQUIRE if has else FeaturePolicy.DISABLE
    if guest.mode is not Mode.HOST_MODEL and guest.match is not Match.MINIMUM:
        return guest._replace(features=own)

    updated = copy_model(guest, host)
    is_host_model = guest.mode is Mode.HOST_MODEL
    return updated._replace(
        mode=Mode.CUSTOM,
        match=Match.EXACT,
        vendor=host.vendor if is_host_model else guest.vendor,
        vendor_id=(guest.vendor_id or host.vendor_id) if is_host_model else guest.vendor_id,
        features={**updated.features, **own},
    )


def _add_removed(features: Features, removed: Iterable[str], policy: FeaturePolicy) -> None:
    for name in removed:
        features.setdefault(name, policy)


def update_live(x86: X86Map, cpu: CPUDef, live: LiveData[CPUData]) -> CPUDef | None:
    """Give *cpu* as QEMU really made it; None: libvirt leaves such a definition alone.

    Raises SpecificationMismatch under check='full' when QEMU gave anything else,
    InvalidCPUData, UnknownModel or UnknownFeature.
    """
    if cpu.mode is not Mode.CUSTOM and cpu.check is not Check.FULL:
        return None
    enabled, disabled = x86.bits(live.enabled), x86.bits(live.disabled)
    wanted = _Wanted.of(x86, cpu)
    features = dict(cpu.features)
    extra, missing = [], []
    for feature in x86.features.values():
        is_on, is_off = _has(enabled, feature), _has(disabled, feature)
        if is_on and is_off and not live.may_conflict:
            raise InvalidCPUData(
                "hypervisor provided conflicting CPU data: "
                f"feature '{feature.name}' is both enabled and disabled at the same time"
            )
        policy = wanted.policy(feature)
        must_match = cpu.check is Check.FULL and not wanted.may_differ(feature)
        if policy is FeaturePolicy.DISABLE and is_on:
            if must_match:
                extra.append(feature.name)
            else:
                features[feature.name] = FeaturePolicy.REQUIRE
        if is_off or (policy is FeaturePolicy.REQUIRE and not is_on):
            if must_match:
                missing.append(feature.name)
            else:
                features[feature.name] = FeaturePolicy.DISABLE
    is_unknown_off = cpu.check is Check.FULL and _has_unknown(x86, live.disabled)
    if extra or missing or is_unknown_off:
        raise SpecificationMismatch(tuple(extra), tuple(missing))
    _add_removed(features, wanted.removed, FeaturePolicy.DISABLE)
    return cpu._replace(features=MappingProxyType(features))


class _Wanted(NamedTuple):
    """What a definition says of each feature; `by_default`: of those it does not mention."""

    given: int
    disabled: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    by_default: FeaturePolicy | None

    @classmethod
    def of(cls, x86: X86Map, cpu: CPUDef) -> _Wanted:
        given = all_bits(x86, cpu)
        model = None if cpu.model is None else x86.model(cpu.model)
        disabled = 0
        for name, policy in cpu.features.items():
            if policy is FeaturePolicy.DISABLE:
                disabled |= x86.feature(name).bits
        is_complete = cpu.mode in (Mode.CUSTOM, Mode.HOST_MODEL)
        return cls(
            given=given,
            disabled=disabled,
            added=model.added if model else (),
            removed=model.removed if model else (),
            by_default=FeaturePolicy.DISABLE if is_complete else None,
        )

    def policy(self, feature: Feature) -> FeaturePolicy | None:
        if _has(self.given, feature):
            return FeaturePolicy.REQUIRE
        return FeaturePolicy.DISABLE if _has(self.disabled, feature) else self.by_default

    def may_differ(self, feature: Feature) -> bool:
        # QEMU may put it into the model, whatever libvirt asks for
        is_mentioned = _has(self.given, feature) or _has(self.disabled, feature)
        return feature.name in self.added and not is_mentioned


def _has(bits: int, feature: Feature) -> bool:
    return feature.bits & bits == feature.bits


def _has_unknown(x86: X86Map, data: CPUData) -> bool:
    """Whether *data* has bits that belong to no feature of the map."""
    bits = x86.bits(data)
    known = x86.union(x86.names(bits))
    return bits != known or any(register not in x86.positions for register in data.registers)
