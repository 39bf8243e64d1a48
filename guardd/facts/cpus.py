"""The CPUs in a file, taken as virsh's cpu-compare and cpu-baseline take them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from guardd.cpu.definition import Arch, CPUDef, CPUType, Mode
from guardd.cpu.xml import cpu_from_element
from guardd.errors import GuardError, InvalidCPU
from guardd.xmldoc import Element, parse_xml, string_value

_DECLARATION = re.compile(r"<\?xml\s[^>]*\?>")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCPU:
    """A CPU, the architecture that its document gives it (None: none), and where it stands."""

    cpu: CPUDef
    arch: Arch | None
    place: str = ""


def parse_cpus(text: str, name: str = "CPU file") -> list[FoundCPU]:
    """Give the CPUs of *text*, in document order (spec cpu-x86, 3.2, "virsh helpers").

    Taken are <cpu>, a domain's, a host's in capabilities, and the host-model of domain
    capabilities; the text may hold several documents. A host's CPU keeps mode custom, so that it
    can be formatted. *name* is that of the file. Raises MalformedXML or InvalidCPU, also where
    there is no CPU at all.
    """
    root = parse_xml(f"<container>{_DECLARATION.sub('', text)}</container>", what=name)
    found = []
    for document in root:
        for element, arch in _elements(document):
            place = f"{name}:{element.sourceline}"
            try:
                found.append(FoundCPU(cpu=_cpu(element), arch=arch, place=place))
            except GuardError as exc:
                raise type(exc)(f"{place}: {exc}") from exc
    if not found:
        raise InvalidCPU(
            f"{name} does not contain any <cpu> element or valid domain XML, host capabilities"
            " XML, or domain capabilities XML"
        )
    return found


def _elements(document: Element) -> Iterator[tuple[Element, Arch | None]]:
    """Give the <cpu> elements of *document* with their architecture."""
    match document.tag:
        case "cpu":
            yield document, _arch(document.find("arch"))
        case "domain":
            os_type = document.find("os/type")
            arch = None if os_type is None else _known(os_type.get("arch"))
            for cpu in document.findall("cpu"):
                yield cpu, arch
        case "capabilities":
            for cpu in document.findall("host/cpu"):
                yield cpu, _arch(cpu.find("arch"))
        case "domainCapabilities":
            for mode in document.findall("cpu/mode[@name='host-model'][@supported='yes']"):
                mode.tag = "cpu"
                mode.attrib.clear()
                yield mode, _arch(document.find("arch"))


def _cpu(element: Element) -> CPUDef:
    cpu = cpu_from_element(element)
    return cpu._replace(mode=Mode.CUSTOM) if cpu.type is CPUType.HOST else cpu


def _arch(element: Element | None) -> Arch | None:
    return None if element is None else _known(string_value(element))


def _known(name: str | None) -> Arch | None:
    return Arch(name) if name in list(Arch) else None
