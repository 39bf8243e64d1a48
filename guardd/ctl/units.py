"""What systemd says of the units that guarding depends on."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass

from guardd.ctl.bounded import run_program

SERVICE, SOCKET = "cpu-guardd.service", "cpu-guardd.socket"
LIBVIRT = ("libvirtd.service", "virtqemud.service")

_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,Result,UnitFileState,NRestarts"
    ",ExecMainStartTimestamp,ExecReload,Type,StateChangeTimestamp"
)
_RELOADED = re.compile(r"start_time=\[([^\]]*)\].*code=exited ; status=0\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit in systemd's own words; times are UTC, None where it never came to that.

    `tells_reloads`: systemd waits for its program's word that a reload is over.
    """

    name: str
    load: str
    active: str
    sub: str
    result: str
    enabled: str
    restarts: int
    started: dt.datetime | None = None
    reloaded: dt.datetime | None = None
    tells_reloads: bool = False

    @property
    def is_active(self) -> bool:
        """Whether it runs."""
        return self.active in ("active", "reloading")

    @property
    def is_enabled(self) -> bool:
        """Whether it starts by itself at the next boot."""
        return self.enabled in ("enabled", "enabled-runtime", "static", "alias", "indirect")

    @property
    def looked(self) -> dt.datetime | None:
        """When its program read its surroundings last: as it started, or was reloaded."""
        times = [time for time in (self.started, self.reloaded) if time is not None]
        return max(times, default=None)


def read_units() -> Mapping[str, Unit]:
    """Ask systemd, as any user; give units by name, none where it does not answer."""
    names = (SERVICE, SOCKET, *LIBVIRT)
    asked = ["systemctl", "show", "--timestamp=us+utc", f"--property={_PROPERTIES}", *names]
    answer = run_program(asked)
    return parse_units(answer.out) if answer.status == 0 else {}


def parse_units(text: str) -> Mapping[str, Unit]:
    """Read what `systemctl show` prints of several units; give them by name."""
    units = {}
    for block in text.split("\n\n"):
        words = dict(line.partition("=")[::2] for line in block.strip().splitlines())
        if "Id" in words:
            units[words["Id"]] = _unit(words)
    return units


def _unit(words: Mapping[str, str]) -> Unit:
    restarts = words.get("NRestarts", "")
    tells_reloads = words.get("Type") == "notify-reload"
    return Unit(
        name=words["Id"],
        load=words.get("LoadState", ""),
        active=words.get("ActiveState", ""),
        sub=words.get("SubState", ""),
        result=words.get("Result", ""),
        enabled=words.get("UnitFileState", ""),
        restarts=int(restarts) if restarts.isdigit() else 0,
        started=_time(words.get("ExecMainStartTimestamp", "")),
        reloaded=_reloaded(words, tells_reloads=tells_reloads),
        tells_reloads=tells_reloads,
    )


def _reloaded(words: Mapping[str, str], *, tells_reloads: bool) -> dt.datetime | None:
    """Tell when the program was reloaded last; one that tells may have had the signal alone."""
    if tells_reloads:
        return _time(words.get("StateChangeTimestamp", ""))
    found = _RELOADED.search(words.get("ExecReload", ""))
    return _time(found[1]) if found else None


def _time(text: str) -> dt.datetime | None:
    """Read a time as "Mon 2026-11-23 01:49:37.987299 UTC"; None where there was none."""
    _day, _, rest = text.partition(" ")
    try:
        return dt.datetime.fromisoformat(rest.removesuffix(" UTC")).replace(tzinfo=dt.UTC)
    except ValueError:
        return None
