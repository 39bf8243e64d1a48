"""The host as the daemon last knew it, told apart by whether it has changed since."""

from __future__ import annotations

from pathlib import Path

from guardd import files
from guardd.facts.snapshot import HostSnapshot, with_present
from guardd.probe.fingerprint import read_fingerprint


def kept_host(directory: Path = files.STATE_DIRECTORY) -> HostSnapshot | None:
    """Give the snapshot kept below *directory*, STALE where the host is not as it was then.

    None where none was ever kept; raises BadSnapshot for one that cannot be read.
    """
    snapshot = files.kept_snapshot(directory)
    if snapshot is None:
        return None
    emulators = (hypervisor.emulator for hypervisor in snapshot.hypervisors)
    return with_present(snapshot, read_fingerprint(emulators))
