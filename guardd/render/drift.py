"""What changed of a host, and for whom, in words: one line, many lines, JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from guardd import wire
from guardd.facts.drift import Change, Drift, HypervisorDrift, Moved
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.drift import Judged
from guardd.judge.finding import Verdict
from guardd.judge.reference import ACCELERATORS
from guardd.render import FIELD_LENGTH, counted, findings_field, printable, reason, report

SHOWN_CHANGES = 4  # in the one line
SHOWN_MODELS = 8  # a new libvirt brings dozens
NOTHING = "nothing lost, nothing gained"


def summary(drift: Drift) -> str:
    """Say in one line what changed and what was lost and gained."""
    changes = counted([change_words(change) for change in drift.changes], SHOWN_CHANGES)
    return f"{changes}: {_moved_line(drift)}" if changes else _moved_line(drift)


def drift_lines(drift: Drift) -> Iterator[str]:
    """Say all that changed, for a person; a line may be long, and none holds a control character.

    What belongs to the line before is indented.
    """
    for change in drift.changes:
        yield change_words(change)
    yield from _moved_lines("host CPU ", drift.host)
    for title, group in _alike(drift.hypervisors):
        yield f"{title}:"
        for line in _hypervisor_lines(group):
            yield f"  {line}"
    if not drift.is_empty and not _has_moved(drift):
        yield NOTHING


def affected_line(judged: Sequence[Judged], *, when: str = "would now be refused") -> str:
    """Say in one line that a guest is affected, by all its states, with the first one's reason."""
    first = judged[0]
    states = ", ".join(printable(each.state.words) for each in judged)
    return f"{printable(first.state.name)} ({states}) {when}: {reason(first.now)}"


def affected_fields(judged: Sequence[Judged]) -> dict[str, str]:
    """Give the journal fields of a guest that is affected in all the states *judged*."""
    first = judged[0]
    findings = {(f.code, f.subject): f for each in judged for f in each.now.findings}
    return {
        "GUARDD_DOMAIN": printable(first.state.name, FIELD_LENGTH),
        "GUARDD_DOMAIN_UUID": printable(first.state.uuid),
        "GUARDD_FINDINGS": findings_field(findings.values()),
        "GUARDD_HOST_CPU": printable(first.now.host_cpu),
        "GUARDD_REPORT": "\n".join(
            f"{printable(each.state.words)}: {report(each.now)}" for each in judged
        ),
    }


def by_guest(judged: Iterable[Judged]) -> list[list[Judged]]:
    """Put the states of each guest together, in the order of their first."""
    guests: dict[tuple[str, str], list[Judged]] = {}
    for each in judged:
        guests.setdefault((each.state.uuid, each.state.name), []).append(each)
    return list(guests.values())


def drift_to_dict(drift: Drift, before: HostSnapshot, now: HostSnapshot) -> dict[str, Any]:
    """Give *drift* between the two hosts as a JSON object."""
    return {
        "before": {"hostname": before.hostname, "taken": before.taken},
        "now": {"hostname": now.hostname, "taken": now.taken},
        "changes": [_change_to_dict(change) for change in drift.changes],
        "host": _moved_to_dict(drift.host),
        "hypervisors": [_hypervisor_to_dict(each) for each in drift.hypervisors],
    }


def judged_to_dict(judged: Judged) -> dict[str, Any]:
    """Give one state of a guest, what the change means for it, and the new verdict."""
    return {
        "name": judged.state.name,
        "uuid": judged.state.uuid,
        "state": judged.state.standing,
        "snapshot": judged.state.snapshot,
        "effect": judged.effect,
        "reason": _reason(judged.now),
        "verdict": wire.verdict_to_dict(judged.now),
    }


def _reason(verdict: Verdict) -> str:
    return reason(verdict) if verdict.findings else ""


# -- words


def change_words(change: Change) -> str:
    """Say what changed, from what to what where that is known."""
    what = printable(change.what)
    if not change.now:
        return f"{what} changed"
    return f"{what} {printable(change.now)} (was {printable(change.before)})"


