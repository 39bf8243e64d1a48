"""cpu-guardd: wires the socket, the judge, the journal and the watcher together."""

from __future__ import annotations

import asyncio
import logging
import operator
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from guardd import __version__, files, render, service, wire
from guardd.config import Config
from guardd.cpu import CPUMap, PVRMatch, match_pvr
from guardd.errors import BadConfig
from guardd.facts.snapshot import HostSnapshot, with_revision
from guardd.journal import Kind, Priority
from guardd.journal.owed import Owed
from guardd.journal.recorder import Recorder
from guardd.journal.writer import JournalWriter
from guardd.judge import judge, judge_failed, judge_later
from guardd.judge.ceiling import validate_ceiling
from guardd.judge.finding import CheckRequest, Operation, Verdict
from guardd.server import Listening, Method, Server
from guardd.state import State
from guardd.watch.advice import Advice
from guardd.watch.asked import Asked
from guardd.watch.chore import Chore, Desk, Known
from guardd.watch.drift import DriftWatch
from guardd.watch.opinion import SecondOpinion
from guardd.watch.stamping import Stamping
from guardd.watch.starting import Starting
from guardd.watch.unasked import Calls, Unasked
from guardd.watch.watcher import Sink, Watcher

logger = logging.getLogger(__name__)

TAKE_SECONDS = 5.0  # for the loop to take a snapshot; it never needs a hundredth of that
# problems of keeping, by what was not kept
KEPT_SNAPSHOT, KEPT_ANSWER, KEPT_CONFIG = "snapshot", "on_unavailable", "configuration"
KEPT_PREVIOUS = "the host as it was"
LOST_SOCKET = "socket"  # the key of another problem
LOOK_SECONDS = 30.0  # between two looks at whether the host has changed


