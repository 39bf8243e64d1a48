"""Changes to a document that keep its shape: elements, keys, lines; and now and then its bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from lxml import etree

from tests.fuzz.words import JSON_NAMES, NAMES, NUMBERS, XML_WORDS

LONGEST = 1 << 16  # bytes of an input: more is tried one by one, in tests/test_hostile.py
MANY = 300  # copies of one element

Mutation = Callable[[bytes, Random], bytes]


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Cut, copy, exchange or put in a few bytes."""
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((0, 1, 2, 16, 256)))
    match random.randrange(5):
        case 0:
            piece = b""
        case 1:
            piece = data[at:end] * random.choice((2, 3, 50))
        case 2:
            piece = bytes(random.randrange(256) for _ in range(random.randrange(1, 9)))
        case 3:
            piece = random.choice(
                (b"\0", b"<", b">", b"&", b'"', b"\\", b"{", b"[", b"\xff", b"\xed")
            )
        case _:
            piece = random.choice((*XML_WORDS, *NUMBERS, *NAMES)).encode("utf-8", "surrogatepass")
    return (data[:at] + piece + data[end:])[:LONGEST]


def mutate_xml(data: bytes, random: Random) -> bytes:
    """Change an element, an attribute or a text; bytes where that is no XML."""
    if random.random() < 0.1:
        return mutate_bytes(data, random)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return mutate_bytes(data, random)
    elements = [] if root is None else [each for each in root.iter() if isinstance(each.tag, str)]
    if not elements:
        return mutate_bytes(data, random)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        _change_element(random.choice(elements), elements, random)
    return bytes(etree.tostring(root, encoding="utf-8"))[:LONGEST]


def _change_element(element: Any, elements: list[Any], random: Random) -> None:  # noqa: ANN401
    parent = element.getparent()
    try:
        match random.randrange(8):
            case 0 if parent is not None:
                parent.remove(element)
            case 1 if parent is not None:
                text = etree.tostring(element, with_tail=False)
                for _ in range(min(random.choice((1, 1, 2, MANY)), LONGEST // len(text) + 1)):
                    parent.append(etree.fromstring(text))
            case 2:
                element.tag = random.choice(XML_WORDS)
            case 3:
                element.text = _word(random)
            case 4 if element.attrib:
                del element.attrib[random.choice(list(element.attrib))]
            case 5:
                other = random.choice(elements)
                if element not in list(other.iterancestors()) and other is not element:
                    element.append(other)
            case 6 if element.attrib:
                element.attrib[random.choice(list(element.attrib))] = _word(random)
            case _:
                element.attrib[random.choice(XML_WORDS)] = _word(random)
    except (ValueError, etree.XMLSyntaxError):
        return  # a word that XML cannot hold


def _word(random: Random) -> str:
    return random.choice(random.choice((XML_WORDS, NUMBERS, NAMES)))


def mutate_json(data: bytes, random: Random) -> bytes:
    """Change a value or a key; bytes where that is no JSON."""
    if random.random() < 0.1:
        return mutate_bytes(data, random)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, random)
    whole = [document]
    _change_value(whole, 0, random)
    try:
        return json.dumps(whole[0]).encode()[:LONGEST]
    except (ValueError, RecursionError):
        return data


def _change_value(holder: Any, key: Any, random: Random) -> None:  # noqa: ANN401
    value = holder[key]
    if isinstance(value, dict | list) and value and random.random() < 0.97:
        # the last is the document in the message
        inner = list(value)[-1] if isinstance(value, dict) else random.randrange(len(value))
        if isinstance(value, dict) and random.random() < 0.5:
            inner = random.choice(list(value))
        if random.random() < 0.95:
            _change_value(value, inner, random)
        elif random.random() < 0.5:
            del value[inner]
        elif isinstance(value, dict):
            value[random.choice((*XML_WORDS, *NAMES, *JSON_NAMES))] = value[inner]
        else:
            value.extend([value[inner]] * random.choice((1, MANY)))
        return
    if isinstance(value, str) and random.random() < 0.6:
        mutate = mutate_xml if value.lstrip().startswith("<") else mutate_bytes
        raw = mutate(value.encode("utf-8", "surrogatepass"), random)
        holder[key] = raw.decode("utf-8", "surrogateescape")
        return
    holder[key] = _value(random)


def _value(random: Random) -> object:
    words = random.choice((XML_WORDS, NUMBERS, NAMES, JSON_NAMES))
    values = (None, True, False, 0, -1, 2**31, 2**64, 1e308, float("inf"), float("nan"))
    return random.choice((*values, [], {}, [[[]]], {"a": {}}, *[random.choice(words)] * 8))


def mutate_text(data: bytes, random: Random) -> bytes:
    """Change a line, a word in it, or the order of lines."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            del lines[at]
        case 1:
            lines[at:at] = [lines[at]] * random.choice((1, 2, MANY))
        case 2:
            other = random.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            name, equals, _value = lines[at].partition(b"=")
            word = json.dumps(_word(random), ensure_ascii=random.random() < 0.5)
            lines[at] = name + equals + word.encode("utf-8", "surrogatepass")
        case 4:
            key = _word(random).encode("utf-8", "surrogatepass")
            lines[at] = key + b"=" + lines[at].partition(b"=")[2]
        case _:
            return mutate_bytes(data, random)
    return b"\n".join(lines)[:LONGEST]
