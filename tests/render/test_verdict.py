"""The words that a person reads: one line at the hook, a record in the journal, a report."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.journal import Kind
from guardd.judge.finding import Code, Decision, Enforcement, Finding, Operation, Verdict
from guardd.render import (
    FIELD_LENGTH,
    FITS,
    MESSAGE_ID,
    REPORTED_LENGTH,
    SHOWN_LENGTH,
    hook_line,
    journal_fields,
    printable,
    report,
)
from tests.judge.table import HASWELL, cpu, domain, judged, mode
from tests.strategies import values

HOST = "Haswell, KVM"


def verdict(
    *findings: tuple[Code, str],
    decision: Decision = Decision.DENY,
    sentence: str = "",
    guest_cpu: str = "Skylake-Server",
) -> Verdict:
    """Make a verdict on web1."""
    return Verdict(
        domain="web1",
        uuid="7d0a5d4e-30d5-4a4b-9a5f-9d3c8f6c2f0e",
        operation=Operation.PREPARE,
        decision=decision,
        refused=decision is Decision.DENY,
        findings=tuple(Finding(code, subject, sentence, "a hint") for code, subject in findings),
        guest_cpu=guest_cpu,
        host_cpu=HOST,
        source="libvirt at noon",
    )


MISSING = [
    (Code.MISSING_FEATURE, name)
    for name in ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
]
SEE = "; see: cpu-guardctl explain web1"


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], "cpu-guardd: web1 fits this host (Haswell, KVM)"),
        (
            MISSING,
            (
                "cpu-guardd[missing-feature]: web1 needs avx512f, avx512bw (+3) from"
                " Skylake-Server; this host (Haswell, KVM) lacks them; see: cpu-guardctl explain"
                " web1"
            ),
        ),
        (
            MISSING[:1],
            (
                "cpu-guardd[missing-feature]: web1 needs avx512f from Skylake-Server; this host"
                f" (Haswell, KVM) lacks it{SEE}"
            ),
        ),
        (
            MISSING[:2],
            (
                "cpu-guardd[missing-feature]: web1 needs avx512f, avx512bw from Skylake-Server;"
                f" this host (Haswell, KVM) lacks them{SEE}"
            ),
        ),
        (
            MISSING[:3],
            (
                "cpu-guardd[missing-feature]: web1 needs avx512f, avx512bw (+1) from"
                f" Skylake-Server; this host (Haswell, KVM) lacks them{SEE}"
            ),
        ),
        (
            [(Code.FORBIDDEN_FEATURE, "avx")],
            f"cpu-guardd[forbidden-feature]: web1 forbids avx; this host ({HOST}) has it{SEE}",
        ),
        (
            [(Code.EXTRA_FEATURE, "avx"), (Code.EXTRA_FEATURE, "aes")],
            (
                f"cpu-guardd[extra-feature]: web1 wants a strict match; this host ({HOST}) also has"
                f" avx, aes{SEE}"
            ),
        ),
        (
            [(Code.VENDOR_MISMATCH, "AMD")],
            (
                "cpu-guardd[vendor-mismatch]: web1 needs a CPU of vendor AMD; this host"
                f" ({HOST}) has another{SEE}"
            ),
        ),
        (
            [(Code.MODEL_MISMATCH, "POWER8")],
            f"cpu-guardd[model-mismatch]: web1 needs CPU model POWER8; this host is {HOST}{SEE}",
        ),
        (
            [(Code.COMPAT_MODE, "power10")],
            (
                "cpu-guardd[compat-mode]: web1 needs compatibility mode power10; this host"
                f" ({HOST}) lacks it{SEE}"
            ),
        ),
        (
            [(Code.UNKNOWN_FEATURE, "frob")],
            (
                "cpu-guardd[unknown-feature]: web1 names CPU feature frob; this host's libvirt does"
                f" not know it{SEE}"
            ),
        ),
        (
            [(Code.UNSUPPORTED_MODE, "host-model")],
            (
                "cpu-guardd[unsupported-mode]: web1 needs CPU mode host-model; this host"
                f" ({HOST}) does not support it{SEE}"
            ),
        ),
        (
            [(Code.ABOVE_CEILING, "avx"), (Code.ABOVE_CEILING, "aes"), (Code.ABOVE_CEILING, "x")],
            (
                "cpu-guardd[above-ceiling]: web1 would have avx, aes (+1) from Skylake-Server; that"
                f" is above this host's ceiling{SEE}"
            ),
        ),
    ],
)
def test_hook_line(findings: list[tuple[Code, str]], expected: str) -> None:
    """What virsh and virt-manager show; scripts look for what is in the brackets."""
    decision = Decision.DENY if findings else Decision.ALLOW

    assert expected == hook_line(verdict(*findings, decision=decision))


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_a_line(code: Code) -> None:
    """No code may end in a KeyError when a guest is refused."""
    decision = Decision.CANNOT_TELL if code.is_doubt else Decision.DENY
    line = hook_line(verdict((code, "subject"), decision=decision, sentence="the sentence"))

    assert line.startswith(f"cpu-guardd[{code}]: ")
    assert line.endswith(SEE)
    assert ("the sentence" if code.is_doubt else "subject") in line
    assert "web1" in line.removesuffix(SEE)


@pytest.mark.parametrize(
    ("decision", "expected"),
    [(Decision.DENY, Code.MISSING_FEATURE), (Decision.CANNOT_TELL, Code.UNCHECKED)],
)
def test_the_finding_that_decided_comes_first(decision: Decision, expected: Code) -> None:
    """Not the one that stands first."""
    both = [(Code.SILENT_DOWNGRADE, "a"), (Code.UNCHECKED, "b"), (Code.MISSING_FEATURE, "c")]
    given = verdict(*both, decision=decision, sentence="s")
    modes = [Enforcement.WARN, Enforcement.ENFORCE, Enforcement.ENFORCE]
    findings = [f._replace(mode=m) for f, m in zip(given.findings, modes, strict=True)]

    assert hook_line(given._replace(findings=tuple(findings))).startswith(
        f"cpu-guardd[{expected}]: "
    )


def test_a_verdict_on_a_host_of_which_nothing_is_known() -> None:
    """Without a host there is no empty pair of brackets."""
    given = verdict(decision=Decision.ALLOW)._replace(host_cpu="")

    assert "cpu-guardd: web1 fits this host (nothing to compare)" == hook_line(given)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web1", "web1"),
        ("büro 1 🐧", "büro 1 🐧"),
        ("a\nb", "a\\nb"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\x00b\x7f\x9b", "a\\x00b\\x7f\\x9b"),
        ("a\u202eb\u2028c", "a\\u202eb\\u2028c"),
        ("a\udcffb", "a\\udcffb"),
        ("x" * SHOWN_LENGTH, "x" * SHOWN_LENGTH),
        ("x" * (SHOWN_LENGTH + 1), "x" * (SHOWN_LENGTH - 1) + "…"),
    ],
)
def test_printable(text: str, expected: str) -> None:
    """What a terminal would act on is shown escaped; what is too long is cut."""
    assert expected == printable(text)


ANY = st.text(st.characters())
NASTY = ANY | st.sampled_from(
    ["\x1b[2J\x1b[H", "a\nb", "\r\n", "x" * 10_000, "{guest}", "%s", "\0"]
)
VERDICTS = values(
    Verdict,
    domain=NASTY,
    uuid=NASTY,
    operation=st.sampled_from(Operation),
    decision=st.sampled_from(Decision),
    refused=st.booleans(),
    would_refuse=st.booleans(),
    leniency=NASTY,
    findings=st.lists(
        st.builds(
            Finding, st.sampled_from(Code), NASTY, NASTY, NASTY, st.sampled_from(Enforcement)
        ),
        max_size=5,
    ).map(tuple),
    guest_cpu=NASTY,
    host_cpu=st.just(HOST),
    source=st.just("libvirt at noon"),
)


@given(VERDICTS)
def test_nothing_gets_through_to_a_terminal(given_verdict: Verdict) -> None:
    """Names and sentences hold what a guest's owner wrote; the line stays one line."""
    line = hook_line(given_verdict)

    assert line.isprintable()
    assert len(line) < 4 * SHOWN_LENGTH + REPORTED_LENGTH + 200


