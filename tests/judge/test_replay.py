"""Verdicts read back from their records and decided anew."""

import pytest

from guardd import render
from guardd.facts.snapshot import Origin
from guardd.judge.finding import Code, Decision
from guardd.judge.replay import decide_anew, is_different, past_verdict
from tests.judge.table import HASWELL, UUID, cpu, domain, judged, policy_of

NEEDS = domain(cpu("Skylake-Server"))
DROPS = domain(cpu("Skylake-Server", attributes="check='none'"))
FITS = domain(cpu("Nehalem"))
UNREADABLE = "<domain"

ROWS = [
    pytest.param(NEEDS, "", "", "deny True", id="the same"),
    pytest.param(NEEDS, 'mode = "warn"', "", "deny True", id="stricter host"),
    pytest.param(NEEDS, 'mode = "observe"', 'mode = "warn"', "warn False", id="a bit stricter"),
    pytest.param(NEEDS, "", 'mode = "observe"', "allow False", id="laxer"),
    pytest.param(
        DROPS, "", '[rules]\nsilent-downgrade = "enforce"', "deny True", id="stricter rule"
    ),
    pytest.param(NEEDS, "", '[guests]\nweb1 = "warn"', "warn False", id="a guest by name"),
    pytest.param(NEEDS, "", f'[guests]\n{UUID} = "warn"', "warn False", id="a guest by UUID"),
    pytest.param(FITS, "", 'mode = "warn"', "allow False", id="nothing found"),
    pytest.param(UNREADABLE, "", 'on_cannot_tell = "deny"', "cannot-tell True", id="a doubt"),
]


@pytest.mark.parametrize(("xml", "then", "now", "expected"), ROWS)
def test_decided_anew(xml: str, then: str, now: str, expected: str) -> None:
    """From the journal's fields alone it is what the judge would say by the other policy."""
    verdict = judged(HASWELL, xml, toml=then)
    past = past_verdict(render.journal_fields(verdict, 1))

    assert past is not None
    assert (verdict.decision, verdict.refused) == (past.decision, past.refused)
    outcome = decide_anew(past, policy_of(now))
    assert expected == f"{outcome.decision} {outcome.refused}"
    asked_anew = judged(HASWELL, xml, toml=now)
    assert (asked_anew.decision, asked_anew.refused) == (outcome.decision, outcome.refused)
    changed = (past.decision, past.refused) != (outcome.decision, outcome.refused)
    assert changed is is_different(past, outcome)


def test_an_outdated_snapshot() -> None:
    """By one nobody is refused, by no policy."""
    verdict = judged(HASWELL._replace(origin=Origin.STALE), NEEDS)
    past = past_verdict(render.journal_fields(verdict, 1))

    assert past is not None
    assert Decision.WARN is decide_anew(past, policy_of("")).decision


@pytest.mark.parametrize(
    "spoiled",
    [
        {"GUARDD_DECISION": "perhaps"},
        {"GUARDD_FINDINGS": "missing-feature:avx2 colder-than-ice:x"},
        {"GUARDD_FINDINGS": "word"},
        {"GUARDD_FINDINGS": ":"},
    ],
)
def test_words_of_another_version(spoiled: dict[str, str]) -> None:
    """They are not guessed at."""
    fields = render.journal_fields(judged(HASWELL, NEEDS), 1)

    assert past_verdict(fields | spoiled) is None
    assert past_verdict({}) is None


def test_subjects() -> None:
    """A subject may hold colons; what it cannot hold is a space."""
    fields = render.journal_fields(judged(HASWELL, FITS), 1)
    past = past_verdict(fields | {"GUARDD_FINDINGS": "unknown-model:a:b_c  missing-feature:"})

    assert past is not None
    assert [(Code.UNKNOWN_MODEL, "a:b_c"), (Code.MISSING_FEATURE, "")] == [
        (finding.code, finding.subject) for finding in past.findings
    ]
