"""Moments as journalctl takes them, the plain ones: "today", "-2h", "2026-11-20 12:00"."""

from __future__ import annotations

import datetime as dt
import re

import click

_UNITS = {
    "s": "seconds",
    "sec": "seconds",
    "min": "minutes",
    "m": "minutes",
    "h": "hours",
    "hour": "hours",
    "d": "days",
    "day": "days",
    "w": "weeks",
    "week": "weeks",
}
_SPAN = r"(?P<number>\d{1,7})\s*(?P<unit>[a-z]+?)s?"
_AGO = re.compile(rf"-{_SPAN}|{_SPAN.replace('number', 'n').replace('unit', 'u')}\s+ago")
_DAYS = {"today": 0, "yesterday": -1, "tomorrow": 1}


def moment(text: str, now: dt.datetime) -> dt.datetime:
    """Read *text* as at *now*; give a time of its zone, or one without a zone: a local time.

    Raises ValueError, which says what would have been taken.
    """
    words = " ".join(text.split())
    if words == "now":
        return now
    if words in _DAYS:
        day = now.date() + dt.timedelta(days=_DAYS[words])
        return dt.datetime.combine(day, dt.time())
    try:
        if (found := _AGO.fullmatch(words)) and (found["unit"] or found["u"]) in _UNITS:
            unit = _UNITS[found["unit"] or found["u"]]
            return now - dt.timedelta(**{unit: int(found["number"] or found["n"])})
        if re.fullmatch(r"\d\d?:\d\d(:\d\d)?", words):
            return dt.datetime.combine(now.date(), dt.time.fromisoformat(words.zfill(5)))
        return dt.datetime.fromisoformat(words)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: write now, today, yesterday, -2h, -30min, -7d, 2026-11-20,"
            " or '2026-11-20 12:00'"
        ) from None


class Moment(click.ParamType):
    """An option's moment in time, as `moment` reads it."""

    name = "when"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dt.datetime:
        """Give the time; what cannot be read is a usage error."""
        if isinstance(value, dt.datetime):
            return value
        try:
            read = moment(str(value), dt.datetime.now().astimezone())
            # a time without a zone is a local one
            return read if read.tzinfo is not None else read.astimezone()
        except (ValueError, OverflowError) as exc:
            self.fail(str(exc), param, ctx)
