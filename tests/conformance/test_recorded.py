"""Replays cases recorded from libvirt's own CPU driver tests, each with its release's CPU map."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef, CPUType, Fallback, FeaturePolicy
from guardd.cpu.driver import CompareResult, Limits, LiveData
from guardd.cpu.xml import cpu_from_element, format_cpu, parse_cpu
from guardd.errors import GuardError, IncompatibleCPUs
from guardd.xmldoc import parse_xml
from tests.conformance.bundles import VARIABLE, Bundle, recorded, vectors

Case = dict[str, Any]

ERROR = "error"
# before it libvirt knew no clusters in a topology
CLUSTERS_SINCE = (10, 1, 0)


def cases() -> list[Any]:
    """Give a parameter set for each case, or one that is skipped when there are none."""
    found = [
        pytest.param(bundle, case, id=f"{bundle.folder.name}:{case['id']}")
        for bundle, case in recorded()
    ]
    reason = f"no recorded cases in {vectors()}; {VARIABLE} names their folder"
    nothing = pytest.param(None, None, id="none", marks=pytest.mark.skip(reason=reason))
    return found or [nothing]


@pytest.mark.parametrize(("bundle", "case"), cases())
def test_recorded(bundle: Bundle, case: Case) -> None:
    """Every answer is libvirt's own: change none but together with a libvirt release."""
    replay = REPLAYS.get(case["kind"])
    if replay is None:
        pytest.fail(f"unknown kind of case: {case['kind']}")
    if case.get("expect") == ERROR:
        with pytest.raises(GuardError):
            replay(bundle, case)
        return

    actual = replay(bundle, case)
    if isinstance(actual, CPUDef):
        assert bundle.element(case["expect_file"]) == _format(bundle, actual)
    else:
        assert case.get("expect") == actual


def _format(bundle: Bundle, definition: CPUDef) -> str:
    release = tuple(map(int, bundle.release.split(".")))
    return format_cpu(definition, clusters=release >= CLUSTERS_SINCE)


def _cpus(text: str) -> list[CPUDef]:
    elements = parse_xml(text).iter("cpu")
    return [cpu_from_element(element, CPUType.HOST) for element in elements]


def _arch(definition: CPUDef, case: Case) -> Arch:
    return definition.arch or Arch(case["arch"])


def _compare(bundle: Bundle, case: Case) -> str:
    host, guest = (parse_cpu(bundle.text(case[role])) for role in ("host", "cpu"))
    return cpu.compare(bundle.cpu_map(), _arch(host, case), host, guest).result.as_libvirt


def _update(bundle: Bundle, case: Case) -> CPUDef:
    host, guest = (parse_cpu(bundle.text(case[role])) for role in ("host", "cpu"))
    arch = _arch(host, case)
    migratable = cpu.copy_migratable(bundle.cpu_map(), arch, host)
    return cpu.update(bundle.cpu_map(), arch, guest, migratable)


def _baseline(bundle: Bundle, case: Case) -> CPUDef:
    hosts = _cpus(bundle.text(case["cpus"]))
    limits = Limits(migratable=case["migratable"])
    result = cpu.baseline(bundle.cpu_map(), None, hosts, limits)
    arch = _arch(hosts[0], case)
    if case["expand"]:
        result = cpu.expand(bundle.cpu_map(), arch, result)
    _check_runs_on(bundle, arch, hosts, result)
    return result


def _cpuid_baseline(bundle: Bundle, case: Case) -> CPUDef:
    hosts = [parse_cpu(bundle.text(name)) for name in case["cpus"]]
    arch = Arch(case["arch"])
    result = cpu.baseline(bundle.cpu_map(), arch, hosts)
    _check_runs_on(bundle, arch, hosts, result)
    return result


def _check_runs_on(bundle: Bundle, arch: Arch, hosts: list[CPUDef], result: CPUDef) -> None:
    for host in hosts:
        comparison = cpu.compare(bundle.cpu_map(), arch, host, result)
        assert comparison.result in (CompareResult.IDENTICAL, CompareResult.SUPERSET)


