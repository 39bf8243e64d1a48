"""The CPU driver for s390 and s390x: QEMU decides (spec cpu-other-arches, s390)."""

from __future__ import annotations

from types import MappingProxyType

from guardd.cpu.definition import CPUDef, FeaturePolicy, Match, Mode
from guardd.cpu.driver import CompareResult, Comparison, Driver, copy_model, is_relative
from guardd.errors import UnknownHost, UnsupportedPolicy


def compare(_map: None, _host: CPUDef, _cpu: CPUDef) -> Comparison:
    """Answer UNCHECKED, where libvirt says "identical" of anything: QEMU looks at the start."""
    return Comparison(CompareResult.UNCHECKED)


def update(_map: None, guest: CPUDef, host: CPUDef | None, _removed: FeaturePolicy) -> CPUDef:
    """Give *guest* the host's model and its own features on top, if its mode is host-model.

    Raises UnsupportedPolicy for match='minimum' or an optional feature, UnknownHost.
    """
    if not is_relative(guest):
        return guest
    if guest.mode is Mode.CUSTOM:
        if guest.match is Match.MINIMUM:
            raise UnsupportedPolicy(f"match mode {guest.match} not supported")
        raise UnsupportedPolicy("optional CPU features are not supported")
    if host is None:
        raise UnknownHost("unknown host CPU model")
    updated = copy_model(guest, host)
    return updated._replace(
        mode=Mode.CUSTOM,
        match=Match.EXACT,
        features=MappingProxyType({**updated.features, **guest.features}),
    )


def validate_features(_map: None, cpu: CPUDef) -> None:
    """Raise UnsupportedPolicy for the first optional feature of *cpu*."""
    for name, policy in cpu.features.items():
        if policy is FeaturePolicy.OPTIONAL:
            raise UnsupportedPolicy(
                "only cpu feature policies 'require' and 'disable' are supported for " + name
            )


def vendor_for_model(_map: None, name: str) -> str | None:
    """Give IBM for its machines' names, z13 or gen15a, as libvirt 11.3.0 does."""
    return "IBM" if name.startswith(("z", "gen")) else None


DRIVER: Driver[None, None] = Driver(
    name="s390",
    load=lambda _read: None,  # no part of the CPU map is for it
    compare=compare,
    update=update,
    validate_features=validate_features,
    vendor_for_model=vendor_for_model,
)