class Daemon:
    """One running cpu-guardd."""

    def __init__(
        self,
        state: State,
        config_directory: Path,
        state_directory: Path,
        writer: JournalWriter | None = None,
        owed: Owed | None = None,
        starting: Starting | None = None,
    ) -> None:
        self.state = state
        self._config_directory = config_directory
        self._state_directory = state_directory
        self._journal = writer or JournalWriter()
        self._recorder = Recorder(self._journal, owed)
        self._asked = Asked(starting=starting)
        self._calls = Calls()
        self._watcher: Watcher | None = None
        self._host: HostSnapshot | None = None
        self._previous: HostSnapshot | None = None  # the last that was to be kept as such
        self._found: files.ConfigFiles = []
        # once the reply is on its way, where there is a loop: it wakes other threads up, and they
        # take their time
        self.later: Callable[..., object] = operator.call
        self._put_in_force()

    # -- the verdict path: no libvirt, no file, no waiting

    def check(self, parameters: Mapping[str, Any]) -> bytes:
        """Answer the varlink method Check."""
        start = time.perf_counter_ns()
        asked = wire.request_from(parameters)
        arrives = self._asked.note(asked.domain, asked.operation)
        request = asked._replace(arrives=arrives)
        verdict = self._judge(request)
        elapsed_usec = (time.perf_counter_ns() - start) // 1000
        if verdict.refused:
            self._asked.refused(asked.domain)
        elif asked.operation is Operation.PREPARE:
            self._calls.note(asked.domain)
            self.later(self._asked.allowed, asked.domain)
        self.state.counts.note(verdict, elapsed_usec)
        reply = wire.format_reply(
            {
                "refused": verdict.refused,
                "line": render.hook_line(verdict),
                "verdict": wire.verdict_to_dict(verdict),
            }
        )
        self._recorder.record(verdict, elapsed_usec, reply, self.later)
        self.later(self._tell_watcher, request, verdict)
        return reply

    def _tell_watcher(self, request: CheckRequest, verdict: Verdict) -> None:
        if self._watcher is None:
            return
        if verdict.unseen is not None:
            self._watcher.learn(verdict.unseen)
        # without its XML: thousands may wait
        self._watcher.judged(request._replace(xml=""), verdict)

    def missed(self, parameters: Mapping[str, Any]) -> None:
        """Take note of a Check whose caller has left: its hook has judged by itself."""
        asked = wire.request_from(parameters)
        self._asked.note(asked.domain, asked.operation)
        if asked.operation is Operation.PREPARE:
            self._calls.note(asked.domain)
            self._asked.allowed(asked.domain)

    def _judge(self, request: CheckRequest) -> Verdict:
        state = self.state
        if request.operation is Operation.RESTORE:
            return judge_later(request)
        try:
            return judge(request, self._host, state.config.policy, state.cpu_map)
        except Exception:
            # a bug of ours is no reason to stop a guest: policy decides as for any doubt
            logger.exception("judging %r failed", request.domain)
            return judge_failed(request, state.config.policy)

    def status(self, _parameters: Mapping[str, Any]) -> bytes:
        """Answer the varlink method GetStatus."""
        return wire.format_reply(self.state.status())

    def metrics(self, _parameters: Mapping[str, Any]) -> bytes:
        """Answer the varlink method GetMetrics."""
        return wire.format_reply({**self.state.metrics(), "journal_lost": self._journal.lost})

    # -- news from the watcher and from signals, all in the loop's thread

    def take_snapshot(self, snapshot: HostSnapshot, cpu_map: CPUMap) -> None:
        """Judge by *snapshot* and *cpu_map* from now on."""
        before = self.state.snapshot
        self.state.snapshot, self.state.cpu_map = snapshot, cpu_map
        self._put_in_force()
        self._tell_status()
        if before is not None and before._replace(taken=snapshot.taken) == snapshot:
            return
        known = ", ".join(sorted({f"{h.virt_type} {h.arch}" for h in snapshot.hypervisors}))
        self._journal.say(
            Kind.SNAPSHOT,
            Priority.INFO,
            f"this host is known: libvirt {snapshot.libvirt}, {known or 'no hypervisor'}",
            GUARDD_SOURCE=f"libvirt at {snapshot.taken}",
        )

    def _put_in_force(self) -> None:
        """Make ready what verdicts go by, after a change, so that none has to."""
        state = self.state
        self._host = state.snapshot
        if state.config.pvr is PVRMatch.EXACT and state.snapshot is not None:
            self._host = with_revision(state.snapshot, state.revision)
        state.cpu_map = match_pvr(state.cpu_map, state.config.pvr)

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
        service.notify("RELOADING=1")
        try:
            config, found = await asyncio.to_thread(
                load_config, self._config_directory, self.state.cpu_map
            )
        except BadConfig as exc:
            self._note_bad_config(str(exc))
        else:
            await self._take_config(config, found)
        if self._watcher is not None:
            self._watcher.refresh()
        service.notify("READY=1")
        self._tell_status()

    async def _take_first_config(self) -> None:
        """Take the configuration on disk, or else the last good one; raises BadConfig."""
        try:
            config, found = load_config(self._config_directory, self.state.cpu_map)
        except BadConfig as exc:
            kept_one = files.kept_config(self._state_directory)
            if kept_one is None:
                raise
            self.state.config = kept_one
            self._put_in_force()
            self._note_bad_config(str(exc))
        else:
            await self._take_config(config, found)

    def _note_bad_config(self, problem: str) -> None:
        self.state.problems["config"] = problem
        message = f"{problem}; the last good configuration stays in force"
        self._journal.say(Kind.CONFIG, Priority.ERROR, message)

    async def _take_config(self, config: Config, found: files.ConfigFiles) -> None:
        self.state.config = config
        self._put_in_force()
        self.state.problems.pop("config", None)
        self._journal.say(Kind.CONFIG, Priority.INFO, "configuration read")
        self._found = found
        await self._keep_config()

    async def _keep_config(self) -> None:
        for what, write, value in (
            (KEPT_ANSWER, files.keep_on_unavailable, self.state.config.on_unavailable),
            (KEPT_CONFIG, files.keep_config, self._found),
        ):
            await self._keep(what, write, value)

    async def _keep(self, what: str, write: Callable[[Any, Path], None], value: object) -> None:
        problem = await asyncio.to_thread(files.try_keep, write, value, self._state_directory)
        self._note_kept(what, problem)

    def _note_kept(self, what: str, problem: str) -> None:
        """Take note of how writing *what* to disk went, "" for well; said once until it does."""
        self._note_and_say(what, problem, Kind.SNAPSHOT, f"{what} was not kept: {problem}")

    def _note_and_say(self, key: str, problem: str, kind: Kind, message: str) -> None:
        """Note *problem*, "" for none; *message* says it once, until it is over or another."""
        if problem and self.state.problems.get(key) != problem:
            self._journal.say(kind, Priority.WARNING, message)
        self._note_problem(key, problem)

    def _tell_status(self) -> None:
        state = self.state
        words = "connected to libvirt" if state.connected else "libvirt is away"
        if state.snapshot is None:
            words += ", nothing known of this host"
        elif not state.connected:
            words += f", judging by what was known at {state.snapshot.taken}"
        if problem := state.problems.get("config"):
            words += f", bad configuration: {problem}"
        service.notify(f"STATUS={words}")

    # -- life

    async def run(self, listeners: list[socket.socket], uri: str) -> None:
        """Serve until SIGTERM or SIGINT; raises BadConfig where it cannot begin."""
        loop = asyncio.get_running_loop()
        self.later = loop.call_soon
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        reloads: set[asyncio.Task[None]] = set()

        def on_hangup() -> None:
            reloads.add(task := asyncio.create_task(self.reload()))
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, on_hangup)

        await self._take_first_config()
        self._recorder.take_over()
        methods = {
            "Check": Method(self.check, is_privileged=True, missed=self.missed),
            "GetStatus": Method(self.status, is_privileged=False),
            "GetMetrics": Method(self.metrics, is_privileged=False),
        }
        server = Server(methods, os.geteuid())
        served = [server.listen(listener) for listener in listeners]
        self._journal.say(Kind.STARTED, Priority.INFO, f"cpu-guardd {__version__} judges guests")
        self._watcher = self._start_watcher(loop, uri)
        service.notify("READY=1")
        self._tell_status()
        ticking = asyncio.create_task(self._tick(served))
        await stopped.wait()
        self.later = operator.call
        service.notify("STOPPING=1")
        ticking.cancel()
        for listening in served:
            listening.close()
        await asyncio.sleep(0)  # until what was put off before is done: it has records
        self._journal.close()
        self._recorder.settle()

    def _start_watcher(self, loop: asyncio.AbstractEventLoop, uri: str) -> Watcher:
        def published(snapshot: HostSnapshot, cpu_map: CPUMap) -> None:
            is_taken = threading.Event()

            def take() -> None:
                self.take_snapshot(snapshot, cpu_map)
                is_taken.set()

            loop.call_soon_threadsafe(take)
            is_taken.wait(TAKE_SECONDS)  # the chores that follow go by it
            problem = files.try_keep(files.keep_snapshot, snapshot, self._state_directory)
            loop.call_soon_threadsafe(self._note_kept, KEPT_SNAPSHOT, problem)

        sink = Sink(
            published=published,
            connected=lambda version: loop.call_soon_threadsafe(self.libvirt_connected, version),
            lost=lambda reason: loop.call_soon_threadsafe(self.libvirt_lost, reason),
        )
        watcher = Watcher(uri, sink, self.state.snapshot, self._chores(loop))
        watcher.start()
        return watcher

    def _chores(self, loop: asyncio.AbstractEventLoop) -> tuple[Chore, ...]:
        """Give what is done with libvirt's help besides knowing the host."""

        def count(what: str) -> None:
            loop.call_soon_threadsafe(self.state.events.update, [what])

        def note(key: str, problem: str) -> None:
            loop.call_soon_threadsafe(self._note_problem, key, problem)

        def keep_previous(before: HostSnapshot) -> None:
            self._previous = before
            problem = files.try_keep(files.keep_previous, before, self._state_directory)
            loop.call_soon_threadsafe(self._note_kept, KEPT_PREVIOUS, problem)

        desk = Desk(known=self._known, say=self._journal.say, count=count, note=note)
        return (
            Stamping(desk, self._asked),
            DriftWatch(desk, keep_previous),
            Advice(desk),
            SecondOpinion(desk),
            Unasked(desk, self._calls),
        )

    def _known(self) -> Known:
        state = self.state
        return Known(host=self._host, policy=state.config.policy, cpu_map=state.cpu_map)

    def _note_problem(self, key: str, problem: str) -> None:
        self.state.problems.pop(key, None)
        if problem:
            self.state.problems[key] = problem

    async def _tick(self, served: Sequence[Listening]) -> None:
        """Tell systemd that verdicts can be given, and let the watcher look at the host."""
        watchdog = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        # half of what systemd waits for, as sd_watchdog_enabled(3) has it
        period = min(LOOK_SECONDS, watchdog / 2) if watchdog else LOOK_SECONDS
        while True:
            service.notify("WATCHDOG=1")
            try:
                await self._look_around(served)
            except Exception:
                # a bug of ours: without the next tick systemd would take the process for hung
                logger.exception("looking around failed")
            await asyncio.sleep(period)

    async def _look_around(self, served: Sequence[Listening]) -> None:
        if self._watcher is not None:
            self._watcher.look()
        await self._keep_again()
        self._recorder.settle()
        self._note_lost(", ".join(each.path for each in served if not each.can_be_found()))

    def _note_lost(self, paths: str) -> None:
        """Say once that no caller finds *paths* any more; the hook judges by itself then."""
        problem = f"{paths} was removed: systemctl restart cpu-guardd.socket" if paths else ""
        self._note_and_say(LOST_SOCKET, problem, Kind.SOCKET, problem)

    async def _keep_again(self) -> None:
        """Write what a full disk did not take: the hook judges by it when this process is away."""
        problems = self.state.problems.keys()
        if KEPT_SNAPSHOT in problems and self._watcher is not None:
            self._watcher.refresh()
        if problems & {KEPT_ANSWER, KEPT_CONFIG}:
            await self._keep_config()
        if KEPT_PREVIOUS in problems:
            await self._keep(KEPT_PREVIOUS, files.keep_previous, self._previous)


def load_config(directory: Path, cpu_map: CPUMap) -> tuple[Config, files.ConfigFiles]:
    """Read the configuration and hold its ceilings against the CPU map.

    Give it and the files it was read from; raises BadConfig.
    """
    config, found = files.read_config(directory)
    for ceiling in config.policy.ceilings:
        validate_ceiling(cpu_map, ceiling)
    return config, found
