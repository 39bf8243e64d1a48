"""Features of the hypervisor's own CPUID leaves, not in the map (spec cpu-x86, section 1.6).

They can be looked for in CPU data and added to it, and never stand in a result.
"""

from __future__ import annotations

from guardd.cpu.x86.data import Register

_KVM = Register("cpuid", 0x40000001, 0, "eax")
_HYPERV = Register("cpuid", 0x40000003, 0, "eax")
_HYPERV_MORE = Register("cpuid", 0x40000003, 0, "edx")
_HYPERV_HINTS = Register("cpuid", 0x40000004, 0, "eax")
_HYPERV_HINTS_MORE = Register("cpuid", 0x40000004, 0, "edx")
_HYPERV_NESTED = Register("cpuid", 0x4000000A, 0, "eax")

INTERNAL: dict[str, tuple[Register, int]] = {
    "kvm_pv_unhalt": (_KVM, 0x80),
    "hv-runtime": (_HYPERV, 0x1),
    "hv-synic": (_HYPERV, 0x4),
    "hv-stimer": (_HYPERV, 0x8),
    "hv-xmm_input": (_HYPERV, 0x10),
    "hv-relaxed": (_HYPERV, 0x20),
    "hv-vapic": (_HYPERV, 0x30),
    "hv-vpindex": (_HYPERV, 0x40),
    "hv-reset": (_HYPERV, 0x80),
    "hv-frequencies": (_HYPERV, 0x800),
    "hv-reenlightenment": (_HYPERV, 0x2000),
    "hv-tlbflush-direct": (_HYPERV_MORE, 0x4000),
    "hv-stimer-direct": (_HYPERV_MORE, 0x80000),
    "hv-tlbflush": (_HYPERV_HINTS, 0x4),
    "hv-avic": (_HYPERV_HINTS, 0x200),
    "hv-ipi": (_HYPERV_HINTS, 0x400),
    "hv-evmcs": (_HYPERV_HINTS, 0x4000),
    "hv-tlbflush-ext": (_HYPERV_HINTS_MORE, 0x4000),
    "hv-emsr_bitmap": (_HYPERV_NESTED, 0x80000),
}
