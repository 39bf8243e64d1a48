"""systemd: journal records, notify, watchdog, sockets that it hands over."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import queue
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, cast
from uuid import UUID

from guardd.judge.finding import Decision
from guardd.render import FIELD_LENGTH, printable
from systemd import daemon as systemd_daemon
from systemd import journal as systemd_journal

QUEUE_LENGTH = 4096  # records; journald is slower than this for longer only when it is in trouble
FLUSH_SECONDS = 2.0
LONGEST = 4096  # of a line
RETRY_SECONDS = 0.2  # journald is back within moments, as long as anybody starts it
NOTIFY_SECONDS = 0.1  # the hook waits for a second for a verdict
GIVE_UP_SECONDS = 60  # for a record that has a process of its own
SYSLOG_IDENTIFIER = "cpu-guardd"
JOURNALD = "/run/systemd/journal/socket"
SERVICE = "cpu-guardd.service"
VERDICT = "verdict"


class Kind(StrEnum):
    """MESSAGE_ID of what is not a verdict; each has its page in the message catalog."""

    UNAVAILABLE = "f23a40b8a40542eb86fb0952638f40d2"
    CONFIG = "6a7d4d3f6caa4c6e8bd9655b84bd0ab6"
    SNAPSHOT = "676cdf36c47e4895bc08149161f0bd5c"
    LIBVIRT = "44630cbc7cb84a9eb8606a61807ae866"
    STARTED = "cae813731add45d882d9bc68ca0859b7"
    STAMP = "49e852cc587542be8e6ce02de7fee60a"
    DRIFT = "694dfac3f45c418eb4e1c8e046aa9273"
    ADVICE = "b2975dd144e94bafa0ed0e237572259f"
    DISAGREEMENT = "13289cd68c7b40048e4eac0d6072d0af"
    UNASKED = "415fca22811843628b25cceb61bbffaf"
    INTERNAL = "aa97db03b44045349fac5ccc84431282"


class Priority(StrEnum):
    """syslog(3) levels."""

    ERROR = "3"
    WARNING = "4"
    NOTICE = "5"
    INFO = "6"


Send = Callable[[Mapping[str, str]], None]
Offer = Callable[[Mapping[str, str]], bool]


def offer_record(fields: Mapping[str, str], address: str = JOURNALD) -> bool:
    """Write one record, unless journald does not take it at once; say whether it has.

    Once taken it is journald's: whatever becomes of this process, the record is written. Source:
    systemd.io/JOURNAL_NATIVE_PROTOCOL.
    """
    record = b"".join(_native(key, value) for key, value in _whole(fields).items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendmsg([record], [], socket.MSG_DONTWAIT, address)
    except OSError:
        return False
    return True


def _native(key: str, value: bytes) -> bytes:
    name = key.encode()
    if b"\n" in value:
        return b"%b\n%b%b\n" % (name, len(value).to_bytes(8, "little"), value)
    return b"%b=%b\n" % (name, value)


def send_record(fields: Mapping[str, str]) -> None:
    """Write one record, of any length; may block while journald does not read."""
    systemd_journal.sendv(*(key.encode() + b"=" + value for key, value in _whole(fields).items()))


def _whole(fields: Mapping[str, str]) -> dict[str, bytes]:
    words = {"SYSLOG_IDENTIFIER": SYSLOG_IDENTIFIER, **fields}
    return {key: value.encode("utf-8", "backslashreplace") for key, value in words.items()}


def send_apart(fields: Mapping[str, str], send: Send, *, patience: float = FLUSH_SECONDS) -> None:
    """Write one record with *send* from a process of its own, and wait *patience* seconds for it.

    After that it is left alone: a journald that is busy or away gets the record within
    GIVE_UP_SECONDS. Not for a process with threads.
    """
    child = os.fork()
    if child == 0:
        _send_and_end(fields, send)
    descriptor = os.pidfd_open(child)
    select.select([descriptor], [], [], patience)
    os.close(descriptor)


def _send_and_end(fields: Mapping[str, str], send: Send) -> NoReturn:
    try:
        signal.alarm(GIVE_UP_SECONDS)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):  # who waits for these to end shall not wait for journald
            os.dup2(nowhere, number)
        while True:
            try:
                send(fields)
            except ConnectionRefusedError:
                time.sleep(RETRY_SECONDS)
            else:
                break
    finally:
        os._exit(0)


class JournalWriter:
    """Writes records from a thread of its own, so that no caller ever waits for journald.

    They wait for a journald that is away or does not read. Those that the queue cannot hold are
    dropped, oldest kept, and their number is told with the next one that goes through.
    """

    def __init__(
        self,
        send: Send = send_record,
        offer: Offer = offer_record,
        *,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._send = send
        self._offer = offer
        self._flush_seconds = flush_seconds
        self._records: queue.Queue[Mapping[str, str] | None] = queue.Queue(QUEUE_LENGTH)
        self._dropped = 0
        self._lost = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """How many records were dropped since the start."""
        return self._lost + self._dropped

    def write(self, fields: Mapping[str, str]) -> None:
        """Queue one record."""
        try:
            self._records.put_nowait(fields)
        except queue.Full:
            self._dropped += 1

    def write_at_once(self, fields: Mapping[str, str]) -> None:
        """Hand one record to journald before this returns, if that takes no wait; or queue it.

        It may overtake those that are queued.
        """
        if not self._offer(fields):
            self.write(fields)

    def say(self, kind: str, priority: str, message: str, **fields: str) -> None:
        """Queue a record with MESSAGE, MESSAGE_ID, PRIORITY and further *fields*.

        Each becomes one line that can be printed, GUARDD_REPORT lines: what they quote,
        somebody else wrote.
        """
        words = {name: _shown(name, text) for name, text in {"MESSAGE": message, **fields}.items()}
        self.write({**words, "MESSAGE_ID": kind, "PRIORITY": priority})

    def close(self) -> None:
        """Write what is queued, for at most `flush_seconds` where it does not go through."""
        try:
            self._records.put(None, timeout=self._flush_seconds)
        except queue.Full:
            return
        self._thread.join(self._flush_seconds)
        self._closing.set()
        self._thread.join(RETRY_SECONDS)

    def _run(self) -> None:
        while (fields := self._records.get()) is not None:
            if self._sent(fields) and self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._lost += dropped
                message = f"{dropped} records were lost while the journal did not take any"
                self._sent({"MESSAGE": message, "MESSAGE_ID": Kind.INTERNAL, "PRIORITY": "4"})

    def _sent(self, fields: Mapping[str, str]) -> bool:
        while not self._closing.is_set():
            try:
                self._send(fields)
            except ConnectionRefusedError:
                self._closing.wait(RETRY_SECONDS)  # nobody listens: journald was stopped
            except OSError:
                break
            else:
                return True
        self._dropped += 1
        return False


def _shown(name: str, text: str) -> str:
    lines = text.split("\n") if name == "GUARDD_REPORT" else [text]
    return "\n".join(printable(line, LONGEST) for line in lines)


def newest_verdict(guest: str | None, *, directory: Path | None = None) -> dict[str, str] | None:
    """Give the fields of the newest verdict on *guest* (name or UUID), None: newest refusal.

    Only records that the daemon or root wrote count: anybody may write to the journal. "time" is
    added, local time in ISO 8601. *directory*: that of another journal than this machine's. Raises
    OSError where that cannot be read.
    """
    with _reader(directory) as reader:
        if guest is None:
            reader.add_match(GUARDD_REFUSED="yes")
        else:
            _match_guest(reader, guest)
        reader.seek_tail()
        while record := reader.get_previous():
            if _is_verdict(record):
                return _fields(record)
    return None


def verdicts(
    *,
    guest: str | None = None,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    directory: Path | None = None,
) -> Iterator[dict[str, str]]:
    """Give the fields of each verdict, oldest first, as `newest_verdict` does; held one by one.

    *guest*: name or UUID, None for all. *since* and *until* have a zone. *directory*: that of
    another journal than this machine's. Raises OSError where that cannot be read.
    """
    with _reader(directory) as reader:
        _match_verdicts(reader)
        _narrow(reader, guest, since)
        for record in reader:
            written = _time(record)
            if until is not None and written > until:
                return
            if _is_verdict(record) and (since is None or written >= since):
                yield _fields(record)


def await_verdict(guest: str, since: dt.datetime, seconds: float) -> dict[str, str] | None:
    """Give the oldest verdict on *guest* since *since*; None where none comes within *seconds*.

    Who may not read the journal of the system sees none come.
    """
    deadline = time.monotonic() + seconds
    with systemd_journal.Reader() as reader:
        _match_guest(reader, guest)
        reader.seek_realtime(since.timestamp())
        while True:
            record = reader.get_next()
            if not record:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                reader.wait(left)
            elif _is_verdict(record) and _time(record) >= since:
                return _fields(record)


def newest(kind: Kind) -> dict[str, str] | None:
    """Give the fields of the newest record of *kind*, as `newest_verdict` does; None: no such."""
    with systemd_journal.Reader() as reader:
        reader.add_match(MESSAGE_ID=kind.value)
        reader.seek_tail()
        while record := reader.get_previous():
            if _is_trusted(record):
                return _fields(record)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """How to go on when all records that there are were given.

    `newest`: of those that are there already, begin with this many. `is_over` is asked whenever
    nothing has come for *seconds*.
    """

    newest: int = 10  # as journalctl has it
    seconds: float = 1.0
    is_over: Callable[[], bool] = lambda: False


def records(
    *,
    guest: str | None = None,
    since: dt.datetime | None = None,
    directory: Path | None = None,
    follow: Follow | None = None,
) -> Iterator[dict[str, str]]:
    """Give the fields of each trusted record, verdict or other Kind, oldest first.

    *guest*, *since* and *directory*, and the fields: as for `verdicts`. *follow*: wait for those
    to come, over a rotation of the journal as well. Raises OSError.
    """
    with _reader(directory) as reader:
        for kind in Kind:
            reader.add_match(MESSAGE_ID=kind.value)
        reader.add_disjunction()  # verdicts have many MESSAGE_IDs, a later version has more
        _match_verdicts(reader)
        _narrow(reader, guest, since)
        if since is None and follow is not None:
            _seek_newest(reader, follow.newest)
        while True:
            for record in reader:
                written = record["__REALTIME_TIMESTAMP"].astimezone()
                if _is_trusted(record) and (since is None or written >= since):
                    yield _fields(record)
            if follow is None or (_is_quiet(reader, follow.seconds) and follow.is_over()):
                return


def _reader(directory: Path | None) -> systemd_journal.Reader:
    return systemd_journal.Reader(path=None if directory is None else str(directory))


def _seek_newest(reader: systemd_journal.Reader, number: int) -> None:
    """Stand before the newest *number* records that match and can be trusted, or at the first."""
    reader.seek_tail()
    oldest = None
    while number and (record := reader.get_previous()):
        if _is_trusted(record):
            oldest, number = record, number - 1
    if oldest is None:
        return  # at the end, or the beginning where there is none
    reader.seek_cursor(oldest["__CURSOR"])


def _is_quiet(reader: systemd_journal.Reader, seconds: float) -> bool:
    return bool(reader.wait(seconds) == systemd_journal.NOP)


def kind_of(fields: Mapping[str, str]) -> str:
    """Call a record by what it is: "verdict", or the name of its Kind in small letters."""
    kind = fields.get("MESSAGE_ID", "")
    return Kind(kind).name.lower() if kind in list(Kind) else VERDICT


def _match_verdicts(reader: systemd_journal.Reader) -> None:
    for decision in Decision:  # "unavailable" is nobody's verdict
        reader.add_match(GUARDD_DECISION=decision.value)


def _narrow(reader: systemd_journal.Reader, guest: str | None, since: dt.datetime | None) -> None:
    """Leave of what matches only what is about *guest* and, roughly, not older than *since*."""
    if guest is not None:
        reader.add_conjunction()
        _match_guest(reader, guest)
    if since is not None:
        reader.seek_realtime(max(since.timestamp(), 0))


def _match_guest(reader: systemd_journal.Reader, guest: str) -> None:
    guest = printable(guest, FIELD_LENGTH)  # as records have it
    reader.add_match(GUARDD_DOMAIN=guest)
    reader.add_disjunction()
    reader.add_match(GUARDD_DOMAIN_UUID=guest)


def _is_trusted(record: Mapping[str, Any]) -> bool:
    """Whether the daemon or root wrote it: anybody may write to the journal."""
    return record.get("_UID") == 0 or record.get("_SYSTEMD_UNIT") == SERVICE


def _is_verdict(record: Mapping[str, Any]) -> bool:
    is_whole = "GUARDD_DECISION" in record and "GUARDD_REPORT" in record
    return is_whole and _is_trusted(record)


def _time(record: Mapping[str, Any]) -> dt.datetime:
    written: dt.datetime = record["__REALTIME_TIMESTAMP"]
    return written.astimezone()


def _fields(record: Mapping[str, Any]) -> dict[str, str]:
    written = record["__REALTIME_TIMESTAMP"].isoformat(" ", "seconds")
    fields = {k: v for k, v in record.items() if k.startswith(("GUARDD_", "MESSAGE"))}
    return {"time": written} | {name: _text(value) for name, value in fields.items()}


def _text(value: object) -> str:
    """Write a field as it stands in the journal: the reader makes a UUID of a MESSAGE_ID."""
    return value.hex if isinstance(value, UUID) else str(value)


def notify(state: str) -> None:
    """Tell systemd *state* ("READY=1", "WATCHDOG=1", ...); nothing happens outside a unit.

    Waits for NOTIFY_SECONDS at most, where sd_notify() would wait for ever for a systemd that does
    not read: the same thread gives verdicts. Source: sd_notify(3), "Notes".
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(NOTIFY_SECONDS)
        # nothing is to be done about a systemd that cannot be told
        with contextlib.suppress(OSError):
            sender.sendto(state.encode("utf-8", "replace"), address.replace("@", "\0", 1))


def listening_sockets(*, any_family: bool = False) -> list[socket.socket]:
    """Give the sockets that systemd opened for this service; empty outside of one.

    Only unix sockets, unless of *any_family*.
    """
    return [
        socket.socket(fileno=fd)
        for fd in cast("list[int]", systemd_daemon.listen_fds())
        if any_family or systemd_daemon.is_socket_unix(fd)
    ]
