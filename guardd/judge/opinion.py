"""What libvirt's compareHypervisorCPU would say of a guest's CPU, to be held against what it says.

It asks about the same CPU as the check at a start, but of what QEMU reports alone, where on KVM the
start adds the silicon (spec cpu-x86, 7.5 and 7.6): so this is no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass

from guardd.cpu import CPUMap
from guardd.cpu.definition import Check, CPUDef, Mode
from guardd.cpu.driver import CompareResult, Comparison
from guardd.cpu.xml import format_cpu
from guardd.errors import GuardError
from guardd.facts.domain import Guest
from guardd.facts.domcaps import Hypervisor, HypervisorKey
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.case import Case
from guardd.judge.compatibility import compare_with_hypervisor
from guardd.judge.finding import Operation
from guardd.judge.policy import Policy
from guardd.judge.reference import build_reference, find_hypervisor
from guardd.judge.stage import Stage, check_in_effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What libvirt is asked: the <cpu> element *cpu*, of the hypervisor that the guest runs on."""

    cpu: str
    key: HypervisorKey


def question_for(guest: Guest) -> Question | None:
    """Give the question about a guest that is about to start afresh, as its definition has it.

    None where libvirt does not check it: by its mode or its check, or nothing is asked for.
    """
    asked = guest.cpu
    if asked is None or asked.mode not in (Mode.CUSTOM, Mode.HOST_MODEL):
        return None
    if asked.model is None and not asked.features:
        return None
    if check_in_effect(guest, asked) is Check.NONE:
        return None
    key = HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)
    return Question(cpu=format_cpu(asked), key=key)


def own_answer(
    guest: Guest, asked: CPUDef, snapshot: HostSnapshot, cpu_map: CPUMap
) -> tuple[Comparison | GuardError, Hypervisor] | None:
    """Answer for the CPU *asked* of *guest*, and give the hypervisor that it was held against.

    The error is that which keeps it from being compared. None where the guest's own hypervisor is
    not known, or libvirt tells of no CPU that it gives.
    """
    key = HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)
    found = find_hypervisor(snapshot, key)
    if found is None or not found[1] or found[0].host_model is None:
        return None
    try:
        case = Case(
            cpu_map=cpu_map,
            policy=Policy(),
            snapshot=snapshot,
            guest=guest,
            asked=asked,
            stage=Stage.WRITTEN,
            reference=build_reference(cpu_map, snapshot, found[0], exact=True),
            operation=Operation.PREPARE,
            arrives=False,
        )
        return compare_with_hypervisor(case), found[0]
    except GuardError as exc:
        return exc, found[0]


def in_words(answer: Comparison | GuardError) -> str:
    """Give *answer* in one line: the result, and what stands in the way."""
    if isinstance(answer, GuardError):
        return f"{answer.code}: {answer}"
    if answer.difference is None:
        return answer.result
    return f"{answer.result}: {answer.difference} {' '.join(answer.subjects)}"


def agrees(answer: Comparison | GuardError, libvirts: str) -> bool:
    """Whether *answer* is the one that libvirt gave in its own word."""
    return isinstance(answer, Comparison) and answer.result.as_libvirt == CompareResult(libvirts)