def _has_moved(drift: Drift) -> bool:
    return bool(drift.host) or bool(drift.hypervisors)


def _moved_line(drift: Drift) -> str:
    features = drift.features
    gone = dict.fromkeys(_short(each) for each in drift.hypervisors if each.is_gone)
    modes = _joined(each.modes.lost for each in drift.hypervisors)
    models = _joined(each.usable.lost for each in drift.hypervisors)
    parts = [f"no {name} any more" for name in gone]
    parts += [f"lost {counted(sorted(features.lost))}"] if features.lost else []
    parts += [f"lost mode {counted(modes)}"] if modes else []
    if models and not features.lost:
        parts.append(f"models not usable any more: {counted(models)}")
    parts += [f"gained {counted(sorted(features.gained))}"] if features.gained else []
    if any(each.problem for each in drift.hypervisors):
        parts.append("not all of it can be compared")
    if not parts and _has_moved(drift):
        return "no feature lost, none gained"
    return ", ".join(parts) or NOTHING


def _joined(names: Iterable[Iterable[str]]) -> list[str]:
    return sorted({name for each in names for name in each})


def _short(drift: HypervisorDrift) -> str:
    accelerator = ACCELERATORS.get(drift.key.virt_type, drift.key.virt_type)
    return printable(f"{accelerator} {drift.key.arch}")


def _alike(drifts: Iterable[HypervisorDrift]) -> Iterator[tuple[str, HypervisorDrift]]:
    """Tell once what several machines of one emulator have in common."""
    groups: dict[HypervisorDrift, list[str]] = {}
    for drift in drifts:
        group = _without_machine(drift)
        groups.setdefault(group, []).append(drift.key.machine or "")
    for group, machines in groups.items():
        names = ", ".join(printable(machine) for machine in machines)
        yield f"{_short(group)} ({names}) of {printable(group.key.emulator or '')}", group


def _without_machine(drift: HypervisorDrift) -> HypervisorDrift:
    return HypervisorDrift(
        key=drift.key._replace(machine=None),
        is_gone=drift.is_gone,
        features=drift.features,
        usable=drift.usable,
        offered=drift.offered,
        modes=drift.modes,
        changes=drift.changes,
        problem=drift.problem,
    )


def _hypervisor_lines(drift: HypervisorDrift) -> Iterator[str]:
    if drift.is_gone:
        yield "is not there any more"
    if drift.problem:
        yield f"its features cannot be compared: {printable(drift.problem)}"
    for change in drift.changes:
        yield change_words(change)
    yield from _moved_lines("", drift.features)
    yield from _moved_lines("modes ", drift.modes)
    went = drift.usable.lost - drift.offered.lost
    for title, names in (
        ("models not usable any more", went),
        ("models usable now", drift.usable.gained - drift.offered.gained),
        ("models not known any more", drift.offered.lost),
        ("models known now", drift.offered.gained),
    ):
        if names:
            yield f"{title}: {counted(sorted(names), SHOWN_MODELS)}"


def _moved_lines(prefix: str, moved: Moved) -> Iterator[str]:
    if moved.lost:
        yield f"{prefix}lost: {_all(moved.lost)}"
    if moved.gained:
        yield f"{prefix}gained: {_all(moved.gained)}"


def _all(names: Iterable[str]) -> str:
    return ", ".join(printable(name) for name in sorted(names))


# -- JSON


def _change_to_dict(change: Change) -> Mapping[str, str]:
    return {"what": change.what, "before": change.before, "now": change.now}


def _moved_to_dict(moved: Moved) -> Mapping[str, list[str]]:
    return {"lost": sorted(moved.lost), "gained": sorted(moved.gained)}


def _hypervisor_to_dict(drift: HypervisorDrift) -> dict[str, Any]:
    return {
        **drift.key._asdict(),
        "gone": drift.is_gone,
        "features": _moved_to_dict(drift.features),
        "usable_models": _moved_to_dict(drift.usable),
        "models": _moved_to_dict(drift.offered),
        "modes": _moved_to_dict(drift.modes),
        "changes": [_change_to_dict(change) for change in drift.changes],
        "problem": drift.problem,
    }
