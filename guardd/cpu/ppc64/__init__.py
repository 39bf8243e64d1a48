"""PowerPC: models by PVR, no features."""

from __future__ import annotations

from enum import StrEnum


class PVRMatch(StrEnum):
    """What makes two processors the same: their family, as in libvirt, or all of the PVR."""

    FAMILY = "family"
    EXACT = "exact"
