"""cpu-guardctl metrics: the daemon's numbers for Prometheus, on stdout or in a textfile."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from guardd import files, wire
from guardd.ctl.client import call, understood
from guardd.ctl.common import Exit, shown_errors
from guardd.errors import CannotWrite, DaemonUnreachable


@click.command()
@click.option(
    "--textfile",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write FILE, for node_exporter's textfile collector, in place of stdout.",
)
@click.option("--socket", "path", default=wire.SOCKET_PATH, show_default=True, metavar="PATH")
@shown_errors
def metrics(textfile: Path | None, path: str) -> None:
    """Show the daemon's metrics as Prometheus reads them.

    Where the daemon does not answer, cpu_guardd_up is 0 and the only one.

    Exit status: 0 the daemon answered, 69 it did not.
    """
    from guardd.metrics import exposition

    away: DaemonUnreachable | None = None
    try:
        numbers = call("GetMetrics", {}, path)
        with understood():
            text = exposition(numbers).decode()
    except DaemonUnreachable as exc:
        text, away = exposition(None).decode(), exc
    if textfile is None:
        click.echo(text, nl=False)
    else:
        _write(textfile, text)
    if away is not None:
        click.echo(f"error: {away}", err=True)
        click.echo(f"hint: {away.hint}", err=True)
        sys.exit(Exit.NO_DAEMON)


def _write(path: Path, text: str) -> None:
    try:
        files.write_asked(path, text, files.MODE)
    except OSError as exc:
        hint = "--textfile needs a folder that exists, as node_exporter's --collector.textfile"
        raise CannotWrite(f"cannot write {path}: {exc.strerror or exc}", hint=hint) from exc
