"""Tables: fitted to a terminal, one row a line for a pipe."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

Cell = str | Text

PIPE_WIDTH = 100_000  # nothing is folded: a line is a row


def print_table(
    titles: Sequence[str], rows: Iterable[Sequence[Cell]], *, whole: Collection[str] = ()
) -> None:
    """Print *rows* below *titles* on standard output; those named in *whole* are not folded."""
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title in whole)
    for row in rows:
        # what stands in a cell is no markup of rich's
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console = Console()
    if console.is_terminal:
        console.print(table)
        return
    plain = Console(file=io.StringIO(), width=PIPE_WIDTH, color_system=None)
    with plain.capture() as captured:
        plain.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
