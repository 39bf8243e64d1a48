"""What lies behind a verdict, in words: where it comes from, how it came about, what to do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardd.judge.account import BY_STAMP, Asked, Cause, Origin, Reason
from guardd.judge.finding import Code, Finding
from guardd.render import UNSORTED_NAMES, by_purpose, printable
from guardd.render.drift import change_words
from guardd.xmldoc import escape

SHOWN_LINES = 12  # of <feature> elements; who needs more of them has `fix`

_FIXABLE = frozenset(
    {
        Code.MISSING_FEATURE,
        Code.FORBIDDEN_FEATURE,
        Code.EXTRA_FEATURE,
        Code.VENDOR_MISMATCH,
        Code.MODEL_MISMATCH,
        Code.COMPAT_MODE,
        Code.UNKNOWN_MODEL,
        Code.UNKNOWN_FEATURE,
        Code.UNSUPPORTED_MODE,
        Code.UNSUPPORTED_MODEL,
        Code.SILENT_DOWNGRADE,
        Code.ABOVE_CEILING,
        Code.OUTSIDE_POOL,
    }
)
# what policy='disable' in the guest's <cpu> ends
_DISABLED = frozenset(
    {
        Code.MISSING_FEATURE,
        Code.FORBIDDEN_FEATURE,
        Code.SILENT_DOWNGRADE,
        Code.ABOVE_CEILING,
        Code.INVTSC,
    }
)
_UNKNOWN = frozenset({Code.UNKNOWN_HOST, Code.UNKNOWN_HYPERVISOR, Code.UNCHECKED, Code.INTERNAL})
_STAMPLESS = frozenset({Code.UNSTAMPED, Code.BAD_STAMP})


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: what it is for, and the commands or the lines of a file."""

    what: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The guest as commands name it; `is_here`: libvirt here has it. `runs`: and it runs here."""

    name: str
    uuid: str
    is_here: bool
    runs: bool


def groups_to_dicts(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Give what *findings* are about, by code and by what it is for, as JSON objects."""
    by_code: dict[Code, list[str]] = {}
    for finding in findings:
        by_code.setdefault(finding.code, []).append(finding.subject)
    return [
        {"code": code, "meaning": purpose, "names": names}
        for code, subjects in by_code.items()
        for purpose, names in by_purpose(subjects).items()
    ]


def asked_lines(found: Sequence[Asked]) -> Iterator[str]:
    """Say where each thing comes from that the guest asks for.

    The reasons have named all of it: where most of it comes from, its names are not said again.
    """
    most = max(found, key=lambda asked: len(asked.names), default=None)
    for asked in sorted(found, key=lambda asked: asked is most):
        if asked is not most or len(asked.names) <= UNSORTED_NAMES:
            yield from _sorted_names(asked_words(asked), asked.names)
        else:
            which = "all of it" if len(found) == 1 else "all else"
            yield f"{asked_words(asked)}: {which}"


def asked_words(asked: Asked) -> str:
    """Say where it comes from."""
    detail = printable(asked.detail)
    match asked.origin:
        case Origin.FEATURE:
            return "<feature> elements in its <cpu>"
        case Origin.MODEL:
            return f"its model, {detail}"
        case Origin.HOST_MODEL:
            return "mode host-model, the CPU of the host where it starts"
        case Origin.IN_FORCE:
            return "the CPU that it got when it started"
        case Origin.STAMP:
            return f"what it has seen since it booted, on {detail}"
        case Origin.ELEMENT:
            return f"{detail} in its definition"


def reason_lines(found: Sequence[Reason]) -> Iterator[str]:
    """Say how it came about; what explains all of it does not name all of it again."""
    everything = {name for reason in found for name in reason.names}
    for reason in found:
        if len(everything) > UNSORTED_NAMES and set(reason.names) == everything:
            yield f"{reason_words(reason)}: all of it"
        else:
            yield from _sorted_names(reason_words(reason), reason.names)


