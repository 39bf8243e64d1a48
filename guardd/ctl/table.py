"""Tables: fitted to a terminal, one row a line for a pipe."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

Cell = str | Text

PIPE_WIDTH = 100_000  # nothing is folded: a line is a row


def print_table(titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print *rows* below *titles* on standard output; the last column takes what room is left."""
    table = Table(box=None, pad_edge=False)
    for title in titles[:-1]:
        table.add_column(title, overflow="fold")
    table.add_column(titles[-1], overflow="fold", ratio=1)
    for row in rows:
        # what stands in a cell is no markup of rich's
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console = Console()
    if console.is_terminal:
        table.expand = True
        console.print(table)
        return
    plain = Console(file=io.StringIO(), width=PIPE_WIDTH, color_system=None)
    table.columns[-1].ratio = None
    with plain.capture() as captured:
        plain.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
