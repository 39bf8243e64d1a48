"""A verdict in words: the hook's one line, journal fields, lines for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from guardd.judge.finding import Code, Decision, Enforcement, Finding, Operation, Verdict

SHOWN_NAMES = 2  # in the one line; the rest is counted
SHOWN_LENGTH = 80  # of a name that somebody else chose
REPORTED_LENGTH = 500  # of a sentence in the long report
FIELD_LENGTH = 1024  # of a name that journalctl is asked for

# one a kind; each has its page in the message catalog
MESSAGE_ID = {
    Decision.ALLOW: "b278ef7380ed408c9382159901b1f31f",
    Decision.WARN: "c46c8a133dd5458da95b6131bd20f1f7",
    Decision.DENY: "9f6d4d0cbbcc46ab8e3c4a42fdc0dcd8",
    Decision.CANNOT_TELL: "0d2686e7846d48d0a98a179f5a528911",
}
# syslog(3): a refusal is an error for the person who tried, a doubt or a warning a warning
PRIORITY = {Decision.ALLOW: 6, Decision.WARN: 4, Decision.DENY: 3, Decision.CANNOT_TELL: 4}

# {guest}, {names}, {model} (what it asks for), {host}; `them`/`it` by number
_LINES = {
    Code.MISSING_FEATURE: "{guest} needs {names} from {model}; this host ({host}) lacks {them}",
    Code.FORBIDDEN_FEATURE: "{guest} forbids {names}; this host ({host}) has {them}",
    Code.EXTRA_FEATURE: "{guest} wants a strict match; this host ({host}) also has {names}",
    Code.VENDOR_MISMATCH: "{guest} needs a CPU of vendor {names}; this host ({host}) has another",
    Code.ARCH_MISMATCH: "{guest} needs a CPU of architecture {names}; this host is {host}",
    Code.MODEL_MISMATCH: "{guest} needs CPU model {names}; this host is {host}",
    Code.COMPAT_MODE: "{guest} needs compatibility mode {names}; this host ({host}) lacks {them}",
    Code.UNKNOWN_MODEL: "{guest} needs CPU model {names}; this host's libvirt does not know {them}",
    Code.UNKNOWN_FEATURE: "{guest} names CPU feature {names}; this host's libvirt does not know"
    " {them}",
    Code.UNSUPPORTED_MODE: "{guest} needs CPU mode {names}; this host ({host}) does not support"
    " {them}",
    Code.UNSUPPORTED_MODEL: "{guest} needs CPU model {names}; QEMU on this host ({host}) lacks"
    " {them}",
    Code.SILENT_DOWNGRADE: "{guest} asks for {names} from {model}; QEMU on this host ({host})"
    " drops {them}",
    Code.ABOVE_CEILING: "{guest} would have {names} from {model}; that is above this host's"
    " ceiling",
}


def printable(text: str, limit: int = SHOWN_LENGTH) -> str:
    """Give *text* fit for one line of a terminal or a log: no control character, no endless name.

    What a terminal would act on is shown as Python escapes it.
    """
    safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def hook_line(verdict: Verdict) -> str:
    """Give the one line that says why; without a line end."""
    guest = printable(verdict.domain)
    if not verdict.findings:
        # what an arriving guest really has may show only at its `prepare`
        fits = "fits" if verdict.operation is Operation.PREPARE else "may arrive on"
        host = printable(verdict.host_cpu) or "nothing to compare"
        return f"cpu-guardd: {guest} {fits} this host ({host})"
    first, _names = _first_group(verdict)
    return f"cpu-guardd[{first.code}]: {reason(verdict)}; see: cpu-guardctl explain {guest}"


def reason(verdict: Verdict) -> str:
    """Give the reason within the one line, of a verdict that has findings."""
    first, names = _first_group(verdict)
    if first.code.is_doubt:
        guest = printable(verdict.domain)
        return f"cannot judge {guest}: {printable(first.sentence, REPORTED_LENGTH)}"
    return _reason(verdict, first.code, counted(names), len(names))


def _reason(verdict: Verdict, code: Code, names: str, count: int) -> str:
    return _LINES[code].format(
        guest=printable(verdict.domain),
        names=names,
        model=printable(verdict.guest_cpu),
        host=printable(verdict.host_cpu),
        them="them" if count > 1 else "it",
    )


def _first_group(verdict: Verdict) -> tuple[Finding, list[str]]:
    """Take the finding that decided, and the names of all that say the same."""
    order = {Enforcement.ENFORCE: 0, Enforcement.WARN: 1, Enforcement.OBSERVE: 2}
    doubts_first = verdict.decision is Decision.CANNOT_TELL
    first = min(
        verdict.findings, key=lambda f: (f.code.is_doubt is not doubts_first, order[f.mode])
    )
    return first, [f.subject for f in verdict.findings if f.code is first.code]


def counted(names: Sequence[str], limit: int = SHOWN_NAMES) -> str:
    """Name the first *limit* of *names* and count the rest."""
    shown = ", ".join(printable(name) for name in names[:limit])
    rest = len(names) - limit
    return f"{shown} (+{rest})" if rest > 0 else shown


def report(verdict: Verdict) -> str:
    """Explain at length: what was held against what, each reason, each way out; many lines."""
    return "\n".join(_report(verdict))


def _report(verdict: Verdict) -> Iterator[str]:
    outcome = "refused" if verdict.refused else "allowed"
    yield f"{printable(verdict.domain)}: {verdict.operation} {outcome} ({verdict.decision})"
    if verdict.guest_cpu:
        yield f"  guest CPU: {printable(verdict.guest_cpu)}"
    if verdict.host_cpu:
        yield f"  host CPU:  {printable(verdict.host_cpu)}"
    if verdict.source:
        yield f"  known by:  {printable(verdict.source, REPORTED_LENGTH)}"
    for code, findings in _by_code(verdict.findings):
        if code.is_doubt:
            yield f"  {code}: {printable(findings[0].sentence, REPORTED_LENGTH)}"
        else:
            names = ", ".join(printable(finding.subject) for finding in findings)
            yield f"  {code} ({findings[0].mode}):"
            yield f"    {_reason(verdict, code, names, len(findings))}"
        if findings[0].hint:
            yield f"    {printable(findings[0].hint, REPORTED_LENGTH)}"


def _by_code(findings: Iterable[Finding]) -> Iterator[tuple[Code, list[Finding]]]:
    groups: dict[Code, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.code, []).append(finding)
    yield from groups.items()


def journal_fields(verdict: Verdict, elapsed_usec: int) -> dict[str, str]:
    """Give the fields of the one journal record of *verdict*; never a word of the XML itself."""
    return {
        "MESSAGE": hook_line(verdict),
        "MESSAGE_ID": MESSAGE_ID[verdict.decision],
        "PRIORITY": str(PRIORITY[verdict.decision]),
        "GUARDD_DOMAIN": printable(verdict.domain, FIELD_LENGTH),
        "GUARDD_DOMAIN_UUID": printable(verdict.uuid),
        "GUARDD_OPERATION": verdict.operation,
        "GUARDD_DECISION": verdict.decision,
        "GUARDD_REFUSED": "yes" if verdict.refused else "no",
        "GUARDD_FINDINGS": findings_field(verdict.findings),
        "GUARDD_GUEST_CPU": printable(verdict.guest_cpu),
        "GUARDD_HOST_CPU": printable(verdict.host_cpu),
        "GUARDD_SOURCE": printable(verdict.source, REPORTED_LENGTH),
        "GUARDD_REPORT": report(verdict),
        "GUARDD_ELAPSED_USEC": str(elapsed_usec),
    }


def findings_field(findings: Iterable[Finding]) -> str:
    """Write *findings* as "code:subject code:subject"; no subject holds a space."""
    return " ".join(f"{f.code}:{printable(f.subject).replace(' ', '_')}" for f in findings)
