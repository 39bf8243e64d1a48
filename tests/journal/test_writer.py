"""The journal: a daemon that waits for it would make every guest wait."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Queue

import pytest

from guardd.journal import Kind, Priority
from guardd.journal.writer import FLUSH_SECONDS, QUEUE_LENGTH, JournalWriter, offer_record
from tests.recordings import ROOT

SECONDS = 10.0  # far more than any of this takes
LOST = 7


class Journald:
    """Takes records when it is told to."""

    def __init__(self) -> None:
        self.records: Queue[Mapping[str, str]] = Queue()
        self.entered = threading.Event()
        self.reads = threading.Event()

    def send(self, fields: Mapping[str, str]) -> None:
        self.entered.set()
        assert self.reads.wait(SECONDS)
        self.records.put(fields)

    def taken(self) -> list[Mapping[str, str]]:
        """Give all that arrived."""
        return list(self.records.queue)


def test_records_arrive_in_order() -> None:
    """And all of them have arrived when close() returns."""
    journald = Journald()
    journald.reads.set()
    writer = JournalWriter(journald.send)
    records = [{"MESSAGE": str(number)} for number in range(100)]

    for record in records:
        writer.write(record)
    writer.close()

    assert records == journald.taken()


def test_say() -> None:
    """What is not a verdict has its kind and its priority too."""
    journald = Journald()
    journald.reads.set()
    writer = JournalWriter(journald.send)

    writer.say(Kind.CONFIG, Priority.ERROR, "bad", GUARDD_SOURCE="here")
    writer.close()

    assert [
        {
            "MESSAGE": "bad",
            "MESSAGE_ID": "6a7d4d3f6caa4c6e8bd9655b84bd0ab6",
            "PRIORITY": "3",
            "GUARDD_SOURCE": "here",
        }
    ] == journald.taken()


def test_a_journal_that_does_not_read_stops_nobody() -> None:
    """Records beyond the queue are dropped, the oldest kept, and their number is told."""
    journald = Journald()
    writer = JournalWriter(journald.send)
    writer.write({"MESSAGE": "first"})
    assert journald.entered.wait(SECONDS)

    for number in range(QUEUE_LENGTH + LOST):
        writer.write({"MESSAGE": str(number)})
    journald.reads.set()
    writer.close()

    messages = [record["MESSAGE"] for record in journald.taken()]
    told = f"{LOST} records were lost while the journal did not take any"
    assert ["first", told, *map(str, range(QUEUE_LENGTH))] == messages


def test_records_outlive_a_journal_that_was_stopped() -> None:
    """Nobody listens for a while, as between a stop of journald and its start: nothing is lost."""
    journald = Journald()
    journald.reads.set()
    refusals = Queue[None]()

    def send(fields: Mapping[str, str]) -> None:
        if refusals.qsize() < 2:
            refusals.put(None)
            raise ConnectionRefusedError
        journald.send(fields)

    writer = JournalWriter(send)
    writer.write({"MESSAGE": "a veto"})
    writer.close()

    assert [{"MESSAGE": "a veto"}] == journald.taken()
    assert 0 == writer.lost


def test_a_veto_is_journalds_before_anything_else_happens() -> None:
    """No thread and no queue stand between: whatever ends this process comes too late."""
    taken = list[Mapping[str, str]]()
    journald = Journald()

    def offer(fields: Mapping[str, str]) -> bool:
        taken.append(fields)
        return True

    writer = JournalWriter(journald.send, offer)

    writer.write_at_once({"MESSAGE": "a veto"})

    assert [{"MESSAGE": "a veto"}] == taken
    journald.reads.set()
    writer.close()
    assert not journald.taken()


def test_a_veto_that_journald_does_not_take_waits_for_it() -> None:
    """As any other record, and nobody waits with it."""
    journald = Journald()
    writer = JournalWriter(journald.send, lambda _fields: False)

    writer.write_at_once({"MESSAGE": "a veto"})
    journald.reads.set()
    writer.close()

    assert [{"MESSAGE": "a veto"}] == journald.taken()


def listening(path: Path) -> socket.socket:
    """Give a socket as journald's."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    receiver.settimeout(SECONDS)
    return receiver


