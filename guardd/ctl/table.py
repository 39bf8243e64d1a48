"""Tables: fitted to a terminal, one row a line for a pipe."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Sequence

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

Cell = str | Text

GAP = 2  # between two columns
MIN_WIDTH = 12  # of a column that is shortened
PIPE_WIDTH = 100_000  # nothing is folded: a line is a row


def print_table(
    titles: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    whole: Collection[str] = (),
    shortens_last: bool = False,
) -> None:
    """Print *rows* below *titles* on standard output; those named in *whole* are not folded.

    *shortens_last*: on a terminal the last column is shortened to what room the others leave, so
    that a row is a line.
    """
    console = Console()
    # what stands in a cell is no markup of rich's
    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    if shortens_last and console.is_terminal:
        # the terminal itself folds what is wider than it
        console.width = _shorten_last(titles, cells, console.width)
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title in whole)
    for row in cells:
        table.add_row(*row)
    if console.is_terminal:
        console.print(table)
        return
    plain = Console(file=io.StringIO(), width=PIPE_WIDTH, color_system=None)
    with plain.capture() as captured:
        plain.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _shorten_last(titles: Sequence[str], rows: Sequence[Sequence[Text]], width: int) -> int:
    """Shorten the last cell of each row; give the width of all, *width* where that is enough."""
    others = range(len(titles) - 1)
    taken = sum(max([cell_len(titles[at]), *(row[at].cell_len for row in rows)]) for at in others)
    room = max(width - taken - GAP * len(others), MIN_WIDTH)
    for row in rows:
        row[-1].truncate(room, overflow="ellipsis")
    return max(width, taken + GAP * len(others) + room)
