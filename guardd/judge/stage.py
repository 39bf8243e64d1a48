"""How far the CPU in a hook's XML is the one the guest will really have.

Source: what libvirt 9.0.0 and 11.3.0 put into each hook call; spec cpu-x86, 8.1, 8.2 and 8.5.
"""

from __future__ import annotations

from enum import StrEnum

from guardd import cpu
from guardd.cpu.definition import Check, CPUDef, Mode
from guardd.facts.domain import Guest
from guardd.judge.finding import CheckRequest, Operation


class Stage(StrEnum):
    """What the definition stands for."""

    # a fresh start: QEMU will be asked for this, and under check='none' may drop some of it
    WRITTEN = "written"
    # what a guest that runs or was saved really has; this host must give all of it
    IN_FORCE = "in-force"
    # an arriving guest's definition as its administrator wrote it; what it really has
    # travels beside it, and only `prepare` shows it
    ARRIVING = "arriving"


def stage_of(request: CheckRequest, guest: Guest, asked: CPUDef) -> Stage:
    """Tell the stage of *asked*, the CPU of *guest*, in the hook call of *request*."""
    if asked.check is Check.FULL:
        return Stage.IN_FORCE
    updates_live = cpu.driver_for(guest.arch).updates_live
    # an arriving guest that libvirt updates live has check='full' at its `prepare`
    if request.operation is Operation.PREPARE and (updates_live or request.arrives is not True):
        return Stage.WRITTEN
    # without a live update libvirt sends what was written, and it is what the guest has
    return Stage.ARRIVING if updates_live else Stage.IN_FORCE


def check_in_effect(guest: Guest, asked: CPUDef) -> Check:
    """Give the check of *asked*, or the default that libvirt puts in for it."""
    if asked.check is not None:
        return asked.check
    match asked.mode:
        case Mode.HOST_MODEL:
            return Check.PARTIAL
        case Mode.CUSTOM if guest.virt_type != "qemu":
            return Check.PARTIAL
        case _:
            return Check.NONE