def test_an_offered_record(tmp_path: Path) -> None:
    """journald's native protocol: a line for a line, a length before anything longer."""
    with listening(tmp_path / "socket") as receiver:
        fields = {
            "MESSAGE": "web1 \N{LATIN SMALL LETTER A WITH DIAERESIS}=1\udc80",
            "REPORT": "a\nb",
        }
        assert offer_record(fields, str(tmp_path / "socket"))
        assert (
            b"SYSLOG_IDENTIFIER=cpu-guardd\nMESSAGE=web1 \xc3\xa4=1\\udc80\n"
            b"REPORT\n\x03\0\0\0\0\0\0\0a\nb\n"
        ) == receiver.recv(4096)


def test_an_offer_that_is_not_taken(tmp_path: Path) -> None:
    """Nobody is there, or there is no room, for this record or for any: it is said at once."""
    path = str(tmp_path / "socket")
    assert not offer_record({"MESSAGE": "to nobody"}, path)
    with listening(tmp_path / "socket"):
        assert not offer_record({"MESSAGE": "x" * (1 << 24)}, path)
        offers = 0
        while offer_record({"MESSAGE": "one of many"}, path):
            offers += 1
        assert offers
    assert not offer_record({"MESSAGE": "to one that left"}, path)


def test_a_journal_that_stays_away_is_given_up() -> None:
    """The service stops all the same, and what it could not write counts as lost."""

    def refuse(_fields: Mapping[str, str]) -> None:
        raise ConnectionRefusedError

    writer = JournalWriter(refuse, flush_seconds=0.1)
    writer.write({"MESSAGE": "a veto"})
    writer.close()

    assert 1 == writer.lost


def test_close_does_not_wait_for_ever() -> None:
    """A stop of the service must not hang on a journal that hangs."""
    journald = Journald()
    writer = JournalWriter(journald.send)
    writer.write({"MESSAGE": "first"})
    assert journald.entered.wait(SECONDS)
    closing = threading.Thread(target=writer.close)

    closing.start()
    closing.join(2 * FLUSH_SECONDS + 1)

    assert not closing.is_alive()
    journald.reads.set()


FORGED = "web1\nPRIORITY=7\nGUARDD_REFUSED=no\x1b[2J\x9b1m\u202e\x00\udcff"


def datagrams(path: Path, write: Callable[[], object]) -> list[dict[bytes, bytes]]:
    """Have *write* write to a journal's socket; give what arrives, read as journald does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        journald.settimeout(SECONDS)
        write()
        return [fields_of(journald.recv(1 << 20))]


def fields_of(record: bytes) -> dict[bytes, bytes]:
    """Read systemd's journal export format: "NAME=text", or a name, a length and any bytes."""
    found = {}
    while record:
        line, _, record = record.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(record[:8], "little")
            value, record = record[8 : 8 + size], record[9 + size :]
        assert name not in found
        found[name] = value
    return found


PROGRAM = """
import ctypes, os, sys
# the C library that writes to the journal has its path built in: a mount of our own has another
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs("/run/systemd/journal", exist_ok=True)
assert libc.unshare(CLONE_NEWNS) == 0
assert libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
assert libc.mount(sys.argv[1].encode(), b"/run/systemd/journal", None, MS_BIND, None) == 0
from guardd.journal import Kind, Priority
from guardd.journal.writer import JournalWriter
from tests.journal.test_writer import FORGED
writer = JournalWriter()
writer.say(Kind.UNASKED, Priority.WARNING, FORGED, GUARDD_DOMAIN=FORGED, GUARDD_REPORT=FORGED)
writer.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_no_field_is_forged(tmp_path: Path) -> None:
    """The bytes that journald gets: a name with lines in it stays within its own field."""

    def write() -> None:
        subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], cwd=ROOT, check=True)

    (record,) = datagrams(tmp_path / "socket", write)

    assert {
        *(b"MESSAGE", b"MESSAGE_ID", b"PRIORITY"),
        *(b"GUARDD_DOMAIN", b"GUARDD_REPORT", b"SYSLOG_IDENTIFIER"),
    } == set(record)
    assert (b"4", Kind.UNASKED.encode()) == (record[b"PRIORITY"], record[b"MESSAGE_ID"])
    assert record[b"MESSAGE"] == record[b"GUARDD_DOMAIN"]
    assert all(line.isprintable() for name in record for line in record[name].decode().split("\n"))
    assert b"web1\\nPRIORITY=7" in record[b"GUARDD_DOMAIN"]
    assert 3 == len(record[b"GUARDD_REPORT"].splitlines())
