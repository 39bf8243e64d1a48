"""What libvirt accepts is not refused: its rule, written here a second time in words of sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardd.cpu import CPUMap, compat_check, features, models
from guardd.cpu.definition import (
    Arch,
    Check,
    CPUDef,
    Fallback,
    FeaturePolicy,
    Match,
    Mode,
)
from guardd.cpu.xml import format_cpu
from guardd.facts.domcaps import Hypervisor, Usable
from guardd.facts.snapshot import HostSnapshot
from tests.judge.table import HASWELL, HASWELL_11, OLD_MAP, OWN_MAP, domain, judged
from tests.recordings import recorded_host

REQUIRE, OPTIONAL, DISABLE = FeaturePolicy.REQUIRE, FeaturePolicy.OPTIONAL, FeaturePolicy.DISABLE
FORCE, FORBID = FeaturePolicy.FORCE, FeaturePolicy.FORBID


@dataclass(frozen=True)
class Side:
    """A recorded host with its CPU map, for KVM guests of x86_64."""

    snapshot: HostSnapshot
    cpu_map: CPUMap

    @property
    def kvm(self) -> Hypervisor:
        """What KVM gives there."""
        (found,) = [
            h for h in self.snapshot.hypervisors if (h.virt_type, h.arch) == ("kvm", Arch.X86_64)
        ]
        return found

    @property
    def is_libvirt_11(self) -> bool:
        """Whether it tells what blocks a model."""
        return any(m.usable is Usable.NO and m.blockers for m in self.kvm.models.values())

    def of_model(self, model: str | None) -> frozenset[str]:
        """Name a model's features."""
        if model is None:
            return frozenset()
        return features(self.cpu_map, Arch.X86_64, CPUDef(model=model))

    @property
    def given(self) -> frozenset[str]:
        """Name what the hypervisor reports, its model expanded."""
        model = self.kvm.host_model
        assert model is not None
        off = {name for name, policy in model.features.items() if policy is DISABLE}
        return (self.of_model(model.model) | set(model.features)) - off

    @property
    def listed(self) -> frozenset[str]:
        """Name what the CPU that libvirt compares with lists besides its model."""
        assert self.snapshot.host_cpu is not None
        return frozenset(self.snapshot.host_cpu.features) | self.given

    def accepts(self, asked: CPUDef) -> bool:
        """Say what libvirt does at a start with check='partial'."""
        by_policy = {
            policy: {name for name, p in asked.features.items() if p is policy}
            for policy in FeaturePolicy
        }
        if by_policy[FORBID] & self.listed:
            return False
        if asked.mode not in (Mode.CUSTOM, Mode.HOST_MODEL):
            return True
        known = self.kvm.models.get(asked.model or "")
        if asked.mode is Mode.CUSTOM and known is None and asked.fallback is Fallback.FORBID:
            return False
        if self.is_libvirt_11 and known is not None and asked.model is not None:
            if known.usable is Usable.YES and by_policy[DISABLE] == set(asked.features):
                return True
            if not compat_check(self.cpu_map, Arch.X86_64, asked.model):
                missing = set(known.blockers or ()) - by_policy[DISABLE]
                return not missing and by_policy[REQUIRE] <= self.given
        return self._compares(asked, by_policy)

    def _compares(self, asked: CPUDef, by_policy: Mapping[FeaturePolicy, set[str]]) -> bool:
        host_cpu = self.snapshot.host_cpu
        assert host_cpu is not None
        host = self.of_model(host_cpu.model) | self.listed
        if asked.vendor is not None and asked.vendor != host_cpu.vendor:
            return False
        if by_policy[FORBID] & host:
            return False
        settled = by_policy[FORCE] | by_policy[OPTIONAL] | by_policy[DISABLE]
        required = (self.of_model(asked.model) | by_policy[REQUIRE]) - settled
        extra = host - required - settled
        return required <= host and not (asked.match is Match.STRICT and extra)


OWN = [Side(HASWELL, OLD_MAP), Side(HASWELL_11, OWN_MAP)]


