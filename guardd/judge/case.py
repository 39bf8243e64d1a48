"""All that the rules look at, in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from guardd.cpu import CPUMap
from guardd.cpu.definition import CPUDef
from guardd.facts.domain import Guest
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.finding import Finding
from guardd.judge.policy import Policy
from guardd.judge.reference import Reference
from guardd.judge.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A guest whose CPU `asked` stands for `stage`, on a host that gives what `reference` says."""

    cpu_map: CPUMap
    policy: Policy
    snapshot: HostSnapshot
    guest: Guest
    asked: CPUDef
    stage: Stage
    reference: Reference


Rule = Callable[[Case], list[Finding]]
