"""A desk that keeps what a chore says, for tests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from guardd.cpu import CPUMap
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.policy import Policy
from guardd.watch.chore import Desk, Known
from tests.judge.table import OWN_MAP


@dataclass
class Notes:
    """What verdicts go by, and all that was said, counted and noted."""

    host: HostSnapshot | None = None
    policy: Policy = field(default_factory=Policy)
    cpu_map: CPUMap = OWN_MAP
    records: list[dict[str, str]] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def desk(self) -> Desk:
        """Give the desk whose chores these notes are of."""
        return Desk(
            known=lambda: Known(host=self.host, policy=self.policy, cpu_map=self.cpu_map),
            say=self._say,
            count=lambda what: self.counted.update([what]),
            note=self._note,
        )

    def _say(self, kind: str, priority: str, message: str, **fields: str) -> None:
        self.records.append(
            {"MESSAGE_ID": kind, "PRIORITY": priority, "MESSAGE": message, **fields}
        )

    def _note(self, key: str, problem: str) -> None:
        self.problems.pop(key, None)
        if problem:
            self.problems[key] = problem
