"""Domain XML to a Guest: only what a verdict needs, so that no secret leaves this file."""

from typing import NamedTuple

from guardd.cpu.attributes import ULLONG_MAX, parse_unsigned
from guardd.cpu.definition import Arch, CPUDef, CPUType
from guardd.cpu.edit import edit_cpu
from guardd.cpu.xml import cpu_from_element
from guardd.errors import BadStamp, InvalidDomain
from guardd.facts.stamp import NAMESPACE, Stamp, find_stamp
from guardd.xmldoc import (
    Element,
    Unread,
    format_xml,
    indented_xml,
    parse_xml,
    read_xml,
    string_value,
)

# <policy mode="..."/> in a guest's <metadata>; heeded where the host's configuration lets it
POLICY_NAMESPACE = "https://cpuguardd.io/xmlns/policy"
_POLICY = f"{{{POLICY_NAMESPACE}}}policy"

# all that `parse_domain` looks at: the root's attributes, and below it
_ROOT_READ = ("type", "id")
_READ = (
    *("name", "uuid", "os/type", "cpu", "clock/timer[@name='tsc']", "devices/emulator"),
    *(f".//{{{namespace}}}*" for namespace in (NAMESPACE, POLICY_NAMESPACE)),
)
# most of the document, the more disks the more; a stamp in there is a false one
_DEVICES = Unread(b"devices", kept=b"emulator", sought=NAMESPACE.encode())


class Guest(NamedTuple):
    """What a verdict needs of a domain; `machine` and `emulator` may be missing in a file.

    `virt_type` is libvirt's domain/@type ("kvm", "qemu"). `cpu` is None without <cpu>.
    `tsc_frequency` is that of its tsc timer, Hz. `stamp` is its birth record; `stamp_problem` says
    why one that it has cannot be relied on. `wanted_mode` is what its own metadata wants done about
    findings, as written there. `runs`: the document is of a guest that libvirt runs; at a hook's
    `prepare` it may be of one that is about to.
    """

    name: str
    uuid: str | None
    virt_type: str
    arch: Arch
    machine: str | None = None
    emulator: str | None = None
    cpu: CPUDef | None = None
    tsc_frequency: int | None = None
    stamp: Stamp | None = None
    stamp_problem: str = ""
    wanted_mode: str = ""
    runs: bool = False


def parse_domain(text: str | bytes) -> Guest:
    """Read a domain document.

    Raises MalformedXML, InvalidDomain where something a verdict needs is missing or unknown, and
    InvalidCPU for its <cpu>.
    """
    domain = read_xml(text, what="domain", unread=_DEVICES)
    if domain.tag != "domain":
        raise InvalidDomain(f"root element is '{domain.tag}', not 'domain'")
    virt_type = domain.get("type")
    if not virt_type:
        raise InvalidDomain("domain has no type")
    name = domain.find("name")
    if name is None or not string_value(name):
        raise InvalidDomain("domain has no name")
    os_type = _below(domain, "os", "type")
    arch = os_type.get("arch") if os_type is not None else None
    if os_type is None or not arch:
        raise InvalidDomain("domain has no os/type/@arch")
    try:
        known_arch = Arch(arch)
    except ValueError:
        raise InvalidDomain(f"domain has the unknown architecture '{arch}'") from None
    stamp, stamp_problem = _stamp(domain)
    uuid, emulator = domain.find("uuid"), _below(domain, "devices", "emulator")
    cpu = domain.find("cpu")
    return Guest(
        name=string_value(name),
        uuid=None if uuid is None else string_value(uuid).strip() or None,
        virt_type=virt_type,
        arch=known_arch,
        machine=os_type.get("machine"),
        emulator=None if emulator is None else string_value(emulator) or None,
        cpu=None if cpu is None else cpu_from_element(cpu, CPUType.GUEST),
        tsc_frequency=_tsc_frequency(domain),
        stamp=stamp,
        stamp_problem=stamp_problem,
        wanted_mode=_wanted_mode(domain),
        runs="id" in domain.attrib,
    )


def _below(element: Element, *names: str) -> Element | None:
    """Give the first child of the first child... by *names*; a path takes longer to understand."""
    for name in names:
        found = element.find(name)
        if found is None:
            return None
        element = found
    return element


def _stamp(domain: Element) -> tuple[Stamp | None, str]:
    try:
        return find_stamp(domain), ""
    except BadStamp as exc:
        return None, str(exc)


def _tsc_frequency(domain: Element) -> int | None:
    clock = domain.find("clock")
    for timer in () if clock is None else clock.findall("timer"):
        if timer.get("name") == "tsc":
            return parse_unsigned(timer.get("frequency", ""), ULLONG_MAX)
    return None


def _wanted_mode(domain: Element) -> str:
    element = _below(domain, "metadata", _POLICY)
    return "" if element is None else element.get("mode", "")


def trim_domain(text: str | bytes) -> str:
    """Give the domain *text* with nothing in it but what `parse_domain` reads.

    For another host: disks, passwords and addresses are none of its business. Raises MalformedXML.
    """
    domain = parse_xml(text, what="domain")
    read = [element for path in _READ for element in domain.findall(path)]
    whole = {each for element in read for each in element.iter()}
    way = {each for element in read for each in element.iterancestors()} - whole
    for element in way:
        kept = _ROOT_READ if element is domain else ()
        for child in [child for child in element if child not in whole | way]:
            element.remove(child)
        for child in element:
            child.tail = None
        element.text = None
        for name in set(element.attrib) - set(kept):
            del element.attrib[name]
    return format_xml(domain)


class Rewritten(NamedTuple):
    """A domain document with another <cpu>, and that element before and after, "" for none."""

    domain: str
    before: str
    after: str


def rewrite_cpu(text: str | bytes, cpu: CPUDef | None) -> Rewritten:
    """Give the domain document *text* with the <cpu> that *cpu* says, None for none at all.

    What *cpu* knows nothing of, such as NUMA cells, stays. Raises MalformedXML.
    """
    domain = parse_xml(text, what="domain")
    element = domain.find("cpu")
    before = "" if element is None else indented_xml(element)
    if cpu is None:
        if element is not None:
            domain.remove(element)
        return Rewritten(format_xml(domain), before, "")
    if element is None:
        element = domain.makeelement("cpu")
        domain.append(element)
    edit_cpu(element, cpu)
    return Rewritten(format_xml(domain), before, indented_xml(element))
