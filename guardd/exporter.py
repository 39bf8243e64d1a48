"""Serves the daemon's numbers to Prometheus; run by cpu-guardd-metrics.service.

A program of its own, so that whatever a scraper does meets neither the daemon nor a verdict: the
daemon answers one more unprivileged call, and `cpu_guardd_up` is 0 where it does not.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import click

from guardd import service, wire
from guardd.ctl.client import call, understood
from guardd.errors import BadConfig, BadRequest, DaemonUnreachable, GuardError
from guardd.scrape import IDLE_SECONDS, ScrapeServer

logger = logging.getLogger(__name__)

ASK_SECONDS = 2.0  # for the daemon, within the time that a scrape has
EX_CONFIG = 78  # sysexits.h


class Exporter:
    """Asks the daemon for its numbers, once for all who scrape at the same time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._asking: asyncio.Task[bytes] | None = None
        self._problem = ""

    async def exposition(self) -> bytes:
        """Give the daemon's metrics, or that it is away."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(asyncio.to_thread(self._ask))
        return await asyncio.shield(self._asking)  # one who leaves takes nothing from the others

    def _ask(self) -> bytes:
        from guardd.metrics import exposition  # noqa: PLC0415 (its package may be missing)

        try:
            numbers = call("GetMetrics", {}, self._path, seconds=ASK_SECONDS)
            with understood():
                page = exposition(numbers)
        except (DaemonUnreachable, BadRequest) as exc:
            self._say(str(exc))
            return exposition(None)
        self._say("")
        return page

    def _say(self, problem: str) -> None:
        if problem and problem != self._problem:
            logger.warning("%s", problem)
        self._problem = problem


async def serve(path: str, *, idle_seconds: float = IDLE_SECONDS) -> None:
    """Serve on the sockets that systemd opened, until nobody came for *idle_seconds*.

    *path*: the daemon's socket. Raises BadConfig for a socket that others can reach, and
    MissingPackage.
    """
    from guardd.metrics import CONTENT_TYPE  # noqa: PLC0415 (its package may be missing)

    server = ScrapeServer(Exporter(path).exposition, CONTENT_TYPE, idle_seconds=idle_seconds)
    listening = [
        await server.listen(listener) for listener in service.listening_sockets(any_family=True)
    ]
    if not listening:
        raise BadConfig("no socket", hint="start cpu-guardd-metrics.socket")
    await server.until_idle()
    for served in listening:
        served.close()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--socket", "path", default=wire.SOCKET_PATH, show_default=True, metavar="PATH")
def main(path: str) -> None:
    """Serve cpu-guardd's metrics on the sockets that systemd opened."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    try:
        asyncio.run(serve(path))
    except GuardError as exc:
        click.echo(f"cpu-guardd: {exc}; {exc.hint}", err=True)
        sys.exit(EX_CONFIG)


if __name__ == "__main__":
    main()
