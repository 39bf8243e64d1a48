"""What an Arm core says it is: MIDR_EL1 (Arm ARM, D24.2: Main ID Register)."""

from __future__ import annotations

from typing import NamedTuple


class MIDR(NamedTuple):
    """The fields that tell cores apart: who made it, which part, major and minor revision."""

    implementer: int
    variant: int
    part: int
    revision: int

    @classmethod
    def of(cls, register: int) -> MIDR:
        """Read the register's value, as Linux shows it in sysfs."""
        return cls(
            implementer=register >> 24 & 0xFF,
            variant=register >> 20 & 0xF,
            part=register >> 4 & 0xFFF,
            revision=register & 0xF,
        )

    @property
    def value(self) -> int:
        """The register's value, with the architecture field that says "see the ID registers"."""
        return (
            self.implementer << 24 | self.variant << 20 | 0xF << 16 | self.part << 4 | self.revision
        )
