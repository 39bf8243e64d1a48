"""What arrives on the hook's stdin is somebody else's text: these are the ways it can be bad."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.errors import MalformedXML
from guardd.xmldoc import (
    MAX_ATTRIBUTES,
    MAX_MARKS,
    MAX_NAMESPACES,
    MAX_XML,
    PLAIN,
    SMALL,
    Element,
    escape,
    parse_xml,
    read_xml,
    string_value,
)
from tests.recordings import DATA

LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY a "&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<domain><name>&c;</name></domain>"""
DEFAULTS = " ".join(f"a{n} CDATA 'x'" for n in range(10_000))
ATTRIBUTE_LIST = f"<!ATTLIST a {DEFAULTS}>"  # keeps libxml2 2.9 busy for minutes
QUADRATIC = f"<!ENTITY x '{'x' * 100_000}'>"
XI = "xmlns:xi='http://www.w3.org/2001/XInclude'"


def attributes(number: int) -> str:
    return " ".join(f"a{n}=''" for n in range(number))


def namespaces(number: int) -> str:
    return " ".join(f"xmlns:a{n}='u'" for n in range(number))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "is not well-formed XML", id="empty"),
        pytest.param(" \n", "is not well-formed XML", id="blank"),
        pytest.param("<domain", "is not well-formed XML", id="truncated in a tag"),
        pytest.param("<domain><name>web1</name>", "is not well-formed XML", id="truncated"),
        pytest.param("<a/><b/>", "is not well-formed XML", id="two roots"),
        pytest.param("<a></b>", "is not well-formed XML", id="wrong end tag"),
        pytest.param("<a b='1' b='2'/>", "is not well-formed XML", id="attribute twice"),
        pytest.param("<a>&nbsp;</a>", "is not well-formed XML", id="entity without a DTD"),
        pytest.param("<a>&#0;</a>", "is not well-formed XML", id="reference to NUL"),
        pytest.param("<a>\x00</a>", "is not well-formed XML", id="NUL"),
        pytest.param("<a>\x1b[31m</a>", "is not well-formed XML", id="escape character"),
        pytest.param("<!DOCTYPE a><a/>", "has a DTD", id="empty DTD"),
        pytest.param("<a/>\x00<b/>", "has a NUL", id="NUL after the document"),
        pytest.param(LAUGHS, "has a DTD", id="billion laughs"),
        pytest.param(
            f"<!DOCTYPE a [{QUADRATIC}]><a>{'&x;' * 100_000}</a>", "has a DTD", id="one long entity"
        ),
        pytest.param(
            f"<!DOCTYPE a [{QUADRATIC}]><a b='{'&x;' * 100_000}'/>",
            "has a DTD",
            id="one long entity, in an attribute",
        ),
        pytest.param(
            f"<!DOCTYPE a [{ATTRIBUTE_LIST}]><a/>", "has a DTD", id="list of attributes in a DTD"
        ),
        pytest.param(
            f"<?xml version='1.0'><!-- <a> --><!DOCTYPE a [{ATTRIBUTE_LIST}]><a/>",
            "has a DTD",
            id="list of attributes behind what looks like an element",
        ),
        pytest.param(
            "<!DOCTYPE a [<!ENTITY % x SYSTEM 'file:///etc/passwd'> %x;]><a/>",
            "has a DTD",
            id="external parameter entity",
        ),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
            "has a DTD",
            id="external entity",
        ),
        pytest.param(
            '<!DOCTYPE a SYSTEM "http://192.0.2.1/a.dtd"><a/>', "has a DTD", id="external DTD"
        ),
        pytest.param("<a>" * 100_000, "is not well-formed XML", id="deeper nesting"),
        pytest.param("<a>" + "<b/>" * MAX_MARKS + "</a>", "elements and attributes", id="many"),
        pytest.param(
            f"<a {attributes(16 * MAX_ATTRIBUTES)}/>", "an element with", id="wide element"
        ),
        pytest.param(f"<a {namespaces(4 * MAX_NAMESPACES)}/>", "namespaces", id="many namespaces"),
        pytest.param("<a>\udcff</a>", "is not UTF-8", id="byte that the hook could not decode"),
        pytest.param(b"<a>\xff</a>", "is not UTF-8", id="invalid UTF-8"),
        pytest.param(b"<a>\xed\xa0\x80</a>", "is not UTF-8", id="surrogate as UTF-8"),
        pytest.param("<a/>".encode("utf-16"), "is not UTF-8", id="UTF-16"),
        pytest.param("<a/>".encode("utf-16-le"), "is not well-formed XML", id="UTF-16, no mark"),
        pytest.param(b"<a>" + b"x" * MAX_XML + b"</a>", "more than the 16777216", id="too long"),
        pytest.param(
            "<a>" + "x" * 10_000_001 + "</a>", "is not well-formed XML", id="10 MB of one text"
        ),
    ],
)
def test_refused(text: str | bytes, problem: str) -> None:
    """One error for all of it, which names the document, and no entity is ever looked up."""
    with pytest.raises(MalformedXML) as caught:
        parse_xml(text, what="domain")
    with pytest.raises(MalformedXML) as caught_by_reader:
        read_xml(text, what="domain")

    assert str(caught.value).startswith("domain ")
    assert problem in str(caught.value)
    assert str(caught.value) == str(caught_by_reader.value)


