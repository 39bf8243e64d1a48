"""What CPUID and the MSRs hold, as a value, and its <cpudata> text (spec cpu-x86, section 2)."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from guardd.cpu.attributes import UINT_MAX
from guardd.cpu.definition import Signature
from guardd.errors import InvalidCPUData
from guardd.xmldoc import Element

# as C's strtoul with base 0 takes it: blanks and a plus may stand before the digits
_C_NUMBER = re.compile(r"[ \t\n\v\f\r]*\+?(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")

_CPUID_REGISTERS = ("eax", "ebx", "ecx", "edx")
_MSR_REGISTERS = ("eax", "edx")  # the low and the high half


class Register(NamedTuple):
    """Where 32 bits of CPU data live: a CPUID leaf's register, or half of an MSR.

    Sorted, registers stand in libvirt's order of CPU data: by source, leaf, sub-leaf, name.
    """

    source: str  # "cpuid" or "msr"
    leaf: int  # EAX on input, or the MSR's index
    subleaf: int  # ECX on input; 0 for an MSR
    name: str  # eax, ebx, ecx, edx


SIGNATURE = Register("cpuid", 1, 0, "eax")
# the order of the twelve bytes of the vendor's string
VENDOR = tuple(Register("cpuid", 0, 0, name) for name in ("ebx", "edx", "ecx"))

NO_REGISTERS: Mapping[Register, int] = MappingProxyType({})


class CPUData(NamedTuple):
    """The registers that are not zero; those that no known feature uses are kept as well."""

    registers: Mapping[Register, int] = NO_REGISTERS

    @property
    def signature(self) -> Signature:
        """Family, model and stepping, all zero when leaf 1 is missing."""
        return decode_signature(self.registers.get(SIGNATURE, 0))


def parse_data(cpudata: Element) -> CPUData:
    """Read the children of a <cpudata> element; raises InvalidCPUData."""
    if not len(cpudata):
        raise InvalidCPUData("no x86 CPU data found")
    return CPUData(MappingProxyType(read_items(cpudata)))


def format_data(data: CPUData) -> str:
    """Write *data* as libvirt's <cpudata>, two spaces an indent, no final newline."""
    lines = ["<cpudata arch='x86'>"]
    for (source, leaf, subleaf), registers in groupby(sorted(data.registers), lambda r: r[:3]):
        values = dict.fromkeys(_CPUID_REGISTERS if source == "cpuid" else _MSR_REGISTERS, 0)
        values |= {register.name: data.registers[register] for register in registers}
        words = "".join(f" {name}='0x{value:08x}'" for name, value in values.items())
        if source == "cpuid":
            lines.append(f"  <cpuid eax_in='0x{leaf:08x}' ecx_in='0x{subleaf:08x}'{words}/>")
        else:
            lines.append(f"  <msr index='0x{leaf:x}'{words}/>")
    return "\n".join([*lines, "</cpudata>"])


def read_items(parent: Element) -> dict[Register, int]:
    """Read the CPUID and MSR items of a <cpudata> or <feature>; zeros are left out.

    Whatever is neither <alias> nor <cpuid> is an <msr>. Raises InvalidCPUData.
    """
    registers: dict[Register, int] = {}
    items = [child for child in parent if child.tag != "alias"]
    for index, item in enumerate(items):
        source = "cpuid" if item.tag == "cpuid" else "msr"
        try:
            values = list(_cpuid(item) if source == "cpuid" else _msr(item))
        except ValueError as exc:
            raise InvalidCPUData(f"Invalid {source}[{index}]") from exc
        for register, value in values:
            if value:
                registers[register] = registers.get(register, 0) | value
    return registers


def _cpuid(item: Element) -> Iterator[tuple[Register, int]]:
    leaf, subleaf = _number(item, "eax_in"), _number(item, "ecx_in", "0")
    for name in _CPUID_REGISTERS:
        if item.get(name) is not None:  # a feature of the map has one or two of the four
            yield Register("cpuid", leaf, subleaf, name), _number(item, name)


def _msr(item: Element) -> Iterator[tuple[Register, int]]:
    index = _number(item, "index")
    for name in _MSR_REGISTERS:
        yield Register("msr", index, 0, name), _number(item, name)


def _number(item: Element, name: str, default: str = "") -> int:
    """Read a number in C syntax: 0x hexadecimal, leading 0 octal, else decimal."""
    number = _c_number(item.get(name, default))
    if number is None:
        raise ValueError(name)
    return number


@lru_cache(maxsize=256)  # the CPU map has the same few again and again
def _c_number(text: str) -> int | None:
    match = _C_NUMBER.fullmatch(text)
    if match is None:
        return None
    hexadecimal, octal, decimal = match.groups()
    value = int(hexadecimal or octal or decimal, 16 if hexadecimal else 8 if octal else 10)
    return value if value <= UINT_MAX else None


def decode_signature(eax: int) -> Signature:
    """Read CPUID leaf 1 EAX; the extended family always counts, as in libvirt."""
    return Signature(
        family=(eax >> 20 & 0xFF) + (eax >> 8 & 0xF),
        model=(eax >> 12 & 0xF0) | (eax >> 4 & 0xF),
        stepping=eax & 0xF,
    )


def encode_signature(signature: Signature) -> int:
    """Give CPUID leaf 1 EAX for *signature*, type bits zero."""
    extended = max(signature.family - 0xF, 0)
    return (
        extended << 20
        | (signature.model >> 4 & 0xF) << 16
        | (signature.family - extended) << 8
        | (signature.model & 0xF) << 4
        | (signature.stepping & 0xF)
    )