def draw_cpu(data: st.DataObject, side: Side, modes: list[Mode]) -> CPUDef:
    """Draw a definition that libvirt can read, over the names that *side* knows."""
    host_cpu = side.snapshot.host_cpu
    assert host_cpu is not None
    mode = data.draw(st.sampled_from(modes))
    model = data.draw(st.sampled_from(models(side.cpu_map, Arch.X86_64)))
    # what the host and the model have, and what neither has
    near = side.listed | side.of_model(model) | side.of_model(host_cpu.model)
    far = side.of_model("Skylake-Server") | side.of_model("EPYC")
    names = st.sampled_from(sorted(near | far))
    chosen = data.draw(st.dictionaries(names, st.sampled_from(list(FeaturePolicy)), max_size=6))
    if data.draw(st.booleans()):
        chosen |= dict.fromkeys(side.of_model(model) - side.listed, DISABLE)
    has_model = mode is Mode.CUSTOM
    vendor = data.draw(st.sampled_from([None, None, "Intel", "AMD"])) if has_model else None
    return CPUDef(
        mode=mode,
        match=data.draw(st.sampled_from(list(Match))) if has_model else Match.EXACT,
        check=data.draw(st.sampled_from([None, Check.PARTIAL])),
        fallback=data.draw(st.sampled_from(list(Fallback))) if has_model else Fallback.ALLOW,
        model=model if has_model else None,
        vendor=vendor,
        features=MappingProxyType(chosen),
    )


def is_refused(side: Side, asked: CPUDef) -> bool:
    """Ask the guard."""
    xml = domain(format_cpu(asked), machine=side.kvm.machine)
    return judged(side.snapshot, xml, cpu_map=side.cpu_map).refused


@pytest.mark.parametrize("side", OWN, ids=["libvirt9", "libvirt11"])
@settings(max_examples=500)
@given(data=st.data())
def test_what_libvirt_accepts_is_not_refused(side: Side, data: st.DataObject) -> None:
    """A good guest stopped costs more trust than ten bad ones caught earn."""
    asked = draw_cpu(data, side, [Mode.CUSTOM, Mode.HOST_MODEL])

    assert not (side.accepts(asked) and is_refused(side, asked))


@settings(max_examples=500)
@given(data=st.data())
def test_what_libvirt_9_refuses_is_refused(data: st.DataObject) -> None:
    """The other way round: there is no silent yes."""
    asked = draw_cpu(data, OWN[0], [Mode.CUSTOM, Mode.HOST_MODEL])

    assert OWN[0].accepts(asked) or is_refused(OWN[0], asked)


@settings(max_examples=300)
@given(data=st.data())
def test_the_same_with_the_installed_map(cpu_map: CPUMap, data: st.DataObject) -> None:
    """libvirt's own models and features, on a recorded host that gives little of its silicon."""
    side = Side(recorded_host("epyc-libvirt9"), cpu_map)
    asked = draw_cpu(data, side, [Mode.CUSTOM, Mode.HOST_MODEL])

    assert not (side.accepts(asked) and is_refused(side, asked))


@pytest.mark.parametrize("side", OWN, ids=["libvirt9", "libvirt11"])
@settings(max_examples=200)
@given(data=st.data())
def test_a_ceiling_is_the_only_other_reason(side: Side, data: st.DataObject) -> None:
    """With a ceiling that holds everything nothing changes."""
    asked = draw_cpu(data, side, [Mode.CUSTOM, Mode.HOST_MODEL])
    everything = format_cpu(
        CPUDef(model="Skylake-Server")._replace(
            features=MappingProxyType(dict.fromkeys(side.listed | side.of_model("EPYC"), REQUIRE)),
        )
    )
    toml = f'[ceiling]\nx86_64 = """{everything}"""'
    xml = domain(format_cpu(asked), machine=side.kvm.machine)

    assert judged(side.snapshot, xml, cpu_map=side.cpu_map) == judged(
        side.snapshot, xml, toml=toml, cpu_map=side.cpu_map
    )
