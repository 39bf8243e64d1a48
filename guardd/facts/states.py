"""The states of a guest that a host keeps: its definition, and what it would come back from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from guardd.errors import InvalidDomain
from guardd.xmldoc import Element, format_xml, parse_xml, string_value

# of a snapshot with memory: reverting brings back a guest that runs
_WITH_MEMORY = frozenset({"running", "paused"})


class Standing(StrEnum):
    """In which state a guest's CPU waits for this host."""

    DEFINED = "defined"  # for its next start
    RUNNING = "running"
    SAVED = "saved"  # managed save
    SNAPSHOT = "snapshot"  # with memory


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestState:
    """One state of a guest; `xml` is its domain document, without secrets.

    `snapshot` is the name of the snapshot, "" in other states.
    """

    name: str
    uuid: str
    standing: Standing
    xml: str
    snapshot: str = ""

    @property
    def words(self) -> str:
        """Call it by what it is: "running", "snapshot before-update"."""
        return f"{self.standing} {self.snapshot}" if self.snapshot else str(self.standing)


def snapshot_state(text: str, *, name: str, uuid: str) -> GuestState | None:
    """Give the state that reverting to the snapshot in *text* brings the guest *name* back to.

    None where the guest was off or its memory was not kept: reverting is a start then. Raises
    MalformedXML, or InvalidDomain for another document.
    """
    root = parse_xml(text, what="snapshot")
    domain = root.find("domain")
    if root.tag != "domainsnapshot" or domain is None:
        raise InvalidDomain("the snapshot does not hold its domain")
    memory = root.find("memory")
    if _text(root, "state") not in _WITH_MEMORY:
        return None
    if memory is not None and memory.get("snapshot") == "no":
        return None
    return GuestState(
        name=name,
        uuid=uuid,
        standing=Standing.SNAPSHOT,
        xml=format_xml(domain),
        snapshot=_text(root, "name"),
    )


def defined_state(text: str) -> GuestState:
    """Give the state in a file of libvirt's with a definition.

    Raises MalformedXML, or InvalidDomain where it is not one.
    """
    root = parse_xml(text, what="domain")
    name = _text(root, "name")
    if root.tag != "domain" or not name:
        raise InvalidDomain("the file does not hold a domain with a name")
    uuid = _text(root, "uuid").strip()
    return GuestState(name=name, uuid=uuid, standing=Standing.DEFINED, xml=text)


def _text(root: Element, path: str) -> str:
    found = root.find(path)
    return "" if found is None else string_value(found)
