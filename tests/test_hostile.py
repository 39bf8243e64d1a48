"""Attacks that have names, on what stands between a stranger's bytes and a verdict."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from guardd import wire
from guardd.errors import BadRequest
from guardd.judge.finding import Code, Decision, Finding
from guardd.render import findings_field, journal_fields
from guardd.xmldoc import MAX_MARKS, MAX_XML
from tests.fuzz.targets import OTHER_PEER, STRICT, check_verdict, desk_for
from tests.fuzz.words import JSON_NAMES, NAMES, NUMBERS
from tests.judge.table import HASWELL, born, cpu, domain, judged, mode, stamp_element, stamped
from tests.test_daemon import SECONDS, TEST_DRIVER, Place, ask, known, place

__all__ = ["known", "place"]

CHECK = f"{wire.INTERFACE}.Check"
PARAMETERS = {"domain": "web1", "operation": "prepare", "xml": domain(cpu("Haswell-noTSX"))}
STAMP = stamp_element(born(HASWELL, domain(mode("host-passthrough"))))
MOST_SAID = 20_000  # characters of a record
HUNDRED_MEGABYTES = 100 << 20
# of the daemon at its worst: a message at its limit, as bytes, text and elements
PEAK_BYTES = 400 << 20

# a guest with a word of somebody's where {} stands
PLACES = {
    "name": domain(cpu("Haswell")).replace("web1", "{}"),
    "uuid": domain(cpu("Haswell")).replace("<uuid>", "<uuid>{}"),
    "model": domain(cpu("{}")),
    "vendor": domain("<cpu><model>Haswell</model><vendor>{}</vendor></cpu>"),
    "vendor id": domain("<cpu><model vendor_id='{}'>Haswell</model></cpu>"),
    "feature": domain(cpu("Haswell", "require {}")),
    "feature's policy": domain("<cpu><model>Haswell</model><feature policy='{}' name='a'/></cpu>"),
    "mode": domain("<cpu mode='{}'/>"),
    "virt type": domain(cpu("Haswell"), virt="{}"),
    "arch": domain(cpu("Haswell"), arch="{}"),
    "machine": domain(cpu("Haswell"), machine="{}"),
    "emulator": domain(cpu("Haswell")).replace("</domain>", "<devices><emulator>{}</emulator>")
    + "</devices></domain>",
    "policy": domain(cpu("Haswell")).replace(
        "</name>",
        "</name><metadata><p:policy xmlns:p='https://cpuguardd.io/xmlns/policy' mode='{}'/>"
        "</metadata>",
    ),
    "address bits": domain("<cpu mode='maximum'><maxphysaddr mode='emulate' bits='{}'/></cpu>"),
    "address limit": domain(
        "<cpu mode='maximum'><maxphysaddr mode='passthrough' limit='{}'/></cpu>"
    ),
    "sockets": domain("<cpu><topology sockets='{}' cores='1' threads='1'/></cpu>"),
    "cache": domain("<cpu><model>Haswell</model><cache level='{}' mode='emulate'/></cpu>"),
    "frequency": domain(mode("host-passthrough")).replace(
        "<os>", "<clock><timer name='tsc' frequency='{}'/></clock><os>"
    ),
    "root": domain(cpu("Haswell")).replace("<domain type", "<domain {}='' type"),
    **{
        f"stamp's {name}": stamped(
            domain(mode("host-passthrough")), re.sub(rf"( {name}=)'[^']*'", r"\1'{}'", STAMP)
        )
        for name in re.findall(r" (\w+)='", STAMP)
    },
}
WORDS = (*NAMES, *NUMBERS, *JSON_NAMES, "\x9b" * (1 << 16))


def filled(text: str, word: str) -> str:
    """Put *word* into *text* as XML would have it, were it a text."""
    quotes = {"&": "&amp;", "<": "&lt;", "'": "&apos;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
    return text.replace("{}", "".join(quotes.get(letter, letter) for letter in word))


@pytest.mark.parametrize("text", PLACES.values(), ids=PLACES)
def test_words(text: str) -> None:
    """A decision, one line that a terminal shows, a record of the journal that forges nothing."""
    for word in WORDS:
        for arrives in (True, False):
            verdict = judged(HASWELL, filled(text, word), toml=STRICT, arrives=arrives)

            check_verdict(verdict)
            assert Code.INTERNAL not in {finding.code for finding in verdict.findings}


@pytest.mark.parametrize("word", [word for word in WORDS if len(word) <= wire.MAX_NAME], ids=ascii)
def test_names_of_guests(word: str) -> None:
    """As the hook's first argument: any bytes but NUL; on the socket, NUL as well."""
    frame = wire.format_call(CHECK, {**PARAMETERS, "domain": word})[:-1]
    answer = desk_for(b"").ask(frame)

    assert answer is not None
    assert word == answer["parameters"]["verdict"]["domain"]  # type: ignore[index]