def reason_words(reason: Reason) -> str:
    """Say one cause, without the names that it explains."""
    who, since = printable(reason.who), printable(reason.since)
    changes = ", ".join(change_words(change) for change in reason.changes)
    match reason.cause:
        case Cause.HARDWARE:
            return f"this host's processor ({who}) does not have them"
        case Cause.HYPERVISOR:
            return f"this host's processor ({who}) has them, and KVM or QEMU does not give them"
        case Cause.EMULATOR:
            return f"{who} emulates the guest's CPU, and does not have them"
        case Cause.DRIFT:
            what = f": {changes}" if changes else ""
            return f"this host had them until it changed, after {since}{what}"
        case Cause.STAMP:
            return f"the guest booted on {who}, {since}, under other versions than here: {changes}"
        case Cause.UNKNOWN_NAME:
            meant = f"may be meant for {who}, or" if who else "may"
            return f"a name that this host's libvirt does not know {meant} be of a newer one"


def _sorted_names(title: str, names: Sequence[str]) -> Iterator[str]:
    if not names:
        yield title
        return
    groups = by_purpose([printable(name) for name in names])
    if len(groups) == 1:
        yield f"{title}: {', '.join(*groups.values())}"
        return
    yield f"{title}:"
    for purpose, group in groups.items():
        yield f"  {purpose}: {', '.join(group)}"


def steps(
    findings: Sequence[Finding], where: Where, reasons: Iterable[Reason], *, is_held: bool
) -> list[Step]:
    """Say what can be done about *findings*, most of the time the best first.

    *is_held*: it was refused for them, or would be by a stricter mode.
    """
    codes = {finding.code for finding in findings}
    name = shlex.quote(printable(where.name))
    found = []
    if codes & _FIXABLE and where.is_here:
        found.append(
            Step(
                "The smallest change to its <cpu> with which it fits:",
                (f"cpu-guardctl fix {name}",),
            )
        )
    if codes & _DISABLED and where.is_here:
        found += _by_hand(findings, name)
    if codes & (BY_STAMP | _STAMPLESS):
        found += _anew(where, name)
    if any(reason.cause is Cause.DRIFT for reason in reasons):
        found.append(
            Step("Who else is affected by the change of this host:", ("cpu-guardctl drift",))
        )
    if codes & (_FIXABLE | BY_STAMP):
        where_now = "" if where.is_here else ", asked on the host that it is on"
        command = f"cpu-guardctl check {name} --on qemu+ssh://OTHERHOST/system"
        found.append(Step(f"Whether another host takes it as it is{where_now}:", (command,)))
    if codes & _UNKNOWN:
        commands = ("cpu-guardctl status", "cpu-guardctl host", "journalctl -u cpu-guardd -e")
        found.append(Step("What is known of this host, and why not more:", commands))
    if Code.UNREADABLE_GUEST in codes:
        found.append(Step("Its definition:", (f"virsh dumpxml --inactive {name}",)))
    if is_held and not codes <= _UNKNOWN:
        found.append(_warned(where))
    return found


def _by_hand(findings: Iterable[Finding], name: str) -> list[Step]:
    names = list(dict.fromkeys(f.subject for f in findings if f.code in _DISABLED))
    if len(names) > SHOWN_LINES:
        return []
    lines = (f"<feature policy='disable' name='{escape(printable(each))}'/>" for each in names)
    return [
        Step(f"Or, for what it can do without, in its <cpu> (virsh edit {name}):", tuple(lines))
    ]


def _anew(where: Where, name: str) -> list[Step]:
    if where.runs:
        return [
            Step(
                "Start it anew here: it gets this host's CPU, and a stamp that says so:",
                (f"virsh shutdown {name}", f"virsh start {name}"),
            )
        ]
    return [
        Step(
            "Start it anew, so that it sees the CPU of the host where it is:",
            (f"virsh shutdown {name}    # where it runs", f"virsh start {name}"),
        )
    ]


def _warned(where: Where) -> Step:
    what = "To be only warned of it, in /etc/cpu-guardd/guardd.toml (systemctl reload cpu-guardd):"
    return Step(what, ("[guests]", f'{json.dumps(where.uuid or where.name)} = "warn"'))


def step_lines(found: Iterable[Step]) -> Iterator[str]:
    """Give the steps as lines for a person."""
    for step in found:
        yield step.what
        yield from (f"    {line}" for line in step.lines)


# -- JSON


def asked_to_dict(asked: Asked) -> Mapping[str, Any]:
    """Give it as a JSON object."""
    return {"origin": asked.origin, "what": asked_words(asked), "names": asked.names}


def reason_to_dict(reason: Reason) -> Mapping[str, Any]:
    """Give it as a JSON object."""
    return {"cause": reason.cause, "sentence": reason_words(reason), "names": reason.names}
