"""What a check gives: how it went, what was found, and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"  # guests are guarded, and something is to be looked at
    BROKEN = "broken"
    UNKNOWN = "unknown"  # it could not be checked
    SKIPPED = "skipped"  # there is nothing to check, or it was not asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The outcome of one check; `mend` is a command for a shell, "" where there is none."""

    name: str
    state: State
    found: str
    mend: str = ""


def ok(name: str, found: str) -> Checked:
    """Give the outcome of a check that found all well."""
    return Checked(name=name, state=State.OK, found=found)


def warning(name: str, found: str, mend: str = "") -> Checked:
    """Give the outcome of a check that found something to look at."""
    return Checked(name=name, state=State.WARNING, found=found, mend=mend)


def broken(name: str, found: str, mend: str) -> Checked:
    """Give the outcome of a check that found guests not, or not well, guarded."""
    return Checked(name=name, state=State.BROKEN, found=found, mend=mend)


def unknown(name: str, found: str) -> Checked:
    """Give the outcome of a check that could not be made."""
    return Checked(name=name, state=State.UNKNOWN, found=found)


def skipped(name: str, found: str) -> Checked:
    """Give the outcome of a check that there was no need for."""
    return Checked(name=name, state=State.SKIPPED, found=found)