def nested(depth: int) -> str:
    return "<a>" * depth + "</a>" * depth


def test_nesting() -> None:
    """libxml2 ends at 256; a short document that is only read may be nested as it likes."""
    with pytest.raises(MalformedXML, match="is not well-formed XML"):
        parse_xml(nested(300))
    with pytest.raises(MalformedXML, match="is not well-formed XML"):
        read_xml(nested(SMALL))

    assert 1 == len(read_xml(nested(300)))
    assert 1 == len(read_xml(nested(SMALL // len("<a></a>"))))


@pytest.mark.parametrize(
    ("text", "reader"),
    [
        ("<a xmlns='u'/>", "xml.etree.ElementTree"),
        (f"<a xmlns='{'u' * SMALL}'/>", "lxml.etree"),
        (f"<a>{'x' * SMALL}</a>", "xml.etree.ElementTree"),
        (f"<a>{'x' * PLAIN}</a>", "lxml.etree"),
    ],
)
def test_the_reader(text: str, reader: str) -> None:
    """Expat writes a namespace before each name in it, and so gets no long one."""
    assert reader == type(read_xml(text)).__module__


def test_a_namespace_that_is_no_uri() -> None:
    """lxml makes an error of libxml2's warning, libvirt does not."""
    with pytest.raises(MalformedXML, match="ns uri"):
        parse_xml("<a xmlns='b c'/>")

    assert "{b c}a" == read_xml("<a xmlns='b c'/>").tag


Tree = tuple[str, dict[str, str], str | None, str | None, list["Tree"]]


def tree(element: Element) -> Tree:
    """Give all that a reader finds below *element*."""
    words = {str(name): str(text) for name, text in element.attrib.items()}
    children = [tree(child) for child in element]
    return str(element.tag), words, element.text or None, element.tail or None, children


def parsed(read: Callable[..., Element], text: str) -> Tree | str:
    """Give the tree of *text*, or what is wrong with it."""
    try:
        return tree(read(text))
    except MalformedXML as exc:
        return str(exc)


@pytest.mark.parametrize("path", sorted(DATA.rglob("*.xml")), ids=lambda path: path.name)
def test_both_ways_of_reading_a_recording(path: Path) -> None:
    """What libvirt wrote is the same to libxml2 and expat."""
    text = path.read_text(encoding="utf-8")

    assert parsed(parse_xml, text) == parsed(read_xml, text)


@given(
    st.lists(
        st.sampled_from(
            [
                *("<a>", "</a>", "<b c='d'/>", "<a xmlns='u'>", "<x:a/>", "<a x:b='1'/>"),
                *("<a b='&lt;\n\t ' b='c'>", "<x:a xmlns:x='u' xmlns:y='u' x:b='1' y:b='2'/>"),
                *("<!--", "-->", "<![CDATA[", "]]>", "<?p", "?>", "<!DOCTYPE a>"),
                *("<?xml version='1.0'?>", "<?xml version='1.1'?>"),
                *("<?xml version='1.0' encoding='latin-1'?>", "<a xmlns:x='u'>"),
                *("&amp;", "&#65;", "&#x1F427;", "&#0;", "&#xD800;", "&nbsp;", "&", "<", ">", "'"),
                *("text", " ", "\n", "\r\n", "\r", "\t", "\x00", "\x01", "\x7f", "\x85", "\ufeff"),
                *("\ufffe", "\uffff", "\U0001f427", "a:b:c", "<a:b:c/>", "<:a/>", "<a :='1'/>"),
                *("<xml:a/>", "<a xml:lang='b' xml:id='c'/>", "<a xmlns:xml='u'/>", "<é/>"),
                *("<a-.·/>", "<a xmlns:x=''/>", "<a xmlns:xmlns='u'/>", "<xmlns:a/>"),
                *("<a b=c/>", "<a b/>"),
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_both_ways_of_reading(pieces: str) -> None:
    """The same tree, or the same words for what is wrong."""
    for text in (pieces, f"<a>{pieces}</a>"):
        assert parsed(parse_xml, text) == parsed(read_xml, text)


def test_a_document_in_many_pieces_may_be_long() -> None:
    """A guest with thousands of devices is no attack: 10 MB of elements are read."""
    disk = f"<disk {attributes(2)} file='{'x' * 80}'/>"
    text = f"<domain>{disk * 100_000}</domain>"

    assert 100_000 == len(parse_xml(text))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"<a {attributes(500)}/>", id="attributes"),
        pytest.param(f"<a {attributes(500)}>{'x' * 100_000}<b/></a>", id="in a long document"),
        pytest.param(f"<a>{'b=c ' * 100_000}</a>", id="a text that looks like attributes"),
        pytest.param(f"<a {namespaces(500)}>{'x' * 100_000}</a>", id="namespaces"),
        pytest.param("<a><![CDATA[<!DOCTYPE html>]]></a>", id="a web page in CDATA"),
        pytest.param(
            "\ufeff<?xml version='1.0'?>\n<!-- a-b --><?c?> <a><!-- <!DOCTYPE --></a>",
            id="a comment on DTDs",
        ),
    ],
)
def test_no_false_alarm(text: str) -> None:
    """What is unusual, and costs nothing, is read."""
    assert "a" == parse_xml(text).tag == read_xml(text).tag


def test_included_files_are_not_looked_at() -> None:
    """XInclude is an element like any other."""
    root = parse_xml(f"<a {XI}><xi:include href='file:///etc/passwd' parse='text'/></a>")

    assert "" == string_value(root)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("<a>x<!-- y -->z</a>", "xz", id="comment"),
        pytest.param("<a>x<?php y ?>z</a>", "xz", id="processing instruction"),
        pytest.param("<a><![CDATA[<x> & y]]></a>", "<x> & y", id="CDATA"),
        pytest.param("<a>&lt;&amp;&#65;&#x42;</a>", "<&AB", id="references"),
        pytest.param("<a>x<b>y</b>z</a>", "xyz", id="elements inside"),
        pytest.param("<a/>", "", id="nothing"),
        pytest.param("<?xml version='1.0' encoding='UTF-8'?><a>é</a>", "é", id="declaration"),
        pytest.param("<a>🐧 é</a>", "🐧 é", id="UTF-8"),
    ],
)
def test_text_of_an_element(text: str, expected: str) -> None:
    """As XPath's string() has it, which is what libvirt asks for."""
    assert expected == string_value(parse_xml(text)) == string_value(read_xml(text))


def test_comments_are_no_children() -> None:
    """A loop over children must not meet a comment: its tag is a function, not a name."""
    root = parse_xml("<a><!-- one --><b/><?two?><c/></a>")

    assert ["b", "c"] == [child.tag for child in root]


def test_a_declared_encoding_does_not_count() -> None:
    """The bytes are UTF-8 whatever they say of themselves: libvirt writes nothing else."""
    text = "<?xml version='1.0' encoding='iso-8859-1'?><a>é</a>".encode()

    assert "é" == string_value(parse_xml(text)) == string_value(read_xml(text))


def test_escape() -> None:
    """libvirt's own table, and no control character in a text that must be read back."""
    assert "a&amp;b&lt;c&gt;d&quot;e&apos;f\t\n" == escape("a&b<c>d\"e'f\t\n\x00\x1b")