@given(VERDICTS)
def test_nothing_gets_through_to_a_report(given_verdict: Verdict) -> None:
    """No text can add a line of its own that looks like ours."""
    harmless = given_verdict._replace(
        domain="x",
        guest_cpu=given_verdict.guest_cpu and "x",
        leniency=given_verdict.leniency and "x",
        findings=tuple(
            f._replace(subject="x", sentence="x", hint=f.hint and "x")
            for f in given_verdict.findings
        ),
    )
    lines = report(given_verdict).split("\n")

    assert len(report(harmless).split("\n")) == len(lines)
    assert [] == [line for line in lines if not line.isprintable()]


@given(VERDICTS, st.integers(0, 10**9))
def test_nothing_gets_through_to_the_journal(given_verdict: Verdict, elapsed: int) -> None:
    """Fields are lines to most who read them."""
    fields = journal_fields(given_verdict, elapsed)
    del fields["GUARDD_REPORT"]

    assert [] == [value for value in fields.values() if not value.isprintable()]
    assert len(fields["GUARDD_DOMAIN"]) <= FIELD_LENGTH


def test_journal_fields() -> None:
    """The exact set: the manual and other people's scripts name them."""
    fields = journal_fields(verdict(*MISSING[:2]), 1234)
    told = fields.pop("GUARDD_REPORT")

    assert {
        "MESSAGE": hook_line(verdict(*MISSING[:2])),
        "MESSAGE_ID": "16b59cee2a5647ce8470d5eed12ce818",
        "PRIORITY": "3",
        "GUARDD_DOMAIN": "web1",
        "GUARDD_DOMAIN_UUID": "7d0a5d4e-30d5-4a4b-9a5f-9d3c8f6c2f0e",
        "GUARDD_OPERATION": "prepare",
        "GUARDD_DECISION": "deny",
        "GUARDD_REFUSED": "yes",
        "GUARDD_WOULD_REFUSE": "no",
        "GUARDD_LENIENCY": "",
        "GUARDD_FINDINGS": "missing-feature:avx512f missing-feature:avx512bw",
        "GUARDD_GUEST_CPU": "Skylake-Server",
        "GUARDD_HOST_CPU": "Haswell, KVM",
        "GUARDD_SOURCE": "libvirt at noon",
        "GUARDD_ELAPSED_USEC": "1234",
    } == fields
    assert report(verdict(*MISSING[:2])) == told


