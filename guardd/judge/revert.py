"""A revert to a snapshot: libvirt stops a running guest before it asks, and asks at `prepare`.

A refusal would not keep the guest running where it was; it would leave it off. So what is found
is bounded by `on_revert`.
"""

from __future__ import annotations

from guardd.cpu.definition import Mode
from guardd.judge.case import Case
from guardd.judge.finding import Operation
from guardd.judge.stage import Stage

LENIENCY = (
    "it looks like a revert to a snapshot, where libvirt has stopped the guest before it asks"
    " (on_revert)"
)

# QEMU gives it to every guest, so it is in every list that libvirt made of a CPU in force
_MADE_BY_QEMU = "hypervisor"


def is_revert(case: Case) -> bool:
    """Whether the guest, as far as can be told, comes from a snapshot of this host.

    A start from nothing has neither a stamp nor a CPU in force, unless its definition was made
    from the XML of a running guest. Where it is not known whether the guest arrives, as without the
    daemon, one with a stamp may be restored or reverted: the milder answer counts.
    """
    if case.operation is not Operation.PREPARE or case.arrives is True:
        return False
    has_stamp = case.stamp is not None
    if case.arrives is None:
        return has_stamp  # one that migrates was judged by it at `migrate`
    return has_stamp or bool(case.guest.stamp_problem) or shows_cpu_in_force(case)


def shows_cpu_in_force(case: Case) -> bool:
    """Whether the definition is what libvirt made of the CPU of a guest that ran.

    One that somebody wrote with check='full' is none: it is refused as any other.
    """
    is_custom = case.asked.mode is Mode.CUSTOM
    return case.stage is Stage.IN_FORCE and is_custom and _MADE_BY_QEMU in case.asked.features
