"""Untrusted XML text to an element tree: UTF-8 only, no DTD, no entities, no network."""

from __future__ import annotations

import functools
import re
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree.ElementTree import ParseError, XMLParser

from guardd.errors import MalformedXML

if TYPE_CHECKING:
    from lxml.etree import XMLSyntaxError
    from lxml.etree import _Element as Element
else:
    from xml.etree.ElementTree import Element  # of which one is to be read, lxml's is much more

__all__ = [
    "MAX_XML",
    "Element",
    "Unread",
    "escape",
    "format_xml",
    "indented_xml",
    "parse_xml",
    "read_xml",
    "string_value",
]

# libvirt's own limit on a string over RPC is 4 MiB (REMOTE_STRING_MAX); four times that leaves room
MAX_XML = 16 << 20

# libxml2 takes up to 200 bytes for a "<" or "=", so this is some 100 MB; a guest with 1000 disks
# has 100,000
MAX_MARKS = 1 << 19
# libxml2 before 2.12 holds each attribute of an element against all others of it, and looks for a
# prefix in one namespace after the other
MAX_ATTRIBUTES = 1024
MAX_NAMESPACES = 1024
# bytes, in which the worst takes some 60 ms: most guests need no closer look, and are for expat
SMALL = 32 << 10
PLAIN = (
    128 << 10
)  # likewise without namespaces, with which expat writes all names: a CPU map has none

# a tag that has room for more than MAX_ATTRIBUTES, with the text up to the next one
_LONG_TAG = rb"<[^<]{%d,}" % (4 * MAX_ATTRIBUTES)
_ATTRIBUTE = rb"=[ \t\r\n]*[\"']"
# what may stand before the first element, without what it takes to begin a DTD; stricter than XML
_PROLOG = rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n]++|<\?[^<>?]*\?>|<!--(?:[^-]++|-[^-])*+-->)*+<[^!?]"

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
    # control characters cannot stand in XML 1.0: libvirt drops them when it formats
    | {chr(c): None for c in range(32) if chr(c) not in "\t\n\r"}
)


class Unread(NamedTuple):
    """A child of the root, by its *name*, of which nobody reads more than its first *kept* child.

    Most of a long document may be in there: what is passed over is not even parsed, unless it has
    the words *sought*.
    """

    name: bytes
    kept: bytes
    sought: bytes


def parse_xml(text: str | bytes, *, what: str = "document") -> Element:
    """Parse *text* and return its root element, without comments and processing instructions.

    *what* names the document in errors. Raises MalformedXML for anything that is not UTF-8 or not
    well formed, holds a DTD, is nested or long beyond libxml2's limits, or exceeds MAX_XML bytes or
    one of the limits above.
    """
    return _parse(_utf_8(text, what), what)


def read_xml(text: str | bytes, *, what: str = "document", unread: Unread | None = None) -> Element:
    """Parse *text* for one who only reads it, and only downwards: that takes a fifth less time.

    The element has tag, text, attributes, children, find() and findall(), and no more than that.
    What is *unread* may be missing, and if it is, whether it is well formed is not looked at.
    Raises MalformedXML as `parse_xml` does, but a short document may be nested as it likes, and its
    namespaces need not be URIs.
    """
    data = _utf_8(text, what)
    if unread is not None and (short := _shortened(data, unread)) is not None:
        try:
            root = _read(short, what)
        except MalformedXML:
            return _parse(data, what)  # its error has the place in the whole document
        if root.find(unread.name.decode()) is not None:
            return root
    return _read(data, what)


def _utf_8(text: str | bytes, what: str) -> bytes:
    try:
        if isinstance(text, str):
            data = text.encode("utf-8")
        else:
            data = text
            data.decode("utf-8")
    except UnicodeError as exc:
        raise MalformedXML(f"{what} is not UTF-8") from exc
    if len(data) > MAX_XML:
        raise MalformedXML(f"{what} has {len(data)} bytes, more than the {MAX_XML} that are read")
    return data


def _shortened(data: bytes, unread: Unread) -> bytes | None:
    """Give *data* without what is *unread*, None where that cannot be told from its bytes.

    Without comments, CDATA and processing instructions each "<" begins a tag (XML 1.0, 2.4), so
    that one tag that begins so and one that ends so are those of one element.
    """
    start, end = b"<%b>" % unread.name, b"</%b>" % unread.name
    if b"\0" in data or b"<!" in data or b"<?" in data:
        return None
    if data.count(start[:-1]) != 1 or data.count(end[:-1]) != 1:
        return None
    before, is_there, rest = data.partition(start)
    inside, is_closed, after = rest.partition(end)
    if not is_there or not is_closed or unread.sought in inside:
        return None
    kept = re.match(rb"\s*<%b>[^<]*</%b>" % (unread.kept, unread.kept), inside)
    if kept is None and b"<%b" % unread.kept in inside:
        return None
    return b"".join((before, start, b"" if kept is None else kept[0], end, after))


