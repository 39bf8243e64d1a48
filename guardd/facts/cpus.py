"""The CPUs in a file, taken as virsh's cpu-compare and cpu-baseline take them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from guardd.cpu.definition import Arch, CPUDef, CPUType, Mode
from guardd.cpu.xml import cpu_from_element
from guardd.errors import InvalidCPU
from guardd.xmldoc import Element, parse_xml, string_value

_DECLARATION = re.compile(r"<\?xml[^>]*\?>")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCPU:
    """A CPU and the architecture that its document gives it, None where it gives none."""

    cpu: CPUDef
    arch: Arch | None


def parse_cpus(text: str) -> list[FoundCPU]:
    """Give the CPUs of *text*, in document order (spec cpu-x86, 3.2, "virsh helpers").

    Taken are <cpu>, a domain's, a host's in capabilities, and the host-model of domain
    capabilities; the text may hold several documents. A host's CPU keeps mode custom, so that it
    can be formatted. Raises MalformedXML or InvalidCPU, also where there is no CPU at all.
    """
    root = parse_xml(f"<container>{_DECLARATION.sub('', text)}</container>", what="CPU file")
    found = [cpu for document in root for cpu in _cpus(document)]
    if not found:
        raise InvalidCPU("no CPU found: expected cpu, domain, capabilities or domainCapabilities")
    return found


def _cpus(document: Element) -> list[FoundCPU]:
    match document.tag:
        case "cpu":
            return [_found(document, document.find("arch"))]
        case "domain":
            os_type = document.find("os/type")
            arch = None if os_type is None else _arch(os_type.get("arch"))
            return [FoundCPU(cpu=cpu_from_element(c), arch=arch) for c in document.findall("cpu")]
        case "capabilities":
            return [_found(cpu, cpu.find("arch")) for cpu in document.findall("host/cpu")]
        case "domainCapabilities":
            modes = document.findall("cpu/mode[@name='host-model'][@supported='yes']")
            for mode in modes:
                mode.tag = "cpu"
                mode.attrib.clear()
            return [_found(mode, document.find("arch")) for mode in modes]
        case _:
            return []


def _found(element: Element, arch: Element | None) -> FoundCPU:
    cpu = cpu_from_element(element)
    if cpu.type is CPUType.HOST:
        cpu = replace(cpu, mode=Mode.CUSTOM)
    return FoundCPU(cpu=cpu, arch=None if arch is None else _arch(string_value(arch)))


def _arch(name: str | None) -> Arch | None:
    return Arch(name) if name in list(Arch) else None
