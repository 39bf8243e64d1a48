"""Attributes of an element as libvirt reads them: words, switches, numbers, and its messages."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from guardd.errors import InvalidCPU
from guardd.xmldoc import Element

INT_MAX = 0x7FFFFFFF
UINT_MAX = 0xFFFFFFFF
ULLONG_MAX = 0xFFFFFFFFFFFFFFFF

_MOST_DIGITS = 20  # of a number that is not too large in any case; Python's int() takes them all
# as C's strtoul and strtol with base 10 take them: blanks and a sign may stand before the digits
_UNSIGNED = r"[ \t\n\v\f\r]*\+?0*([0-9]{1,20})"
_SIGNED = r"[ \t\n\v\f\r]*([+-]?)0*([0-9]{1,20})"

Word = TypeVar("Word", bound=StrEnum)


@functools.cache
def _spelled(words: type[Word]) -> Mapping[str, Word]:
    """Give the members by their spelling: a call of the class finds one in four times the time."""
    return {member.value: member for member in words}


def word(words: type[Word], text: str, problem: str) -> Word:
    """Give the member that is spelled *text*; raises InvalidCPU with *problem*."""
    found: Word | None = _spelled(words).get(text)
    if found is None:
        raise InvalidCPU(problem)
    return found


def optional(words: type[Word], element: Element, name: str, default: Word) -> Word:
    """Read one of *words*, *default* when it is missing; raises InvalidCPU."""
    return required(words, element, name) if name in element.attrib else default


def required(words: type[Word], element: Element, name: str) -> Word:
    """Read one of *words*; raises InvalidCPU, when it is missing too."""
    found: Word | None = _spelled(words).get(_present(element, name))
    if found is None:
        raise InvalidCPU(_invalid(element, name))
    return found


def switch(element: Element, name: str, on: str = "on", off: str = "off") -> bool | None:
    """Read *on* or *off*, None when it is missing; raises InvalidCPU."""
    text = element.get(name)
    if text is None:
        return None
    if text not in (on, off):
        raise InvalidCPU(_invalid(element, name))
    return text == on


def parse_unsigned(text: str, limit: int = UINT_MAX) -> int | None:
    """Read a number up to *limit*; None: it is none."""
    # as nearly all are written, if not that long; the rest of C's ways takes longer to understand
    if len(text) <= _MOST_DIGITS and text.isdecimal() and text.isascii():
        number = int(text)
    elif found := re.fullmatch(_UNSIGNED, text):
        number = int(found[1])
    else:
        return None
    return number if number <= limit else None


def unsigned(element: Element, name: str, *, positive: bool = False, limit: int = UINT_MAX) -> int:
    """Read a number from 0, or 1, to *limit*; raises InvalidCPU, when it is missing too."""
    text = element.get(name)
    if text is None:
        raise _missing(element, name)
    number = parse_unsigned(text, limit)
    if number is None:
        raise InvalidCPU(f"{_invalid(element, name)} Expected non-negative integer value")
    if positive and number == 0:
        message = _invalid(element, name).removesuffix(f"'{element.get(name)}'.")
        raise InvalidCPU(f"{message}Zero is not permitted")
    return number


def integer(element: Element, name: str) -> int:
    """Read a number that libvirt keeps as a signed one; raises InvalidCPU if it is negative."""
    text = _present(element, name)
    number = parse_unsigned(text, INT_MAX)
    if number is None:
        found = re.fullmatch(_SIGNED, text)
        number = None if found is None else int(found[1] + found[2])
    if number is None or not -INT_MAX - 1 <= number <= INT_MAX:
        raise InvalidCPU(f"{_invalid(element, name)} Expected integer value")
    if number < 0:
        raise InvalidCPU(f"{_invalid(element, name)} Expected non-negative value")
    return number


def _present(element: Element, name: str) -> str:
    text = element.get(name)
    if text is None:
        raise _missing(element, name)
    return text


def _missing(element: Element, name: str) -> InvalidCPU:
    return InvalidCPU(f"Missing required attribute '{name}' in element '{element.tag}'")


def _invalid(element: Element, name: str) -> str:
    value = element.get(name)
    return f"Invalid value for attribute '{name}' in element '{element.tag}': '{value}'."