@pytest.mark.parametrize("name", ["model", "feature", "uuid", "emulator", "stamp's features"])
def test_a_megabyte(name: str) -> None:
    """Of one word; what is said of it is short."""
    verdict = judged(HASWELL, filled(PLACES[name], "\u202e" * (1 << 20)), toml=STRICT)

    check_verdict(verdict)
    assert sum(map(len, journal_fields(verdict, 1).values())) < MOST_SAID


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u2003", "\t", "\n", "\x85", "\x1c"], ids=ascii)
def test_a_subject_forges_no_other(blank: str) -> None:
    """Findings stand in one field of the journal, with blanks between them."""
    name = f"a{blank}missing-feature:avx"
    field = findings_field([Finding(Code.UNKNOWN_FEATURE, name, ""), Finding(Code.INVTSC, "b", "")])

    assert 2 == len(field.split())


FRAMES = {
    "nothing": b"",
    "NULs only": b"\0\0\0",
    "deep arrays": b"[" * 1_000_000,
    "deep objects": b'{"a":' * 1_000_000,
    "a deep parameter": b'{"method":"%s","parameters":{"xml":' % CHECK.encode() + b"[" * 1_000_000,
    "a number of a million digits": b'{"method":%s}' % (b"9" * 1_000_000),
    "a huge exponent": b'{"method":"a.b","parameters":{"a":1e999999999}}',
    "NaN": b'{"method":"a.b","parameters":{"a":NaN,"b":-Infinity}}',
    "UTF-16": '{"method":"a.b"}'.encode("utf-16"),
    "UTF-32": '{"method":"a.b"}'.encode("utf-32-be"),
    "byte order mark": '\ufeff{"method":"a.b"}'.encode(),
    "not UTF-8": b'{"method":"\xff\xfe\x80"}',
    "an overlong NUL": b'{"method":"\xc0\x80"}',
    "a lone surrogate": b'{"method":"\\ud800.\\udfff"}',
    "a method like a path": b'{"method":"../../etc/passwd.Check"}',
    "many keys": b'{"method":"a.b","parameters":{%s"z":1}}'
    % b"".join(b'"%d":1,' % number for number in range(100_000)),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_frames(frame: bytes) -> None:
    """One error, which names the mistake, from anybody."""
    desk = desk_for(b"")
    for answer in (desk.ask(frame), desk.ask(frame, OTHER_PEER)):
        assert answer is not None
        assert str(answer["error"]).startswith((wire.INTERFACE, wire.SERVICE))


def test_a_key_twice() -> None:
    """The last one counts, for every check alike: nobody sees another than is judged."""
    text = json.dumps({"method": CHECK, "parameters": PARAMETERS})
    frame = text.replace('{"domain": "web1"', '{"domain": "other", "domain": "web1"').encode()
    answer = desk_for(b"").ask(frame)

    assert answer is not None
    assert "web1" == answer["parameters"]["verdict"]["domain"]  # type: ignore[index]


# -- how much work


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the calls of functions, C's among them: what a clock would say, on any machine."""
    calls = [0]

    def count(_frame: FrameType, _event: str, _argument: object) -> None:
        calls[0] += 1

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def features(number: int) -> str:
    return domain(cpu("Haswell", *(f"require x{each}" for each in range(number))))


def stamps(number: int) -> str:
    return stamped(domain(mode("host-passthrough")), STAMP * number)


def known_features(number: int) -> str:
    names = [f"require x{each}" for each in range(number)]
    return domain(mode("host-passthrough", *names))


def stamped_features(number: int) -> str:
    names = " ".join(f"x{each}" for each in range(number))
    return stamped(
        domain(mode("host-passthrough")), re.sub("features='[^']*'", f"features='{names}'", STAMP)
    )


@pytest.mark.parametrize("make", [features, stamps, known_features, stamped_features])
def test_twice_as_much_is_twice_the_work(make: Callable[[int], str]) -> None:
    """And not four times: nobody's guest holds up the others."""
    work = []
    for number in (5_000, 10_000):
        text = make(number)
        with counted() as calls:
            verdict = judged(HASWELL, text, toml=STRICT, arrives=True)
        check_verdict(verdict)
        work.append(calls[0])

    assert work[1] < 2.5 * work[0] + 1000


def test_ten_thousand_times_the_same_feature() -> None:
    """libvirt refuses the second."""
    verdict = judged(HASWELL, domain(cpu("Haswell", *["require avx"] * 10_000)))

    assert [Code.UNREADABLE_GUEST] == [finding.code for finding in verdict.findings]


# -- a daemon


def peak(process: int) -> int:
    """Give the most memory that a process had, in bytes (VmHWM, proc(5))."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) << 10


def heavy_documents() -> Iterator[str]:
    """Write what costs libxml2 and expat most, within the limits and beyond."""
    for length, number in ((1 << 14, 2_000), (1 << 20, 100_000)):
        yield f"<domain xmlns:x='{'u' * length}'>{'<x:a/>' * number}</domain>"
    yield "<domain>" + "<a/>" * (MAX_MARKS - 10) + "</domain>"
    yield "<domain>" + "<a b='1'/>" * (MAX_MARKS // 2 - 10) + "</domain>"
    yield "<domain>" + "<a/>" * (MAX_XML // 4 - 10) + "</domain>"
    yield "<domain>" + "\U0001f427" * (MAX_XML // 8) + "</domain>"
    yield "<domain " + " ".join(f"a{each}=''" for each in range(1_000_000)) + "/>"
    yield "<!DOCTYPE a [" + "<!ENTITY a 'b'>" * 500_000 + "]><domain/>"
    yield "<domain>" * 1_000_000
    yield domain(cpu("Haswell")).replace(
        "<os>", f"<description>{'x' * 9_000_000}</description><os>"
    )


def test_a_daemon_stays_small_and_answers(known: Place) -> None:
    """A hundred megabytes, and whatever is heaviest within the limits, one after the other."""
    with known.running(TEST_DRIVER) as daemon:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(known.socket))
            assert b"message exceeds" in flooded(connection, HUNDRED_MEGABYTES)
        for text in heavy_documents():
            answer = ask(known.socket, "Check", {**PARAMETERS, "xml": text})
            assert answer["verdict"]["decision"] in list(Decision)
        with pytest.raises(BadRequest, match="parameter 'domain'"):
            ask(known.socket, "Check", {**PARAMETERS, "domain": "x" * (1 << 20)})

        assert peak(daemon.process.pid) < PEAK_BYTES
        assert "Traceback" not in known.output()


def flooded(connection: socket.socket, size: int) -> bytes:
    """Send *size* bytes without an end, or as many as are taken; give what is said to it."""
    piece, sent = b"x" * (1 << 20), 0
    try:
        while sent < size:
            sent += connection.send(piece)
    except OSError:
        assert sent <= 2 * wire.MAX_FRAME
    return connection.recv(1 << 16)
