"""All that the rules look at, in one value."""

from collections.abc import Callable
from typing import NamedTuple

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import CPUDef
from guardd.facts.domain import Guest
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.stamp import Stamp
from guardd.judge.finding import Finding, Operation
from guardd.judge.policy import Policy
from guardd.judge.reference import KVM, Reference
from guardd.judge.stage import Stage


class Case(NamedTuple):
    """A guest whose CPU `asked` stands for `stage`, on a host that gives what `reference` says.

    `operation` and `arrives` are the request's. `stamp` is the guest's, if it can be relied on.
    """

    cpu_map: CPUMap
    policy: Policy
    snapshot: HostSnapshot
    guest: Guest
    asked: CPUDef
    stage: Stage
    reference: Reference
    operation: Operation
    arrives: bool | None
    stamp: Stamp | None = None

    @property
    def is_native(self) -> bool:
        """Whether the guest runs on the host's own CPU: under KVM, and of its architecture."""
        is_of_host = cpu.same_family(self.snapshot.arch, self.guest.arch)
        return self.guest.virt_type == KVM and is_of_host


Rule = Callable[[Case], list[Finding]]
