"""What a guest will really see: what it asks for, less what QEMU here would drop."""

from __future__ import annotations

from guardd import cpu
from guardd.cpu.definition import Check, FeaturePolicy, Match, Mode
from guardd.judge.birth import OPEN_MODES, open_features
from guardd.judge.case import Case
from guardd.judge.reference import ONLY_BY_NAME, model_gives
from guardd.judge.stage import Stage, check_in_effect


def features_in_force(case: Case) -> frozenset[str]:
    """Name the features that the guest will have here, as far as its definition tells.

    Raises what `cpu.features` raises.
    """
    asked, gives, arch = case.asked, case.reference.gives, case.guest.arch
    if asked.mode in OPEN_MODES:
        return open_features(case.cpu_map, case.guest, asked, case.snapshot, case.reference)
    on = asked.named(FeaturePolicy.FORCE, FeaturePolicy.REQUIRE)
    if case.stage is Stage.ARRIVING:
        # what libvirt compared at the guest's start it has; of the rest QEMU may have dropped some
        return on if check_in_effect(case.guest, asked) is not Check.NONE else frozenset()
    if case.stage is Stage.IN_FORCE:
        return cpu.features(case.cpu_map, arch, asked)
    optional = asked.named(FeaturePolicy.OPTIONAL) & gives
    if asked.mode is Mode.HOST_MODEL or asked.match is Match.MINIMUM:
        off = asked.named(FeaturePolicy.DISABLE, FeaturePolicy.FORBID)
        migratable = gives - cpu.non_migratable(case.cpu_map, arch)
        return (migratable | on | optional) - off
    can_have = gives | ONLY_BY_NAME
    if asked.model is not None:
        can_have |= model_gives(case.cpu_map, case.reference, arch, asked.model)
    return (cpu.features(case.cpu_map, arch, asked) & can_have) | optional