def _has_feature(bundle: Bundle, case: Case) -> bool:
    host = parse_cpu(bundle.text(case["host"]))
    cpu_map, arch, feature = bundle.cpu_map(), _arch(host, case), case["feature"]
    data = cpu.encode(cpu_map, arch, host).require
    answer = cpu.has_feature(cpu_map, arch, host, feature)
    assert answer == cpu.data_has_feature(cpu_map, arch, data, feature)
    return answer


def _guest_cpu(bundle: Bundle, case: Case) -> CPUDef:
    host, guest = (parse_cpu(bundle.text(case[role])) for role in ("host", "cpu"))
    cpu_map, arch = bundle.cpu_map(), _arch(host, case)
    guest = cpu.convert_legacy(arch, guest)
    if cpu.compare(cpu_map, arch, host, guest).result is CompareResult.INCOMPATIBLE:
        raise IncompatibleCPUs("the host cannot run the guest")
    models = None if case["models"] is None else dict.fromkeys(case["models"], ())
    return cpu.translate(cpu_map, arch, cpu.update(cpu_map, arch, guest, host), models)


def _signature(bundle: Bundle, case: Case) -> Case:
    signature = cpu.parse_cpu_data(bundle.text(case["cpudata"])).signature
    return {word: getattr(signature, word) for word in ("family", "model", "stepping")}


def _decode_host(bundle: Bundle, case: Case) -> CPUDef:
    return _decode(bundle, case, CPUDef(type=CPUType.HOST, arch=Arch(case["arch"])))


def _decode_guest(bundle: Bundle, case: Case) -> CPUDef:
    return _decode(bundle, case, CPUDef(fallback=Fallback.FORBID))


def _decode(bundle: Bundle, case: Case, stub: CPUDef) -> CPUDef:
    models = case.get("models")
    offered = None if models is None else {m["name"]: m["blockers"] or () for m in models}
    data = cpu.parse_cpu_data(bundle.text(case["cpudata"]))
    limits = Limits(models=offered)
    return cpu.decode(bundle.cpu_map(), Arch(case["arch"]), stub, data, limits)


def _update_live(bundle: Bundle, case: Case) -> None:
    cpu_map, arch = bundle.cpu_map(), Arch(case["arch"])
    guest, expected = (parse_cpu(bundle.text(case[role])) for role in ("cpu", "expect_file"))
    if guest.model != expected.model and expected.model is not None:
        allowed = guest._replace(fallback=Fallback.ALLOW)
        with suppress(GuardError):
            guest = cpu.translate(cpu_map, arch, allowed, {expected.model: ()})
    enabled, disabled = (
        cpu.parse_cpu_data(bundle.text(case[role])) for role in ("enabled", "disabled")
    )
    updated = cpu.update_live(cpu_map, arch, guest, LiveData(enabled=enabled, disabled=disabled))
    assert updated is not None
    actual, wanted = (cpu.expand(cpu_map, arch, each) for each in (updated, expected))
    # a feature that is disabled beyond what was expected does no harm
    counted = {
        name: policy
        for name, policy in actual.features.items()
        if policy is not FeaturePolicy.DISABLE or name in wanted.features
    }
    assert wanted.model == actual.model
    assert dict(wanted.features) == counted


def _validate_features(bundle: Bundle, case: Case) -> bool:
    definition = parse_cpu(bundle.text(case["cpu"]))
    if case["expect"] is False:
        with pytest.raises(GuardError):
            cpu.validate_features(bundle.cpu_map(), _arch(definition, case), definition)
        return False
    cpu.validate_features(bundle.cpu_map(), _arch(definition, case), definition)
    return True


REPLAYS: dict[str, Callable[[Bundle, Case], CPUDef | Case | bool | str | None]] = {
    "compare": _compare,
    "update": _update,
    "baseline": _baseline,
    "cpuid-baseline": _cpuid_baseline,
    "has-feature": _has_feature,
    "guest-cpu": _guest_cpu,
    "signature": _signature,
    "decode-host": _decode_host,
    "decode-guest": _decode_guest,
    "decode-guest-models": _decode_guest,
    "update-live": _update_live,
    "validate-features": _validate_features,
}
