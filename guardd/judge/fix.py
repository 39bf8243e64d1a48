"""The smallest change to a guest's <cpu> with which the hosts that refuse it would take it.

A change is an edit to the definition, for its next boot. Each edit answers a finding, so that what
is proposed is never more than what was complained of; then the guest is judged anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import (
    Arch,
    Check,
    CPUDef,
    FeaturePolicy,
    Match,
    MaxPhysAddr,
    Mode,
    PhysAddrMode,
)
from guardd.cpu.families import PPC64
from guardd.cpu.ppc64.compat import GENERATIONS
from guardd.cpu.x86.meaning import Meaning, meaning_of
from guardd.errors import GuardError, NoFix
from guardd.facts.domain import Guest
from guardd.judge.finding import Code, Enforcement, Finding, Verdict

MAX_ROUNDS = 12  # a finding may uncover the next; more in a row than this is a circle
MODELS_TRIED = 6

Judges = Callable[[Guest], Sequence[Verdict]]

_TO_DISABLE = frozenset(
    {
        Code.MISSING_FEATURE,
        Code.ABOVE_CEILING,
        Code.OUTSIDE_POOL,
        Code.LOST_FEATURE,
        Code.INVTSC,
        Code.SILENT_DOWNGRADE,
    }
)
_ANOTHER_MODEL = frozenset({Code.UNKNOWN_MODEL, Code.UNSUPPORTED_MODEL, Code.MODEL_MISMATCH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """A definition that every host takes: its CPU (None: no <cpu> at all), what was done to it.

    `lost` names the features that the guest asked for and has no more; `mitigations` those of them
    that guard against attacks.
    """

    cpu: CPUDef | None
    steps: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def mitigations(self) -> tuple[str, ...]:
        """Name the lost features that security depends on."""
        guards = {Meaning.MITIGATION, Meaning.PROTECTION}
        return tuple(name for name in self.lost if meaning_of(name) in guards)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A definition on its way: the CPU, and the steps that led to it."""

    cpu: CPUDef | None
    steps: tuple[str, ...] = ()

    def then(self, changed: CPUDef | None, step: str) -> _Draft:
        return _Draft(changed, (*self.steps, step))


def fix_guest(guest: Guest, judges: Judges, cpu_map: CPUMap, models: Iterable[str]) -> Fix:
    """Find the smallest change to the CPU of *guest* that makes every verdict of *judges* a yes.

    *judges* gives one verdict for each host, as for a start. *models* are the names that all of the
    hosts offer. The fewest edits and features lost win; where two ways cost the same, the one that
    keeps the model. Raises NoFix where no change of the <cpu> helps, and says what stands in the
    way.
    """
    first = judges(guest)
    if not any(verdict.refused for verdict in first):
        return Fix(cpu=guest.cpu)
    wanted = _features(cpu_map, guest.arch, guest.cpu)
    ways = list(_ways(guest, judges, cpu_map, tuple(models), wanted))
    if not ways:
        raise _no_fix(first)
    return min(ways, key=lambda fix: len(fix.steps) + len(fix.lost))


def _ways(
    guest: Guest, judges: Judges, cpu_map: CPUMap, models: Sequence[str], wanted: frozenset[str]
) -> Iterator[Fix]:
    drafts = [_Draft(guest.cpu), *_with_other_models(guest, cpu_map, models, wanted)]
    for draft in drafts:
        found = _settle(guest, draft, judges)
        if found is not None:
            has = _features(cpu_map, guest.arch, found.cpu)
            yield Fix(cpu=found.cpu, steps=found.steps, lost=tuple(sorted(wanted - has)))


def _settle(guest: Guest, draft: _Draft, judges: Judges) -> _Draft | None:
    """Answer findings with edits until there are none; None where one has no answer."""
    for _ in range(MAX_ROUNDS):
        changed = guest._replace(cpu=draft.cpu)
        refusing = [verdict for verdict in judges(changed) if verdict.refused]
        if not refusing:
            return draft
        before = draft
        for finding in (f for verdict in refusing for f in verdict.findings):
            if finding.mode is Enforcement.ENFORCE and not finding.code.is_doubt:
                draft = _answer(draft, finding, guest.arch)
        if draft.cpu == before.cpu:
            return None
    return None


