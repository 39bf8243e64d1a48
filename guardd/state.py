"""What the daemon knows and counts, and what it says of that to those who ask."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from guardd import __version__
from guardd.config import Config
from guardd.counts import Counts
from guardd.cpu import CPUMap
from guardd.facts.snapshot import HostSnapshot


@dataclass(slots=True)
class State:
    """What the loop's thread alone writes; the values in it are immutable and swapped whole.

    `revision`: a PowerPC host's exact model, where it could be read.
    """

    cpu_map: CPUMap
    snapshot: HostSnapshot | None = None
    revision: str | None = None
    config: Config = field(default_factory=Config)
    connected: bool = False
    problems: dict[str, str] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    events: Counter[str] = field(default_factory=Counter)
    start_time: float = field(default_factory=time.time)

    def status(self) -> dict[str, Any]:
        """Give the members of the reply to the Varlink method GetStatus."""
        snapshot = self.snapshot
        known = snapshot.hypervisors if snapshot else ()
        return {
            "version": __version__,
            "mode": self.config.policy.mode,
            "libvirt_connected": self.connected,
            "snapshot_taken": snapshot.taken if snapshot else "",
            "snapshot_origin": snapshot.origin if snapshot else "",
            "hypervisors": [" ".join(word or "" for word in h.key) for h in known],
            "verdicts": self.counts.by_decision(),
            "events": dict(self.events),
            "problems": list(self.problems.values()),
        }

    def metrics(self) -> dict[str, Any]:
        """Give those of GetMetrics, but `journal_lost`."""
        snapshot = self.snapshot
        return {
            "version": __version__,
            "libvirt": snapshot.libvirt if snapshot else "",
            "qemu": snapshot.qemu if snapshot else "",
            "mode": self.config.policy.mode,
            "start_time": self.start_time,
            "libvirt_connected": self.connected,
            "snapshot_time": _seconds(snapshot.taken) if snapshot else 0.0,
            "snapshot_origin": snapshot.origin if snapshot else "",
            "hypervisors": len(snapshot.hypervisors) if snapshot else 0,
            "problems": len(self.problems),
            **self.counts.to_dict(),
            "events": dict(self.events),
        }


def _seconds(time_text: str) -> float:
    """Give a time in ISO 8601 in seconds since the epoch, 0 where it is none: it may be kept."""
    try:
        return dt.datetime.fromisoformat(time_text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
