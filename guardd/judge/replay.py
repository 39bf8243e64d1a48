"""A verdict that was given, read back from its journal record and decided anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guardd.judge import OTHER_EMULATOR, STALE
from guardd.judge.finding import Code, Decision, Finding
from guardd.judge.policy import Outcome, Policy, apply_policy, bound_for, bounded, lenient
from guardd.judge.revert import LENIENCY as REVERT


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What was decided then; `findings` have no sentences, those are not in their field.

    `leniency` says why it was held back, as in Verdict.
    """

    domain: str
    uuid: str
    operation: str
    decision: Decision
    refused: bool
    findings: tuple[Finding, ...]
    leniency: str


def past_verdict(fields: Mapping[str, str]) -> Past | None:
    """Read the journal fields of a verdict; None where they hold words that are not known here.

    A later version wrote them, or one that was earlier than any that was released.
    """
    try:
        return Past(
            domain=fields["GUARDD_DOMAIN"],
            uuid=fields.get("GUARDD_DOMAIN_UUID", ""),
            operation=fields.get("GUARDD_OPERATION", ""),
            decision=Decision(fields["GUARDD_DECISION"]),
            refused=fields.get("GUARDD_REFUSED") == "yes",
            findings=tuple(map(_finding, fields.get("GUARDD_FINDINGS", "").split())),
            leniency=fields.get("GUARDD_LENIENCY", ""),
        )
    except (KeyError, ValueError):
        return None


def decide_anew(past: Past, policy: Policy) -> Outcome:
    """Say what *policy* would have made of the same findings.

    What the guest's own metadata wanted is not in the journal and does not count.
    """
    findings = past.findings
    if past.leniency in (STALE, OTHER_EMULATOR):
        policy = lenient(policy)  # by what is known too badly nobody is refused
    if past.leniency == REVERT:
        findings = tuple(bounded(findings, policy.on_revert))
    return apply_policy(policy, bound_for(policy, past.domain, past.uuid), findings)


def is_different(past: Past, outcome: Outcome) -> bool:
    """Whether it was decided otherwise."""
    return (past.decision, past.refused) != (outcome.decision, outcome.refused)


def _finding(word: str) -> Finding:
    code, _colon, subject = word.partition(":")
    return Finding(Code(code), subject, "")
