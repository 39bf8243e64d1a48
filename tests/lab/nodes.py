"""The four hosts of the lab, and where on this machine their state lies."""

import hashlib
import os
import uuid
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_NAMESPACE = uuid.UUID("6f3c1f0e-8a5b-4a55-9a43-6f8f7f1d9c10")


class Release(StrEnum):
    """A Debian release: bookworm has libvirt 9.0 and QEMU 7.2, trixie libvirt 11.3 and QEMU 10."""

    BOOKWORM = "bookworm"
    TRIXIE = "trixie"


@dataclass(frozen=True, slots=True)
class Node:
    """One host of the lab."""

    name: str
    address: str
    release: Release

    @property
    def state(self) -> Path:
        return state_dir() / "hosts" / self.name

    @property
    def root(self) -> Path:
        """The host's root folder, mounted only while the host runs."""
        return self.state / "root"

    @property
    def unit(self) -> str:
        """Name of the host's container, scope and cgroup on this machine."""
        return f"{lab_name()}-{self.name}"

    @property
    def machine_id(self) -> str:
        # Containers show the machine's DMI uuid: with that as their host uuid, two hosts
        # refuse to migrate a guest "to the same host".
        return uuid.uuid5(_NAMESPACE, self.name).hex


NODES = (
    Node("hosta", "10.77.0.1", Release.BOOKWORM),
    Node("hostb", "10.77.0.2", Release.BOOKWORM),
    Node("hostc", "10.77.0.3", Release.TRIXIE),
    Node("hostd", "10.77.0.4", Release.TRIXIE),
)
PREFIX_LENGTH = 24


def state_dir() -> Path:
    folder = os.environ.get("GUARDD_LAB_STATE") or "/var/tmp/cpu-guardd-lab"  # noqa: S108 - root's
    return Path(folder).absolute()


def lab_name() -> str:
    # Two labs with state folders of their own must not meet in one cgroup or scope.
    return f"cpu-guardd-lab-{hashlib.sha256(os.fsencode(state_dir())).hexdigest()[:6]}"
