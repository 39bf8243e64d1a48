"""Attributes of an element as libvirt reads them: words, switches, numbers, and its messages."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TypeVar

from guardd.errors import InvalidCPU
from guardd.xmldoc import Element

INT_MAX = 0x7FFFFFFF
UINT_MAX = 0xFFFFFFFF
ULLONG_MAX = 0xFFFFFFFFFFFFFFFF

# as C's strtoul and strtol with base 10 take them: blanks and a sign may stand before the digits;
# no more of those than Python's int() surely takes
_UNSIGNED = re.compile(r"[ \t\n\v\f\r]*\+?0*([0-9]{1,20})")
_SIGNED = re.compile(r"[ \t\n\v\f\r]*([+-]?)0*([0-9]{1,20})")
_SURE_DIGITS = 9  # a number with no more is below every limit

Word = TypeVar("Word", bound=StrEnum)


def word(words: type[Word], text: str, problem: str) -> Word:
    """Give the member that is spelled *text*; raises InvalidCPU with *problem*."""
    try:
        return words(text)
    except ValueError:
        raise InvalidCPU(problem) from None


def optional(words: type[Word], element: Element, name: str, default: Word) -> Word:
    """Read one of *words*, *default* when it is missing; raises InvalidCPU."""
    return default if element.get(name) is None else required(words, element, name)


def required(words: type[Word], element: Element, name: str) -> Word:
    """Read one of *words*; raises InvalidCPU, when it is missing too."""
    try:
        return words(_present(element, name))
    except ValueError:
        raise InvalidCPU(_invalid(element, name)) from None


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
    if _is_plain(text):
        return int(text)
    found = _UNSIGNED.fullmatch(text)
    number = None if found is None else int(found[1])
    return None if number is None or number > limit else number


def unsigned(element: Element, name: str, *, positive: bool = False, limit: int = UINT_MAX) -> int:
    """Read a number from 0, or 1, to *limit*; raises InvalidCPU, when it is missing too."""
    number = parse_unsigned(_present(element, name), limit)
    if number is None:
        raise InvalidCPU(f"{_invalid(element, name)} Expected non-negative integer value")
    if positive and number == 0:
        message = _invalid(element, name).removesuffix(f"'{element.get(name)}'.")
        raise InvalidCPU(f"{message}Zero is not permitted")
    return number


def integer(element: Element, name: str) -> int:
    """Read a number that libvirt keeps as a signed one; raises InvalidCPU if it is negative."""
    text = _present(element, name)
    if _is_plain(text):
        return int(text)
    found = _SIGNED.fullmatch(text)
    number = None if found is None else int(found[1] + found[2])
    if number is None or not -INT_MAX - 1 <= number <= INT_MAX:
        raise InvalidCPU(f"{_invalid(element, name)} Expected integer value")
    if number < 0:
        raise InvalidCPU(f"{_invalid(element, name)} Expected non-negative value")
    return number


def _is_plain(text: str) -> bool:
    """Whether it is a number as nearly all are written: digits, and not many."""
    return len(text) <= _SURE_DIGITS and text.isdecimal() and text.isascii()


def _present(element: Element, name: str) -> str:
    text = element.get(name)
    if text is None:
        raise InvalidCPU(f"Missing required attribute '{name}' in element '{element.tag}'")
    return text


def _invalid(element: Element, name: str) -> str:
    value = element.get(name)
    return f"Invalid value for attribute '{name}' in element '{element.tag}': '{value}'."
