"""libvirt's installed CPU map: which elements belong to an architecture, in which order.

Source: spec cpu-x86, section 1.1. What an element means is the business of the driver it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Protocol

from guardd.errors import BrokenMap, MalformedXML
from guardd.xmldoc import Element, read_xml

# takes the name of a file in the map's folder, gives its bytes; raises OSError
ReadFile = Callable[[str], bytes]

KINDS = ("vendor", "feature", "model")  # of one file, all of a kind before the next kind


class MapReader(Protocol):
    """What a driver builds from: called once for each element, in the order that counts."""

    def __call__(self, kind: str, name: str, element: Element) -> None: ...


def read_map(read: ReadFile, section: str, add: MapReader) -> None:
    """Give every element of the map's <arch name=*section*> to *add*, in libvirt's order.

    Raises BrokenMap, with the file's name, for whatever cannot be read or parsed.
    """
    index = _parse(read, "index.xml")
    arch = index.find(f"arch[@name='{section}']")
    if arch is None:
        raise BrokenMap(f"cannot find CPU map for {section} architecture in index.xml")
    _give(arch, "index.xml", add)
    for include in _includes(arch):
        filename = include.get("filename")
        if not filename:
            raise BrokenMap("Missing 'filename' in CPU map include in index.xml")
        _give(_parse(read, filename), filename, add)


def read_vendor(model: Element, name: str, known: Container[str]) -> str | None:
    """Give the vendor that a <model> called *name* refers to, None where it refers to none.

    Raises BrokenMap where the reference is empty, or the vendor is not *known* by then.
    """
    child = model.find("vendor")
    if child is None:
        return None
    vendor = child.get("name")
    if not vendor:
        raise BrokenMap(f"Invalid vendor element in CPU model {name}")
    if vendor not in known:
        raise BrokenMap(f"Unknown vendor {vendor} referenced by CPU model {name}")
    return vendor


def _includes(arch: Element) -> Iterator[Element]:
    # libvirt 10 began to group the includes; a group without a name is ignored
    for child in arch:
        if child.tag == "include":
            yield child
        elif child.tag == "group" and child.get("name"):
            yield from child.findall("include")


def _give(parent: Element, filename: str, add: MapReader) -> None:
    for kind in KINDS:
        for element in parent.findall(kind):
            name = element.get("name")
            if not name:
                raise BrokenMap(f"cannot find {kind} name in CPU map '{filename}'")
            try:
                add(kind, name, element)
            except BrokenMap as exc:
                raise BrokenMap(f"{exc} in CPU map '{filename}'") from exc


def _parse(read: ReadFile, filename: str) -> Element:
    try:
        return read_xml(read(filename), what=f"CPU map '{filename}'")
    except OSError as exc:
        raise BrokenMap(f"cannot read CPU map '{filename}': {exc.strerror or exc}") from exc
    except MalformedXML as exc:
        raise BrokenMap(str(exc)) from exc
