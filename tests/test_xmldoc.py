"""What arrives on the hook's stdin is somebody else's text: these are the ways it can be bad."""

import pytest

from guardd.errors import MalformedXML
from guardd.xmldoc import MAX_XML, escape, parse_xml, string_value

LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY a "&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<domain><name>&c;</name></domain>"""


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
        pytest.param(LAUGHS, "is not well-formed XML", id="billion laughs"),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
            "has a DTD",
            id="external entity",
        ),
        pytest.param(
            '<!DOCTYPE a SYSTEM "http://192.0.2.1/a.dtd"><a/>', "has a DTD", id="external DTD"
        ),
        pytest.param("<a>" * 300 + "</a>" * 300, "is not well-formed XML", id="deep nesting"),
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

    assert str(caught.value).startswith("domain ")
    assert problem in str(caught.value)


def test_a_document_in_many_pieces_may_be_long() -> None:
    """A guest with thousands of devices is no attack: 10 MB of elements are read."""
    text = "<domain>" + "<disk type='file'/>" * 530_000 + "</domain>"

    assert 530_000 == len(parse_xml(text))


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
    assert expected == string_value(parse_xml(text))


def test_comments_are_no_children() -> None:
    """A loop over children must not meet a comment: its tag is a function, not a name."""
    root = parse_xml("<a><!-- one --><b/><?two?><c/></a>")

    assert ["b", "c"] == [child.tag for child in root]


def test_a_declared_encoding_does_not_count() -> None:
    """The bytes are UTF-8 whatever they say of themselves: libvirt writes nothing else."""
    text = "<?xml version='1.0' encoding='iso-8859-1'?><a>é</a>".encode()

    assert "é" == string_value(parse_xml(text))


def test_escape() -> None:
    """libvirt's own table, and no control character in a text that must be read back."""
    assert "a&amp;b&lt;c&gt;d&quot;e&apos;f\t\n" == escape("a&b<c>d\"e'f\t\n\x00\x1b")