@pytest.mark.parametrize(
    ("decision", "priority", "refused"),
    [
        (Decision.ALLOW, "6", "no"),
        (Decision.WARN, "4", "no"),
        (Decision.DENY, "3", "yes"),
        (Decision.CANNOT_TELL, "4", "no"),
    ],
)
def test_each_decision_has_its_record(decision: Decision, priority: str, refused: str) -> None:
    """journalctl -p err shows refusals, -p warning what would have been one."""
    fields = journal_fields(verdict(decision=decision), 0)

    assert (priority, refused) == (fields["PRIORITY"], fields["GUARDD_REFUSED"])
    assert FITS == fields["MESSAGE_ID"]


@pytest.mark.parametrize("code", Code)
def test_each_finding_has_its_message_id(code: Code) -> None:
    """journalctl -x shows the page of what decided."""
    given = verdict((Code.SILENT_DOWNGRADE, "a"), (code, "b"), decision=Decision.DENY)
    modes = [Enforcement.WARN, Enforcement.ENFORCE]
    findings = tuple(f._replace(mode=m) for f, m in zip(given.findings, modes, strict=True))
    decision = Decision.CANNOT_TELL if code.is_doubt else Decision.DENY
    fields = journal_fields(given._replace(findings=findings, decision=decision), 0)

    assert MESSAGE_ID[code] == fields["MESSAGE_ID"]


