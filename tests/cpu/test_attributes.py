"""Numbers and words in attributes: C's leniency, libvirt's messages, and no way to crash us."""

from __future__ import annotations

import pytest

from guardd.cpu.attributes import (
    integer,
    optional,
    parse_unsigned,
    required,
    switch,
    unsigned,
)
from guardd.cpu.definition import Match
from guardd.errors import InvalidCPU
from guardd.xmldoc import Element, parse_xml

# int() refuses a text this long, with an error of its own
ENDLESS = "9" * 5000


def element(value: str) -> Element:
    return parse_xml(f"<e a='{value}'/>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("007", 7),
        (" +7", 7),
        ("4294967295", 0xFFFFFFFF),
        ("4294967296", None),
        ("", None),
        ("-0", None),
        ("7 ", None),
        ("0x7", None),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", None),
        ("\N{NO-BREAK SPACE}7", None),
        ("0" * 5000 + "7", 7),
        (ENDLESS, None),
    ],
)
def test_parse_unsigned(text: str, expected: int | None) -> None:
    """What C's strtoul takes, and what it refuses."""
    assert expected == parse_unsigned(text)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("x", "element 'e': 'x'. Expected non-negative integer value"),
        (ENDLESS, "Expected non-negative integer value"),
        ("0", "Invalid value for attribute 'a' in element 'e': Zero is not permitted"),
    ],
)
def test_unsigned(value: str, problem: str) -> None:
    """The words are libvirt's own."""
    with pytest.raises(InvalidCPU, match=problem):
        unsigned(element(value), "a", positive=True)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("x", "Expected integer value"),
        ("2147483648", "Expected integer value"),
        (ENDLESS, "Expected integer value"),
        ("-1", "Expected non-negative value"),
    ],
)
def test_integer(value: str, problem: str) -> None:
    """Where libvirt keeps an int, half of the numbers are left."""
    assert integer(element("-0"), "a") == 0
    with pytest.raises(InvalidCPU, match=problem):
        integer(element(value), "a")


def test_words() -> None:
    """A missing attribute is an error only where libvirt requires it."""
    assert optional(Match, element("strict"), "b", Match.EXACT) is Match.EXACT
    assert required(Match, element("strict"), "a") is Match.STRICT
    assert switch(element("on"), "b") is None
    for read in (
        lambda: required(Match, element("strict"), "b"),
        lambda: unsigned(element("1"), "b"),
    ):
        with pytest.raises(InvalidCPU, match="Missing required attribute 'b' in element 'e'"):
            read()
    with pytest.raises(InvalidCPU, match="Invalid value for attribute 'a' in element 'e': 'On'"):
        switch(element("On"), "a")
