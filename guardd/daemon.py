"""cpu-guardd: wires the socket, the judge, the journal and the watcher together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from guardd import __version__, files, journal, render, wire
from guardd.config import Config
from guardd.cpu import CPUMap
from guardd.errors import BadConfig, BadSnapshot
from guardd.facts.snapshot import HostSnapshot, with_present
from guardd.journal import JournalWriter, Kind, Priority
from guardd.judge import judge, judge_failed
from guardd.judge.ceiling import validate_ceiling
from guardd.judge.finding import CheckRequest, Verdict
from guardd.probe.cpu_map import read_cpu_map
from guardd.probe.fingerprint import read_fingerprint
from guardd.server import Method, Server, open_socket
from guardd.watcher import Sink, Watcher

logger = logging.getLogger(__name__)

EX_CONFIG = 78  # sysexits.h
LOOK_SECONDS = 30.0  # between two looks at whether the host has changed


@dataclass(slots=True)
class State:
    """What the loop's thread alone writes; the values in it are immutable and swapped whole."""

    config: Config
    cpu_map: CPUMap
    snapshot: HostSnapshot | None = None
    connected: bool = False
    problems: dict[str, str] = field(default_factory=dict)
    verdicts: Counter[str] = field(default_factory=Counter)


class Daemon:
    """One running cpu-guardd."""

    def __init__(self, state: State, config_directory: Path, state_directory: Path) -> None:
        self.state = state
        self._config_directory = config_directory
        self._state_directory = state_directory
        self._journal = JournalWriter()
        self._watcher: Watcher | None = None

    # -- the verdict path: no libvirt, no file, no waiting

    def check(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer the varlink method Check."""
        start = time.perf_counter_ns()
        request = wire.request_from(parameters)
        verdict = self._judge(request)
        elapsed_usec = (time.perf_counter_ns() - start) // 1000
        self.state.verdicts[verdict.decision] += 1
        self._journal.write(render.journal_fields(verdict, elapsed_usec))
        if verdict.unseen is not None and self._watcher is not None:
            self._watcher.learn(verdict.unseen)
        return {
            "refused": verdict.refused,
            "line": render.hook_line(verdict),
            "verdict": wire.verdict_to_dict(verdict),
        }

    def _judge(self, request: CheckRequest) -> Verdict:
        state = self.state
        try:
            return judge(request, state.snapshot, state.config.policy, state.cpu_map)
        except Exception:
            # a bug of ours is no reason to stop a guest: policy decides as for any doubt
            logger.exception("judging %r failed", request.domain)
            return judge_failed(request, state.config.policy)

    def status(self, _parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer the varlink method GetStatus."""
        state, snapshot = self.state, self.state.snapshot
        known = snapshot.hypervisors if snapshot else ()
        return {
            "version": __version__,
            "mode": state.config.policy.mode,
            "libvirt_connected": state.connected,
            "snapshot_taken": snapshot.taken if snapshot else "",
            "snapshot_origin": snapshot.origin if snapshot else "",
            "hypervisors": [" ".join(word or "" for word in h.key) for h in known],
            "verdicts": dict(state.verdicts),
            "problems": list(state.problems.values()),
        }

    # -- news from the watcher and from signals, all in the loop's thread

    def take_snapshot(self, snapshot: HostSnapshot, cpu_map: CPUMap) -> None:
        """Judge by *snapshot* and *cpu_map* from now on."""
        before = self.state.snapshot
        self.state.snapshot, self.state.cpu_map = snapshot, cpu_map
        self._tell_status()
        if before is not None and replace(before, taken=snapshot.taken) == snapshot:
            return
        known = ", ".join(sorted({f"{h.virt_type} {h.arch}" for h in snapshot.hypervisors}))
        self._journal.say(
            Kind.SNAPSHOT,
            Priority.INFO,
            f"this host is known: libvirt {snapshot.libvirt}, {known or 'no hypervisor'}",
            GUARDD_SOURCE=f"libvirt at {snapshot.taken}",
        )

    def libvirt_connected(self, version: str) -> None:
        """Note that libvirt answers."""
        self.state.connected = True
        self.state.problems.pop("libvirt", None)
        self._journal.say(Kind.LIBVIRT, Priority.INFO, f"connected to libvirt {version}")
        self._tell_status()

    def libvirt_lost(self, reason: str) -> None:
        """Note that libvirt does not answer; said once until it does."""
        if self.state.problems.get("libvirt") != reason:
            self._journal.say(Kind.LIBVIRT, Priority.WARNING, f"libvirt is away: {reason}")
        self.state.connected = False
        self.state.problems["libvirt"] = reason
        self._tell_status()

    async def reload(self) -> None:
        """Read the configuration and the host anew; a mistake keeps the configuration in force."""
        journal.notify("RELOADING=1")
        try:
            config = await asyncio.to_thread(
                load_config, self._config_directory, self.state.cpu_map
            )
        except BadConfig as exc:
            self.state.problems["config"] = str(exc)
            message = f"{exc}; the configuration in force stays"
            self._journal.say(Kind.CONFIG, Priority.ERROR, message)
        else:
            await self._take_config(config)
        if self._watcher is not None:
            self._watcher.refresh()
        journal.notify("READY=1")
        self._tell_status()

    async def _take_config(self, config: Config) -> None:
        self.state.config = config
        self.state.problems.pop("config", None)
        self._journal.say(Kind.CONFIG, Priority.INFO, "configuration read")
        problem = await asyncio.to_thread(
            kept, files.keep_on_unavailable, config.on_unavailable, self._state_directory
        )
        self._note_kept("on_unavailable", problem)

    def _note_kept(self, what: str, problem: str) -> None:
        """Take note of how writing *what* to disk went, "" for well; said once until it does."""
        if not problem:
            self.state.problems.pop(what, None)
        elif self.state.problems.get(what) != problem:
            self.state.problems[what] = problem
            self._journal.say(Kind.SNAPSHOT, Priority.WARNING, f"{what} was not kept: {problem}")

    def _tell_status(self) -> None:
        state = self.state
        words = "connected to libvirt" if state.connected else "libvirt is away"
        if state.snapshot is None:
            words += ", nothing known of this host"
        elif not state.connected:
            words += f", judging by what was known at {state.snapshot.taken}"
        if problem := state.problems.get("config"):
            words += f", bad configuration: {problem}"
        journal.notify(f"STATUS={words}")

    # -- life

    async def run(self, listeners: list[socket.socket], uri: str) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        reloads: set[asyncio.Task[None]] = set()

        def on_hangup() -> None:
            reloads.add(task := asyncio.create_task(self.reload()))
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, on_hangup)

        methods = {
            "Check": Method(self.check, is_privileged=True),
            "GetStatus": Method(self.status, is_privileged=False),
        }
        server = Server(methods, os.geteuid())
        served = [await server.listen(listener) for listener in listeners]
        self._journal.say(Kind.STARTED, Priority.INFO, f"cpu-guardd {__version__} judges guests")
        await self._take_config(self.state.config)
        self._watcher = self._start_watcher(loop, uri)
        journal.notify("READY=1")
        self._tell_status()
        ticking = asyncio.create_task(self._tick())
        await stopped.wait()
        journal.notify("STOPPING=1")
        ticking.cancel()
        for listening in served:
            listening.close()
        self._journal.close()

    def _start_watcher(self, loop: asyncio.AbstractEventLoop, uri: str) -> Watcher:
        def published(snapshot: HostSnapshot, cpu_map: CPUMap) -> None:
            loop.call_soon_threadsafe(self.take_snapshot, snapshot, cpu_map)
            problem = kept(files.keep_snapshot, snapshot, self._state_directory)
            loop.call_soon_threadsafe(self._note_kept, "snapshot", problem)

        sink = Sink(
            published=published,
            connected=lambda version: loop.call_soon_threadsafe(self.libvirt_connected, version),
            lost=lambda reason: loop.call_soon_threadsafe(self.libvirt_lost, reason),
        )
        watcher = Watcher(uri, sink)
        watcher.start()
        return watcher

    async def _tick(self) -> None:
        """Tell systemd that verdicts can be given, and let the watcher look at the host."""
        watchdog = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        period = min(LOOK_SECONDS, watchdog / 3) if watchdog else LOOK_SECONDS
        while True:
            journal.notify("WATCHDOG=1")
            if self._watcher is not None:
                self._watcher.look()
            await asyncio.sleep(period)


