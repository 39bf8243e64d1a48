"""What `cpu-guardctl fix` proposes passes, on every host and guest that was ever recorded."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef, CPUType, FeaturePolicy, Mode
from guardd.cpu.xml import parse_cpu
from guardd.errors import GuardError, NoFix
from guardd.facts.domain import Guest
from guardd.facts.domcaps import Hypervisor, ModelSupport, Usable
from guardd.facts.snapshot import HostSnapshot
from guardd.judge import judge_guest
from guardd.judge.finding import CheckRequest, Decision, Operation, Verdict
from guardd.judge.fix import fix_guest
from guardd.judge.policy import Policy
from tests.conformance.bundles import VARIABLE, Bundle, recorded, vectors

REQUEST = CheckRequest(domain="web1", operation=Operation.PREPARE, xml="", arrives=False)


def cases() -> list[Any]:
    """Give every recorded pair of a host and a guest."""
    found = [
        pytest.param(bundle, case, id=f"{bundle.folder.name}:{case['id']}")
        for bundle, case in recorded()
        if case["kind"] == "compare"
    ]
    reason = f"no recorded cases in {vectors()}; {VARIABLE} names their folder"
    nothing = pytest.param(None, None, id="none", marks=pytest.mark.skip(reason=reason))
    return found or [nothing]


def snapshot_of(host: CPUDef, arch: Arch, bundle: Bundle) -> HostSnapshot:
    """Give a KVM host whose hypervisor gives all that the silicon has."""
    features = dict.fromkeys(host.features, FeaturePolicy.REQUIRE)
    host = host._replace(type=CPUType.HOST, arch=arch, mode=Mode.CUSTOM)
    given = host._replace(type=CPUType.GUEST, arch=None, features=MappingProxyType(features))
    models = cpu.models(bundle.cpu_map(), arch)
    hypervisor = Hypervisor(
        virt_type="kvm",
        arch=arch,
        machine="virt",
        emulator="/usr/bin/qemu",
        modes=frozenset(Mode),
        host_model=given if cpu.has_features(arch) else None,
        models=MappingProxyType({name: ModelSupport(usable=Usable.UNKNOWN) for name in models}),
    )
    return HostSnapshot(
        hostname="host",
        taken="2026-11-22T21:00:00Z",
        libvirt=bundle.release,
        arch=arch,
        host_cpu=host,
        hypervisors=(hypervisor,),
    )


@pytest.mark.parametrize(("bundle", "case"), cases())
def test_fixed_passes(bundle: Bundle, case: dict[str, Any]) -> None:
    """Whatever was wrong with it; nothing is done to a guest that was taken as it was."""
    try:
        host, asked = (parse_cpu(bundle.text(case[role])) for role in ("host", "cpu"))
    except GuardError:
        return  # recorded to be refused by the parser: no guest comes to be with it
    arch = host.arch or Arch(case["arch"])
    snapshot = snapshot_of(host, arch, bundle)
    asked = asked._replace(type=CPUType.GUEST, mode=asked.mode or Mode.CUSTOM, arch=None)
    guest = Guest(name="web1", uuid=None, virt_type="kvm", arch=arch, machine="virt", cpu=asked)

    def judges(changed: Guest) -> list[Verdict]:
        return [judge_guest(REQUEST, changed, snapshot, Policy(), bundle.cpu_map())]

    models = cpu.models(bundle.cpu_map(), arch)
    (before,) = judges(guest)
    fix = fix_guest(guest, judges, bundle.cpu_map(), models)

    assert not judges(guest._replace(cpu=fix.cpu))[0].refused
    assert before.refused is bool(fix.steps)


def test_no_fix_is_an_error() -> None:
    """Where even a guest without <cpu> is refused, there is no proposal."""
    guest = Guest(name="web1", uuid=None, virt_type="kvm", arch=Arch.X86_64, cpu=CPUDef(model="A"))
    verdict = Verdict(
        domain="web1", operation=Operation.PREPARE, decision=Decision.DENY, refused=True
    )

    with pytest.raises(NoFix, match="no change of its <cpu> would help"):
        fix_guest(guest, lambda _: [verdict], cpu.CPUMap(lambda _: b"<cpus/>"), [])
