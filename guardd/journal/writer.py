"""Writes records so that nobody has to wait for journald, whatever has become of it."""

from __future__ import annotations

import os
import queue
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from guardd.journal import Kind
from guardd.render import printable
from systemd import journal as systemd_journal

QUEUE_LENGTH = 4096  # records; journald is slower than this for longer only when it is in trouble
FLUSH_SECONDS = 2.0
LONGEST = 4096  # of a line
RETRY_SECONDS = 0.2  # journald is back within moments, as long as anybody starts it
GIVE_UP_SECONDS = 60  # for a record that has a process of its own
SYSLOG_IDENTIFIER = "cpu-guardd"
JOURNALD = "/run/systemd/journal/socket"


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

    @property
    def has_written_all(self) -> bool:
        """Whether no record waits, nor was dropped since one went through."""
        return not self._records.unfinished_tasks and not self._dropped

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
            self._records.task_done()
        self._records.task_done()

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
