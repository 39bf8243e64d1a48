"""Reads back the records that the daemon and the hook wrote: verdicts, and other kinds."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from guardd.journal import Kind
from guardd.judge.finding import Decision
from guardd.render import FIELD_LENGTH, printable
from systemd import journal as systemd_journal

SERVICE = "cpu-guardd.service"


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
    as_shown = printable(guest, FIELD_LENGTH)
    for name in {as_shown, in_ascii(guest)}:
        reader.add_match(GUARDD_DOMAIN=name)
    reader.add_disjunction()
    reader.add_match(GUARDD_DOMAIN_UUID=as_shown)


def in_ascii(guest: str) -> str:
    r"""Give the name *guest* as the hook's last resort writes it: \x41 for what is not plain."""
    name = guest.encode("utf-8", "surrogateescape")
    plain = range(ord(" "), 0x7F)
    return "".join(
        chr(byte) if byte in plain and byte != ord("\\") else f"\\x{byte:02x}" for byte in name
    )


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
