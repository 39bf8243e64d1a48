"""The command line of cpu-guardd: load, listen, run."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from guardd import __version__, files, service
from guardd.daemon import Daemon, load_config
from guardd.errors import BadConfig, BadSnapshot
from guardd.facts.snapshot import HostSnapshot
from guardd.journal.owed import Owed
from guardd.kept import kept_host
from guardd.probe.cpu_map import read_cpu_map
from guardd.probe.revision import read_revision
from guardd.server import open_socket
from guardd.state import State
from guardd.watch.starting import Starting

logger = logging.getLogger(__name__)

Kept = TypeVar("Kept")

EX_USAGE, EX_CONFIG = 2, 78  # click's own, and sysexits.h
OWED, STARTING = "owed", "starting"  # in the folder in memory


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path, file_okay=False),
    default=files.CONFIG_DIRECTORY,
    show_default=True,
    help="Folder of guardd.toml and guardd.toml.d/.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=files.STATE_DIRECTORY,
    show_default=True,
    help="Folder of what is kept.",
)
@click.option("--socket", "path", metavar="PATH", help="Listen here when systemd hands no socket.")
@click.option("--uri", default="qemu:///system", show_default=True, help="libvirt to watch.")
@click.option("--check-config", is_flag=True, help="Only say whether the configuration is good.")
@click.version_option(__version__)
def main(config: Path, state: Path, path: str | None, uri: str, *, check_config: bool) -> None:
    """Refuse guests whose CPU this host cannot honour; run by cpu-guardd.service."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    cpu_map = read_cpu_map()
    try:
        if check_config:
            load_config(config, cpu_map)
            return
        snapshot, problems = _kept_snapshot(state)
        known = State(cpu_map, snapshot, read_revision(cpu_map), problems=problems)
        daemon = Daemon(
            known,
            config,
            state,
            owed=_taken_over(Owed, OWED),
            starting=_taken_over(Starting, STARTING),
        )
        _be_quick()
        asyncio.run(daemon.run(_listeners(path), uri))
    except BadConfig as exc:
        click.echo(f"cpu-guardd: {exc}", err=True)
        sys.exit(EX_CONFIG)
    # libvirt may hold a thread in a call that does not end; nothing is left to be done
    os._exit(0)


def _be_quick() -> None:
    """Keep the interpreter from making a verdict wait."""
    # what is loaded by now stays: to look through it for garbage takes ten milliseconds each time
    gc.freeze()
    # when the watcher computes, the thread that answers the hook waits for the interpreter's lock
    # this long, in place of 5 ms
    sys.setswitchinterval(0.0005)


def _taken_over(take: Callable[[Path], Kept], name: str) -> Kept | None:
    """Take over what another process left in memory under *name*, if there is a place for it."""
    directory = service.runtime_directory()
    try:
        return None if directory is None else take(directory / name)
    except OSError as exc:
        logger.warning("cannot use %s/%s: %s", directory, name, exc.strerror)
        return None


def _kept_snapshot(directory: Path) -> tuple[HostSnapshot | None, dict[str, str]]:
    """Read the kept snapshot; give it, and what is wrong with it as a problem of the daemon's."""
    try:
        return kept_host(directory), {}
    except BadSnapshot as exc:
        logger.warning("%s", exc)
        return None, {"snapshot": str(exc)}


def _listeners(path: str | None) -> list[socket.socket]:
    listeners = service.listening_sockets()
    if path is not None and not listeners:
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        listeners = [open_socket(path)]
    if not listeners:
        click.echo("cpu-guardd: no socket: start cpu-guardd.service, or use --socket", err=True)
        sys.exit(EX_USAGE)
    return listeners


if __name__ == "__main__":
    main()
