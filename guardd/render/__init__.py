"""A verdict in words: the hook's one line, journal fields, lines for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from guardd.cpu.x86.meaning import Meaning, by_meaning
from guardd.judge.finding import Code, Decision, Enforcement, Finding, Operation, Verdict

SHOWN_NAMES = 2  # in the one line; the rest is counted
SHOWN_LENGTH = 80  # of a name that somebody else chose
UNSORTED_NAMES = 4  # in the long report; more are sorted by what they are for
REPORTED_LENGTH = 500  # of a sentence in the long report
REPORTED_SENTENCES = 12  # of one finding's kind; the rest is counted
FIELD_LENGTH = 1024  # of a name that journalctl is asked for

# of a verdict without findings; each MESSAGE_ID has its page in the message catalog
FITS = "b278ef7380ed408c9382159901b1f31f"
# of one with findings, by the code of that which decided
MESSAGE_ID = {
    Code.MISSING_FEATURE: "16b59cee2a5647ce8470d5eed12ce818",
    Code.FORBIDDEN_FEATURE: "92a3ff1e480e41068a0623cab06ad7ea",
    Code.EXTRA_FEATURE: "bcc579c252044434845b80ffd6673c6e",
    Code.VENDOR_MISMATCH: "d0c62fd42aee41b8b0051c3a16253b67",
    Code.ARCH_MISMATCH: "cbe414843e1c40bea3cf9d7f05d851d1",
    Code.MODEL_MISMATCH: "244be01560964253a3b2e19afe3fd7c8",
    Code.COMPAT_MODE: "905277db2205462e9ec407dd68851a7d",
    Code.UNKNOWN_MODEL: "45f3537f5e7a44ba99632ba77c03e198",
    Code.UNKNOWN_FEATURE: "c24e8f5df2dc4f9c9896c0568e81f69c",
    Code.UNSUPPORTED_MODE: "f59abb9ba966408a9c44b0778eac1504",
    Code.UNSUPPORTED_MODEL: "000a08d4e5d34aec96f85128858af7bc",
    Code.SILENT_DOWNGRADE: "1e7bee8193dd41bdaf9ebe61c201564f",
    Code.ABOVE_CEILING: "a15b188af85c462086689aa9995a286c",
    Code.OUTSIDE_POOL: "7a33876371fa453c934270ddd1b4ed62",
    Code.LOST_FEATURE: "9525f0df1f384a52b56980ec883fbf33",
    Code.NEW_FEATURE: "4af00c74d4634f8eafb370c9b87baf55",
    Code.VENDOR_CROSSING: "437fd423e3b64a9eaebaf1f4347e0b19",
    Code.CORE_MISMATCH: "bb3afa3511fb4697b22c82496e63fac9",
    Code.PAGE_SIZE: "14c62d09f3d74f7e8693c49442fbdcbb",
    Code.TSC_CHANGE: "ccdd6cfa2daf4f23a0bd64649851d3b8",
    Code.PHYS_BITS: "d82f03f634b3496883cb7980f2a36419",
    Code.TSC_FREQUENCY: "b11f9899ca1349418e01ec91e9e402c4",
    Code.INVTSC: "9bb260e6522f459cb4d7931501b41026",
    Code.NEVER_MIGRATES: "06a4f404d0c94a50b55c77c809f6f72b",
    Code.NO_CHECK: "b189e3f410614e9c976b4c3d40efa635",
    Code.DEFAULT_CPU: "c530109904b34ebf9f146500571f12d3",
    Code.UNSTAMPED: "2f7e700bf1894ce5957189b4751bb405",
    Code.BAD_STAMP: "c85ede6382d144af811c717d8d8902bc",
    Code.UNREADABLE_GUEST: "ceb7b6fefd3e402ab534d10408b59354",
    Code.UNKNOWN_HOST: "729931bdea574c909bad81b45b5f6db3",
    Code.UNKNOWN_HYPERVISOR: "c0beb701e22f48a68f5911c0c2ab6e01",
    Code.UNCHECKED: "d2fc67cc84cd4a189bf3f042bd4c17a4",
    Code.INTERNAL: "73c4c1d5ca9b4ea196c1fe2b10e173fd",
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
    Code.OUTSIDE_POOL: "{guest} needs {names} for {model}; not every host of the pool has {them}",
    Code.LOST_FEATURE: "{guest} has seen {names} since it booted; this host ({host}) lacks {them}",
    Code.NEW_FEATURE: "{guest} booted without {names}; this host ({host}) will show {them} to it",
    Code.VENDOR_CROSSING: "{guest} booted on a CPU of vendor {names}; this host ({host}) has"
    " another",
    Code.CORE_MISMATCH: "{guest} booted on CPU cores of {names}; this host ({host}) has others",
    Code.PAGE_SIZE: "{guest} booted on a host with pages of {names}; this host ({host}) has others",
    Code.TSC_CHANGE: "{guest} booted with a time stamp counter of {names}; that of this host"
    " ({host}) runs at another frequency",
    Code.PHYS_BITS: "{guest} needs {names} physical address bits; this host ({host}) has fewer",
    Code.TSC_FREQUENCY: "{guest} needs a time stamp counter of {names}; this host ({host}) cannot"
    " run it at that frequency",
    Code.INVTSC: "{guest} has {names} without a fixed TSC frequency; it can never migrate or be"
    " saved",
    Code.NEVER_MIGRATES: "{guest} can never migrate or be saved, because of {names}",
    Code.NO_CHECK: "{guest} asks for {names} with check='none'; libvirt starts it with less and"
    " does not say so",
    Code.DEFAULT_CPU: "{guest} has no CPU model of its own; it gets QEMU's default, {names}",
}

# those of which the line does not say all: who or what is in the way, with the numbers
_WITH_SENTENCES = frozenset(
    {Code.OUTSIDE_POOL, Code.PHYS_BITS, Code.TSC_FREQUENCY, Code.TSC_CHANGE, Code.NEVER_MIGRATES}
)


def printable(text: str, limit: int = SHOWN_LENGTH) -> str:
    """Give *text* fit for one line of a terminal or a log: no control character, no endless name.

    What a terminal would act on is shown as Python escapes it.
    """
    text = text[: limit + 1]  # that much is too long already, however much more there is
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def hook_line(verdict: Verdict) -> str:
    """Give the one line that says why; without a line end."""
    guest = printable(verdict.domain)
    if verdict.operation is Operation.RESTORE and not verdict.findings:
        return f"cpu-guardd: {guest} may be restored here; it is judged at its prepare"
    if not verdict.findings:
        # what an arriving guest really has may show only at its `prepare`
        fits = "fits" if verdict.operation is Operation.PREPARE else "may arrive on"
        host = printable(verdict.host_cpu) or "nothing to compare"
        return f"cpu-guardd: {guest} {fits} this host ({host})"
    first, _names = _first_group(verdict)
    why = reason(verdict)
    if verdict.would_refuse:
        why += f"; let through, {Enforcement.ENFORCE} would refuse"
    return f"cpu-guardd[{first.code}]: {why}; see: cpu-guardctl explain {guest}"


def reason(verdict: Verdict) -> str:
    """Give the reason within the one line, of a verdict that has findings."""
    first, names = _first_group(verdict)
    if first.code.is_doubt:
        guest = printable(verdict.domain)
        return f"cannot judge {guest}: {printable(first.sentence, REPORTED_LENGTH)}"
    return _reason(verdict, first.code, counted(names), len(names))


def short_reason(verdict: Verdict) -> str:
    """Give the reason in a few words, of a verdict that has findings: its code, and of what."""
    first, names = _first_group(verdict)
    if first.code.is_doubt:
        return f"{first.code}: {printable(first.sentence, REPORTED_LENGTH)}"
    return f"{first.code}: {counted(names)}"


def deciding_code(verdict: Verdict) -> str:
    """Give the code of the finding that decided, "" of a verdict without findings."""
    return str(_first_group(verdict)[0].code) if verdict.findings else ""


def reason_there(verdict: Verdict) -> str:
    """Give the reason for a reader who is not on the host that *verdict* is of."""
    if not verdict.findings:
        return f"fits ({printable(verdict.host_cpu) or 'nothing to compare'})"
    # the sentence was made for those who read it there
    return reason(verdict).replace("this host", "that host")


def reason_of(verdict: Verdict, code: Code, names: Sequence[str], called: str = "") -> str:
    """Give the sentence for the findings of *code*, which are about *names*, all of them.

    They are called what *called* says, where it says anything.
    """
    listed = called or counted(names, len(names))
    return _reason(verdict, code, listed, len(names))


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
    if verdict.would_refuse:
        why = f": {printable(verdict.leniency, REPORTED_LENGTH)}" if verdict.leniency else ""
        yield f"  would be refused in mode {Enforcement.ENFORCE}{why}"
    if verdict.guest_cpu:
        yield f"  guest CPU: {printable(verdict.guest_cpu)}"
    if verdict.host_cpu:
        yield f"  host CPU:  {printable(verdict.host_cpu)}"
    if verdict.source:
        yield f"  known by:  {printable(verdict.source, REPORTED_LENGTH)}"
    yield from _reasons(verdict, verdict.findings)


def _reasons(verdict: Verdict, found: Iterable[Finding]) -> Iterator[str]:
    for code, findings in _by_code(found):
        if code.is_doubt:
            yield f"  {code}: {printable(findings[0].sentence, REPORTED_LENGTH)}"
        else:
            yield f"  {code} ({findings[0].mode}):"
            yield from _whole_reason(verdict, code, findings)
        if findings[0].hint:
            yield f"    {printable(findings[0].hint, REPORTED_LENGTH)}"


def _whole_reason(verdict: Verdict, code: Code, findings: list[Finding]) -> Iterator[str]:
    """Name all subjects; many features are sorted by what they are for."""
    subjects = [printable(finding.subject) for finding in findings]
    groups = by_purpose(subjects)
    if code in _WITH_SENTENCES or len(subjects) <= UNSORTED_NAMES or "" in groups:
        yield f"    {_reason(verdict, code, ', '.join(subjects), len(subjects))}"
        if code in _WITH_SENTENCES:
            yield from _sentences(findings)
        return
    yield f"    {_reason(verdict, code, f'{len(subjects)} features', len(subjects))}:"
    for purpose, names in groups.items():
        yield f"      {purpose}: {', '.join(names)}"


def by_purpose(names: Sequence[str]) -> dict[str, list[str]]:
    """Sort *names* by what such features are for, the most urgent first.

    All of them under "" where that says nothing: they are no features, or none that are known.
    """
    groups = by_meaning(names)
    if set(groups) <= {Meaning.OTHER}:
        return {"": list(names)}
    return {str(meaning): group for meaning, group in groups.items()}


def _sentences(findings: list[Finding]) -> Iterator[str]:
    for finding in findings[:REPORTED_SENTENCES]:
        yield f"    {printable(finding.sentence, REPORTED_LENGTH)}"
    if len(findings) > REPORTED_SENTENCES:
        yield f"    and {len(findings) - REPORTED_SENTENCES} more"


def _by_code(findings: Iterable[Finding]) -> Iterator[tuple[Code, list[Finding]]]:
    groups: dict[Code, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.code, []).append(finding)
    yield from groups.items()


def _message_id(verdict: Verdict) -> str:
    return MESSAGE_ID[_first_group(verdict)[0].code] if verdict.findings else FITS


def journal_fields(verdict: Verdict, elapsed_usec: int) -> dict[str, str]:
    """Give the fields of the one journal record of *verdict*; never a word of the XML itself."""
    return {
        "MESSAGE": hook_line(verdict),
        "MESSAGE_ID": _message_id(verdict),
        "PRIORITY": str(PRIORITY[verdict.decision]),
        "GUARDD_DOMAIN": printable(verdict.domain, FIELD_LENGTH),
        "GUARDD_DOMAIN_UUID": printable(verdict.uuid),
        "GUARDD_OPERATION": verdict.operation,
        "GUARDD_DECISION": verdict.decision,
        "GUARDD_REFUSED": "yes" if verdict.refused else "no",
        "GUARDD_WOULD_REFUSE": "yes" if verdict.would_refuse else "no",
        "GUARDD_LENIENCY": printable(verdict.leniency, REPORTED_LENGTH),
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


def advice_line(verdict: Verdict, advice: Sequence[Finding]) -> str:
    """Give the one line of *advice*, not empty, about a definition; *verdict*: of its start now."""
    guest = printable(verdict.domain)
    first, names = _first_group(verdict._replace(findings=tuple(advice)))
    if first.code.is_doubt:
        reason = f"of {guest}: {printable(first.sentence, REPORTED_LENGTH)}"
    else:
        reason = _reason(verdict, first.code, counted(names), len(names))
    start = "defined, but could not start here: " if verdict.refused else "defined: "
    others = [code for code, _ in _by_code(advice) if code is not first.code]
    also = f" (also: {', '.join(others)})" if others else ""
    return f"cpu-guardd[{first.code}]: {start}{reason}{also}; see: cpu-guardctl check {guest}"


def advice_lines(verdict: Verdict, advice: Iterable[Finding]) -> list[str]:
    """Explain *advice* about a definition at length, each with its way out."""
    return list(_reasons(verdict, advice))


def advice_fields(verdict: Verdict, advice: Sequence[Finding]) -> dict[str, str]:
    """Give the fields of the one journal record of *advice*, but MESSAGE and MESSAGE_ID."""
    return {
        "GUARDD_DOMAIN": printable(verdict.domain, FIELD_LENGTH),
        "GUARDD_DOMAIN_UUID": printable(verdict.uuid),
        "GUARDD_FINDINGS": findings_field(advice),
        "GUARDD_REPORT": "\n".join([printable(verdict.domain) + ":", *_reasons(verdict, advice)]),
    }