def kept(write: Callable[[Any, Path], None], value: object, directory: Path) -> str:
    """Write *value* below *directory*; give what went wrong, "" for nothing."""
    try:
        write(value, directory)
    except OSError as exc:
        return f"cannot write below {directory}: {exc.strerror or exc}"
    return ""


def load_config(directory: Path, cpu_map: CPUMap) -> Config:
    """Read the configuration and hold its ceilings against the CPU map; raises BadConfig."""
    config = files.read_config(directory)
    for ceiling in config.policy.ceilings:
        validate_ceiling(cpu_map, ceiling)
    return config


def load_snapshot(directory: Path) -> tuple[HostSnapshot | None, str]:
    """Read the kept snapshot; give it, or None and what is wrong with it ("" if there is none)."""
    try:
        kept = files.kept_snapshot(directory)
    except BadSnapshot as exc:
        return None, str(exc)
    if kept is None:
        return None, ""
    present = read_fingerprint(hypervisor.emulator for hypervisor in kept.hypervisors)
    return with_present(kept, present), ""


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
        loaded = load_config(config, cpu_map)
    except BadConfig as exc:
        click.echo(f"cpu-guardd: {exc}", err=True)
        sys.exit(EX_CONFIG)
    if check_config:
        return
    listeners = journal.listening_sockets()
    if path is not None and not listeners:
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        listeners = [open_socket(path)]
    if not listeners:
        click.echo("cpu-guardd: no socket: start cpu-guardd.service, or use --socket", err=True)
        sys.exit(2)
    snapshot, problem = load_snapshot(state)
    daemon = Daemon(State(config=loaded, cpu_map=cpu_map, snapshot=snapshot), config, state)
    if problem:
        daemon.state.problems["snapshot"] = problem
        logger.warning("%s", problem)
    asyncio.run(daemon.run(listeners, uri))
    # libvirt may hold a thread in a call that does not end; nothing is left to be done
    os._exit(0)


if __name__ == "__main__":
    main()
