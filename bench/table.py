"""The one table: what | ours | peer | ratio | target | met."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HEADER = ("what", "ours", "peer", "ratio", "target", "met")
MILLISECOND = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: ours and the peer's in words, their ratio, and the most that it may be.

    `ratio` and `target` None: a figure without a target, or without a peer to be held against.
    """

    what: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    target: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None: it cannot be said."""
        if self.ratio is None or self.target is None:
            return None
        return self.ratio <= self.target

    def cells(self) -> tuple[str, ...]:
        """Give the cells in the order of HEADER."""
        return (
            self.what,
            self.ours,
            self.peer,
            "" if self.ratio is None else f"{self.ratio:.2f}",
            "" if self.target is None else f"{self.target:g}",
            {True: "yes", False: "NO", None: "-"}[self.is_met],
        )


def in_words(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    if seconds < MILLISECOND:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def against(what: str, ours: float, peer: float, name: str, target: float | None) -> Row:
    """Hold *ours* against the *peer* called *name*, both in seconds."""
    return Row(
        what=what,
        ours=in_words(ours),
        peer=f"{in_words(peer)}, {name}",
        ratio=ours / peer,
        target=target,
    )


def table(rows: Iterable[Row]) -> str:
    """Write *rows* as a table in Markdown, which is read as it stands, too."""
    lines = [HEADER, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    texts = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts)