def _read(data: bytes, what: str) -> Element:
    """Give Python's own tree, which is made by expat and read without a proxy for each element.

    Expat is given nothing that can hold a DTD, and so no entities: nor in UTF-16, which it takes
    for what it is, whatever it is told. And nothing long: one long namespace and 100,000 elements
    in it take it half a minute.
    """
    is_long = len(data) > SMALL and (len(data) > PLAIN or b"xmlns" in data)
    if is_long or b"\0" in data or b"<!DOCTYPE" in data:
        return _parse(data, what)
    parser: Any = XMLParser(encoding="utf-8")  # noqa: S314 (see above)
    try:
        parser.feed(data)
        root: Element = parser.close()
    except ParseError:
        return _parse(data, what)  # so that what is wrong is said in one way
    return root


def _parse(data: bytes, what: str) -> Element:
    etree = _lxml()
    if problem := _danger(data):
        raise MalformedXML(f"{what} {problem}")
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )
    try:
        root: Element = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as exc:
        raise MalformedXML(f"{what} is not well-formed XML: {_cause(exc)}") from exc
    return root


def _lxml() -> ModuleType:
    """Give lxml, loaded late: a command that only reads a guest may be done by then."""
    from lxml import etree  # noqa: PLC0415

    return etree


def _danger(data: bytes) -> str:
    """Say what libxml2 must not be given, "" for nothing: it takes its time, or does not mind."""
    if b"\0" in data:
        return "is not well-formed XML: it has a NUL"  # libxml2 stops reading there
    # seconds for 40 kB of attribute lists; later than at the root's start tag no DTD can begin
    if b"<!DOCTYPE" in data and not re.match(_PROLOG, data):
        return "has a DTD, which is not read"
    if len(data) <= SMALL:
        return ""
    if data.count(b"=") + data.count(b"<") > MAX_MARKS:
        return f"has more than {MAX_MARKS} elements and attributes"
    if data.count(b"xmlns") > MAX_NAMESPACES:
        return f"has more than {MAX_NAMESPACES} namespaces"
    if any(
        len(re.findall(_ATTRIBUTE, tag)) > MAX_ATTRIBUTES for tag in re.findall(_LONG_TAG, data)
    ):
        return f"has an element with more than {MAX_ATTRIBUTES} attributes"
    return ""


def _cause(exc: XMLSyntaxError) -> str:
    """Say what is wrong and where, in no word of the document's: libxml2 may quote a password."""
    line, column = exc.position
    cause = _causes().get(getattr(exc, "code", 0), "error")
    return f"{cause}, line {line}, column {column}"


@functools.cache
def _causes() -> dict[int, str]:
    """Give "tag name mismatch" and the like, by libxml2's number; there are hundreds."""
    return {
        code: name.removeprefix("ERR_").replace("_", " ").lower()
        for name, code in vars(_lxml().ErrorTypes).items()
        if isinstance(code, int)
    }


def format_xml(element: Element) -> str:
    """Give *element* of `parse_xml`, with the namespaces it needs, as text without declaration."""
    return str(_lxml().tostring(element, encoding="unicode", with_tail=False))


def string_value(element: Element) -> str:
    """All text inside *element*, as XPath's string() gives it."""
    return element.text or "" if len(element) == 0 else "".join(map(str, element.itertext()))


def escape(text: str) -> str:
    """*text* as libvirt escapes it in attributes and elements."""
    return text.translate(_ESCAPES)


def indented_xml(element: Element, indent: str = "") -> str:
    """Write *element* as libvirt writes XML: two spaces a level, single quotes; no line end.

    For elements that hold either text or other elements, as all of libvirt's do. Namespaces are
    left out.
    """
    name = str(element.tag).rpartition("}")[2]
    words = "".join(f" {key}='{escape(value)}'" for key, value in _attributes(element))
    if len(element):
        children = "".join(f"{indented_xml(child, indent + '  ')}\n" for child in element)
        return f"{indent}<{name}{words}>\n{children}{indent}</{name}>"
    text = escape(element.text or "")
    return f"{indent}<{name}{words}>{text}</{name}>" if text else f"{indent}<{name}{words}/>"


def _attributes(element: Element) -> list[tuple[str, str]]:
    return [(str(name), str(text)) for name, text in element.attrib.items()]
