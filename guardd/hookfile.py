"""Where libvirt's hook stands, and whether what stands there is ours."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import guardd
from guardd.errors import GuardError

HOOKS = Path("/etc/libvirt/hooks")
MAIN, DROP_IN = "qemu", "qemu.d/50-cpu-guardd"
MARK = b"libvirt's hook of cpu-guardd"  # stands in our program
ELF = b"\x7fELF"
MARK_WITHIN = 256  # bytes; of a script, as the hook was once: others may speak of ours further down


class State(StrEnum):
    """What stands at a place."""

    ABSENT = "absent"
    FOREIGN = "foreign"
    UNREADABLE = "unreadable"
    CURRENT = "current"
    OUTDATED = "outdated"
    NOT_EXECUTABLE = "not executable"


@dataclass(frozen=True, slots=True)
class Place:
    """A file that libvirt would run as a hook, and what it is to us."""

    path: Path
    state: State

    @property
    def is_ours(self) -> bool:
        """Whether cpu-guardd put it there."""
        return self.state in (State.CURRENT, State.OUTDATED, State.NOT_EXECUTABLE)

    @property
    def is_run(self) -> bool:
        """Whether libvirt runs it as a hook of ours."""
        return self.state in (State.CURRENT, State.OUTDATED)


def program() -> bytes:
    """Give the hook's program as this version ships it; raises GuardError."""
    package = Path(guardd.__file__).resolve().parent
    checkout = package.parent / "build/hook"
    prefix = Path("/usr/local") if package.is_relative_to("/usr/local") else Path("/usr")
    for path in (checkout, prefix / "libexec/cpu-guardd/hook"):
        if path.is_file():
            return path.read_bytes()
    raise GuardError("the hook program is missing", hint="reinstall cpu-guardd")


def places(root: Path = HOOKS) -> list[Place]:
    """Look at both places below *root* where the hook can stand."""
    return [Place(root / name, _state(root / name)) for name in (MAIN, DROP_IN)]


def _state(path: Path) -> State:
    try:
        text = path.read_bytes()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return State.FOREIGN if path.is_symlink() else State.ABSENT
    except PermissionError:
        return State.UNREADABLE  # to who is not root
    except OSError:
        return State.FOREIGN
    if MARK not in (text if text.startswith(ELF) else text[:MARK_WITHIN]):
        return State.FOREIGN
    if not mode & stat.S_IXUSR:
        return State.NOT_EXECUTABLE
    return State.CURRENT if text == program() else State.OUTDATED


def describe(found: Iterable[Place]) -> list[str]:
    """Say in a line each what stands where; and when nothing of ours does, that."""
    found = list(found)
    lines = [f"{place.path}: {place.state}" for place in found if place.is_ours]
    others = [f"{p.path}: of another program" for p in found if p.state is State.FOREIGN]
    hidden = [f"{p.path}: cannot be read" for p in found if p.state is State.UNREADABLE]
    missing = [] if lines or hidden else ["not installed, see `cpu-guardctl hook install`"]
    return [*lines, *missing, *others, *hidden]