def _answer(draft: _Draft, finding: Finding, arch: Arch) -> _Draft:
    """Give *draft* with the edit that *finding* asks for, or as it is where there is none."""
    asked, name = draft.cpu, finding.subject
    if asked is None:
        return draft
    match finding.code:
        case code if code in _TO_DISABLE and cpu.has_features(arch):
            return _with_policy(draft, name, FeaturePolicy.DISABLE, f"disable {name}")
        case Code.FORBIDDEN_FEATURE:
            step = f"disable {name} in place of forbidding it"
            return _with_policy(draft, name, FeaturePolicy.DISABLE, step)
        case Code.UNKNOWN_FEATURE if name in asked.features:
            kept = {n: policy for n, policy in asked.features.items() if n != name}
            changed = asked._replace(features=MappingProxyType(kept))
            return draft.then(changed, f"name {name} no more")
        case Code.EXTRA_FEATURE if asked.match is Match.STRICT:
            return draft.then(asked._replace(match=Match.EXACT), "match='exact' for 'strict'")
        case Code.VENDOR_MISMATCH if asked.vendor is not None:
            return draft.then(asked._replace(vendor=None), f"remove <vendor> {asked.vendor}")
        case Code.PHYS_BITS if name.isascii() and name.isdigit():
            width = MaxPhysAddr(mode=PhysAddrMode.EMULATE, bits=int(name))
            return draft.then(asked._replace(maxphysaddr=width), f"{name} physical address bits")
        case _:
            return draft


def _with_policy(draft: _Draft, name: str, policy: FeaturePolicy, step: str) -> _Draft:
    asked = draft.cpu
    if asked is None or asked.features.get(name) is policy:
        return draft
    features: Mapping[str, FeaturePolicy | None] = {**asked.features, name: policy}
    return draft.then(asked._replace(features=MappingProxyType(features)), step)


def _with_other_models(
    guest: Guest, cpu_map: CPUMap, models: Sequence[str], wanted: frozenset[str]
) -> Iterator[_Draft]:
    """Give definitions to begin anew from, those nearest to the guest's first."""
    asked = guest.cpu
    if asked is None:
        return
    if asked.mode is Mode.HOST_PASSTHROUGH:
        step = "mode='maximum' for 'host-passthrough'"
        yield _Draft(asked._replace(mode=Mode.MAXIMUM), (step,))
    if guest.arch in PPC64:
        yield from _with_compat_modes(asked)
    for model in _nearest(guest.arch, cpu_map, models, wanted, asked):
        replaced = asked.model or f"mode '{asked.mode}'"
        step = f"use model {model} in place of {replaced}"
        yield _Draft(_of_model(asked, model, cpu_map, guest.arch), (step,))
    yield _Draft(None, ("remove <cpu>: QEMU's default CPU",))


def _with_compat_modes(asked: CPUDef) -> Iterator[_Draft]:
    for generation in reversed(GENERATIONS):
        changed = CPUDef(mode=Mode.HOST_MODEL, model=f"power{generation}", topology=asked.topology)
        yield _Draft(changed, (f"use mode='host-model' with model power{generation}",))


def _nearest(
    arch: Arch, cpu_map: CPUMap, models: Sequence[str], wanted: frozenset[str], asked: CPUDef
) -> list[str]:
    """Name the models that lose least of what the guest wants, then have least beyond it.

    Where what it wants is not known, those that have most.
    """
    if not cpu.has_features(arch):
        return [model for model in models if model != asked.model]
    ranked = []
    for model in models:
        has = _features(cpu_map, arch, CPUDef(model=model))
        if model != asked.model and has:
            beyond = len(has - wanted) if wanted else -len(has)
            ranked.append((len(wanted - has), beyond, model))
    return [model for _, _, model in sorted(ranked)[:MODELS_TRIED]]


def _of_model(asked: CPUDef, model: str, cpu_map: CPUMap, arch: Arch) -> CPUDef:
    """Give *asked* with another model, and of its features those that still say something."""
    has = _features(cpu_map, arch, CPUDef(model=model))
    off = (FeaturePolicy.DISABLE, FeaturePolicy.FORBID)
    features = {
        name: policy
        for name, policy in asked.features.items()
        if (name in has) is (policy in off) or policy is FeaturePolicy.FORBID
    }
    mode_of_its_own = asked.mode is Mode.CUSTOM
    return asked._replace(
        mode=Mode.CUSTOM,
        model=model,
        vendor=None,
        check=asked.check if mode_of_its_own else Check.PARTIAL,
        migratable=None,
        features=MappingProxyType(features),
    )


def _features(cpu_map: CPUMap, arch: Arch, asked: CPUDef | None) -> frozenset[str]:
    """Name what a definition asks for by itself; nothing where that is the host's to say."""
    if asked is None or not cpu.has_features(arch):
        return frozenset()
    named = asked.named(FeaturePolicy.FORCE, FeaturePolicy.REQUIRE)
    if asked.mode is not Mode.CUSTOM or asked.model is None:
        return named
    try:
        return cpu.features(cpu_map, arch, asked)
    except GuardError:
        return named


def _no_fix(verdicts: Sequence[Verdict]) -> NoFix:
    refusing = [verdict for verdict in verdicts if verdict.refused]
    reasons = dict.fromkeys(f.sentence for verdict in refusing for f in verdict.findings)
    return NoFix(
        f"no change of its <cpu> would help: {'; '.join(reasons)}",
        hint="see `cpu-guardctl explain` and `cpu-guardctl host`",
    )