def test_a_veto_that_was_none() -> None:
    """Line, report and journal say that the guest was let through, and why."""
    given = verdict(*MISSING[:1], decision=Decision.WARN)._replace(
        would_refuse=True, leniency="the\nreason"
    )
    line, lines = hook_line(given), report(given).splitlines()

    assert line.endswith(f"lacks it; let through, enforce would refuse{SEE}")
    assert "web1: prepare allowed (warn)" == lines[0]
    assert "  would be refused in mode enforce: the\\nreason" == lines[1]
    assert "yes" == journal_fields(given, 0)["GUARDD_WOULD_REFUSE"]


def test_a_report_with_many_sentences_ends() -> None:
    """A pool may lack hundreds of features."""
    given = verdict(*[(Code.OUTSIDE_POOL, f"f{n}") for n in range(50)], sentence="host b lacks it")

    assert ["    host b lacks it", "    and 38 more", "    a hint"] == report(given).splitlines()[
        -3:
    ]


def test_findings_are_words_without_blanks() -> None:
    """The field is split at blanks by whoever reads it."""
    fields = journal_fields(verdict((Code.UNKNOWN_HOST, "Haswell, KVM")), 0)

    assert "unknown-host:Haswell,_KVM" == fields["GUARDD_FINDINGS"]


def test_message_ids_are_all_different() -> None:
    """Each has a page of its own in the message catalog."""
    ids = [*MESSAGE_ID.values(), FITS, *Kind]

    assert len(ids) == len(set(ids))
    assert {32} == {len(word) for word in ids}
    assert set(Code) == set(MESSAGE_ID)


@pytest.mark.parametrize("asked", [cpu("Skylake-Server"), cpu("Nehalem"), mode("host-model"), ""])
def test_never_the_xml(asked: str) -> None:
    """On migrate and restore it carries passwords."""
    xml = domain(asked).replace("</domain>", "<graphics passwd='sekrit'/></domain>")
    given_verdict = judged(HASWELL, xml)
    everything = hook_line(given_verdict) + report(given_verdict)
    everything += " ".join(journal_fields(given_verdict, 0).values())

    assert "sekrit" not in everything
    assert "<" not in everything


def test_report() -> None:
    """All of it: what was held against what, every name, every way out."""
    xml = domain(cpu("Skylake-Server", "forbid avx", attributes="check='full'"))

    assert report(judged(HASWELL, xml)).splitlines() == [
        "web1: prepare refused (deny)",
        "  guest CPU: Skylake-Server",
        "  host CPU:  Haswell-noTSX, KVM",
        (
            "  known by:  libvirt at 2026-11-22T21:00:00Z: domain capabilities of"
            " /usr/bin/qemu-system-x86_64 pc-q35-7.2"
        ),
        "  forbidden-feature (enforce):",
        "    web1 forbids avx; this host (Haswell-noTSX, KVM) has it",
        "    set policy='disable' in its place to start the guest without it",
        "  missing-feature (enforce):",
        (
            "    web1 needs 5 features from Skylake-Server; this host (Haswell-noTSX, KVM) lacks"
            " them:"
        ),
        "      AVX-512 and AVX10: avx512f, avx512cd, avx512bw",
        "      transactional memory (TSX): hle, rtm",
        (
            "    set policy='disable' for what the guest can do without, choose an older CPU model,"
            " or use a host that has it all"
        ),
    ]


def test_report_of_a_doubt() -> None:
    """Its sentence is all there is to say."""
    assert report(judged(None, domain(""))).splitlines() == [
        "web1: prepare allowed (cannot-tell)",
        "  guest CPU: QEMU's default CPU",
        (
            "  unknown-host: nothing is known of this host: libvirt was never reached and nothing"
            " was kept"
        ),
        "    see `cpu-guardctl status` and the journal of cpu-guardd",
    ]
