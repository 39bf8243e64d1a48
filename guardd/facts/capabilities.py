"""Capabilities XML (`virsh capabilities`) to the host's CPU and what QEMU offers which guests."""

from typing import NamedTuple

from guardd.cpu.definition import Arch, CPUDef, CPUType, Mode
from guardd.cpu.xml import cpu_from_element
from guardd.errors import InvalidCapabilities
from guardd.xmldoc import Element, read_xml, string_value


class GuestSupport(NamedTuple):
    """One <guest>: an architecture that an emulator here can run, with which virt types.

    `machines` maps each machine name, aliases included, to the canonical one.
    """

    arch: Arch
    emulator: str
    virt_types: tuple[str, ...]
    machines: tuple[tuple[str, str], ...]


class Capabilities(NamedTuple):
    """The host's CPU as libvirt decoded it from the silicon, and the guests it supports.

    `host_cpu` is None where libvirt could not name a model.
    """

    arch: Arch
    host_cpu: CPUDef | None
    guests: tuple[GuestSupport, ...]


def parse_capabilities(text: str | bytes) -> Capabilities:
    """Read a capabilities document; raises MalformedXML, InvalidCapabilities or InvalidCPU."""
    root = read_xml(text, what="capabilities")
    cpu = root.find("host/cpu")
    if root.tag != "capabilities" or cpu is None:
        raise InvalidCapabilities("not a capabilities document with a host CPU")
    arch = cpu.find("arch")
    known = _arch("" if arch is None else string_value(arch))
    if known is None:
        raise InvalidCapabilities("the host CPU has no known architecture")
    return Capabilities(
        arch=known,
        host_cpu=None if cpu.find("model") is None else host_cpu_from_element(cpu),
        guests=tuple(
            support for element in root.findall("guest/arch") for support in _guest(element)
        ),
    )


def host_cpu_from_element(cpu: Element) -> CPUDef:
    """Read a host's <cpu>; it gets mode custom, as libvirt's own decoded host has it."""
    return cpu_from_element(cpu, CPUType.HOST)._replace(mode=Mode.CUSTOM)


def _guest(element: Element) -> list[GuestSupport]:
    arch = _arch(element.get("name", ""))
    emulator = element.find("emulator")
    if arch is None or emulator is None:
        return []  # an architecture newer than this program: none of its guests can be judged
    machines = []
    for machine in element.findall("machine"):
        name = string_value(machine)
        machines.append((name, machine.get("canonical", name)))
    return [
        GuestSupport(
            arch=arch,
            emulator=string_value(emulator),
            virt_types=tuple(d.get("type", "") for d in element.findall("domain")),
            machines=tuple(machines),
        )
    ]


def _arch(name: str) -> Arch | None:
    try:
        return Arch(name)
    except ValueError:
        return None
