"""Changes a <cpu> element in place: topology, cache and NUMA stay as they are."""

from __future__ import annotations

from guardd.cpu.definition import CPUDef, Mode
from guardd.xmldoc import Element

_OWN_CHILDREN = ("model", "vendor", "maxphysaddr", "feature")


def edit_cpu(element: Element, cpu: CPUDef) -> None:
    """Make *element*, a guest's <cpu>, say what *cpu* says; raises nothing.

    Mode, match, check, migratable, model, vendor, physical address bits and features are set; all
    else stays as it is. The order of the children is that of libvirt.
    """
    _set(element, "mode", cpu.mode)
    _set(element, "match", cpu.match if cpu.mode is Mode.CUSTOM else None)
    _set(element, "check", cpu.check)
    _set(element, "migratable", None if cpu.migratable is None else _on_off(cpu.migratable))
    for child in [child for child in element if child.tag in _OWN_CHILDREN]:
        element.remove(child)
    element.text = None
    for child in element:
        child.tail = None
    for position, child in enumerate(_model_and_vendor(element, cpu)):
        element.insert(position, child)
    if (width := cpu.maxphysaddr) is not None:
        words = {"mode": str(width.mode)}
        words |= {"bits": str(width.bits)} if width.bits is not None else {}
        words |= {"limit": str(width.limit)} if width.limit is not None else {}
        element.append(element.makeelement("maxphysaddr", words))
    for name, policy in cpu.features.items():
        words = {"policy": str(policy), "name": name}
        element.append(element.makeelement("feature", words))
    for numa in element.findall("numa"):
        element.append(numa)  # the last one in libvirt's order


def _model_and_vendor(element: Element, cpu: CPUDef) -> list[Element]:
    found = []
    if cpu.model is not None:
        words = {"fallback": str(cpu.fallback)}
        words |= {"vendor_id": cpu.vendor_id} if cpu.vendor_id is not None else {}
        model = element.makeelement("model", words)
        model.text = cpu.model
        found.append(model)
    if cpu.vendor is not None:
        vendor = element.makeelement("vendor")
        vendor.text = cpu.vendor
        found.append(vendor)
    return found


def _set(element: Element, name: str, value: str | None) -> None:
    if value is not None:
        element.set(name, value)
    elif name in element.attrib:
        del element.attrib[name]


def _on_off(value: bool) -> str:  # noqa: FBT001 (it is the value)
    return "on" if value else "off"
