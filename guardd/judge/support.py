"""The rule whether the hypervisor takes the mode and the model at all (spec cpu-x86, 8.3)."""

from __future__ import annotations

import re

from guardd import cpu
from guardd.cpu.definition import Fallback, Mode
from guardd.judge.case import Case
from guardd.judge.finding import Code, Finding

# libvirt's own PowerPC names; QEMU's are never spelled so (spec cpu-ppc64, 8)
_POWER_NAME = r"POWER[0-9]+\+?(_v[0-9.]+)?"


def judge_support(case: Case) -> list[Finding]:
    """Find a mode or a model that QEMU here does not offer, whatever the guest's check says."""
    hypervisor = case.reference.hypervisor
    mode = case.asked.mode or Mode.CUSTOM
    if mode not in hypervisor.modes:
        sentence = f"CPU mode '{mode}' is not supported by this host ({case.reference.label})"
        hint = "supported are: " + (", ".join(sorted(hypervisor.modes)) or "none")
        return [Finding(Code.UNSUPPORTED_MODE, mode, sentence, hint)]
    if mode is Mode.CUSTOM and hypervisor.models:
        return _judge_model(case)
    return []


def _judge_model(case: Case) -> list[Finding]:
    arch, hypervisor = case.guest.arch, case.reference.hypervisor
    asked = case.asked
    if cpu.same_family(case.snapshot.arch, arch):
        asked = cpu.convert_legacy(arch, asked)  # libvirt asks the host's driver to do it (8.3)
    model = asked.model or ""
    if model in hypervisor.models:
        return []
    if cpu.has_features(arch):
        if case.asked.fallback is Fallback.ALLOW:
            return []  # libvirt translates it to a model that QEMU has
    elif not re.fullmatch(_POWER_NAME, model) and model not in cpu.models(case.cpu_map, arch):
        # domain capabilities list only the map's models; QEMU may well have this one
        sentence = f"CPU model {model} is not in the CPU map, only QEMU can know it"
        return [Finding(Code.UNCHECKED, model, sentence)]
    sentence = f"CPU model {model} is not supported by this host's {hypervisor.emulator}"
    hint = f"see `virsh domcapabilities --arch {hypervisor.arch}` for the models it has"
    return [Finding(Code.UNSUPPORTED_MODEL, model, sentence, hint)]
