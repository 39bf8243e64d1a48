"""Checks of libvirt's hook: there, run by hand, noticed by the libvirtd that runs; its fallback."""

from __future__ import annotations

import datetime as dt
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from guardd import files
from guardd.ctl.bounded import Ran, run_program
from guardd.ctl.doctor.checked import Checked, broken, ok, skipped, unknown, warning
from guardd.ctl.doctor.scene import Scene
from guardd.errors import GuardError
from guardd.fallback import REFUSED
from guardd.hookfile import DROP_IN, MAIN, Place, State, places
from guardd.journal import Kind, reader
from guardd.judge.finding import Answer
from guardd.watch.unasked import BY_HAND, PROBLEM

INSTALL = "cpu-guardctl hook install"
RELOAD = "systemctl reload cpu-guardd"
NEEDS_ROOT = "only root can tell"

HOOK_SECONDS = 1.0  # DAEMON_SECONDS of hooks/qemu.c
FALLBACK_SECONDS = 4.0  # FALLBACK_SECONDS of hooks/qemu.c
ALL_SECONDS = 10.0  # for the hook with its fallback, on a slow day


def check_place(scene: Scene) -> Checked:
    """Look whether a hook of ours, of this version, stands where libvirt looks."""
    name = "hook"
    try:
        found = places(scene.site.hooks)
    except GuardError as exc:
        return broken(name, str(exc), reinstall(scene.site.root))
    ours = [place for place in found if place.is_ours]
    for place in ours:
        match place.state:
            case State.NOT_EXECUTABLE:
                found_so = f"{place.path} is not executable: libvirt passes it over without a word"
                return broken(name, found_so, INSTALL)
            case State.OUTDATED:
                found_so = f"{place.path} is of another version of cpu-guardd"
                return broken(name, found_so, INSTALL)
    if len(ours) > 1:
        twice = f"both {ours[0].path} and {ours[1].path} are ours: every guest is judged twice"
        return warning(name, twice, f"rm {shlex.quote(str(ours[1].path))}")
    if ours:
        return ok(name, f"{ours[0].path}: current, {_standing(scene.site.hooks, ours[0])}")
    return _none(name, found)


def _none(name: str, found: list[Place]) -> Checked:
    main, drop_in = found
    if State.UNREADABLE in (main.state, drop_in.state):
        return unknown(name, f"{main.path.parent} cannot be read: {NEEDS_ROOT}")
    if drop_in.state is State.FOREIGN:
        path = shlex.quote(str(drop_in.path))
        mend = f"mv {path} {path}.other && {INSTALL}"
        return broken(name, f"{drop_in.path} is another program's", mend)
    if main.state is State.FOREIGN:
        return broken(name, f"{main.path} is another program's, ours is not beside it", INSTALL)
    return broken(name, f"{main.path} is missing: no guest is guarded", INSTALL)


def _standing(root: Path, ours: Place) -> str:
    before = [path for path in _executables(root) if path < ours.path and path != ours.path]
    return f"run after {', '.join(map(str, before))}" if before else "run first"


def check_others(scene: Scene) -> Checked:
    """Name the hooks of other programs that libvirt runs for the same guests."""
    name = "others"
    ours = {place.path for place in _places(scene) if place.is_ours}
    others = [path for path in _executables(scene.site.hooks) if path not in ours]
    if not others:
        return ok(name, "no other program has a hook for guests")
    listed = ", ".join(map(str, others))
    return ok(name, f"{listed} may refuse guests as well, or change them when they arrive")


def _executables(root: Path) -> list[Path]:
    """Give what libvirt runs, in its order: qemu, and qemu.d/* by name (libvirt, virhook.c)."""
    try:
        drop_ins = sorted((root / DROP_IN).parent.iterdir())
    except OSError:
        drop_ins = []
    candidates = [root / MAIN, *(path for path in drop_ins if not path.name.startswith("."))]
    return [path for path in candidates if path.is_file() and os.access(path, os.X_OK)]


def _places(scene: Scene) -> list[Place]:
    try:
        return places(scene.site.hooks)
    except GuardError:
        return []  # check_place says so


# -- noticed by libvirtd


def check_noticed(scene: Scene) -> Checked:
    """Look whether the libvirtd that runs knows of the hook: it looks at start and reload only."""
    name = "noticed"
    ours = next((place.path for place in _places(scene) if place.is_run), None)
    if ours is None:
        return skipped(name, "there is no hook that libvirtd could know of")
    unit = scene.libvirt
    if unit is None or unit.looked is None:
        if scene.guests is None:
            return ok(name, "libvirtd does not run; it will find the hook when it starts")
        return unknown(name, "systemd did not start this libvirtd: see --try")
    mend = INSTALL  # which has libvirtd look again
    if missed := _missed(scene, unit.looked):
        return broken(name, missed, mend)
    if seen := _seen(scene, ours, unit.looked):
        return ok(name, seen)
    late = f"{unit.name} looked for hooks at {_clock(unit.looked)}, before {ours} was put there"
    return broken(name, f"{late}, at {_clock(_born(ours))}", mend)


def _missed(scene: Scene, looked: dt.datetime) -> str:
    """Say which guest started without the hook since libvirtd looked for hooks, "" for none."""
    problems = [] if scene.status is None else scene.status["problems"]
    said = next((text for text in problems if text.startswith(PROBLEM.partition("{")[0])), None)
    if said is None:
        return ""
    told = reader.newest(Kind.UNASKED)
    if told is not None and _started(told) < looked:
        return ""  # the daemon says so until the next guest starts
    return str(said)


def _started(record: Mapping[str, str]) -> dt.datetime:
    """Give when the guest started of which *record* says that nobody was asked."""
    return dt.datetime.fromisoformat(record.get("GUARDD_STARTED", record["time"])).astimezone()


def _seen(scene: Scene, ours: Path, looked: dt.datetime) -> str:
    """Say by what it is known that libvirtd knows of the hook, "" where nothing tells."""
    if _born(ours) <= looked:
        return f"libvirtd looked for hooks at {_clock(looked)}, when it was there"
    for record in reader.verdicts(since=looked):
        if record["GUARDD_DOMAIN"] != BY_HAND:
            return f"it asked about {record['GUARDD_DOMAIN']} at {record['time']}"
    # one that was there is enough: from then on libvirt looks at each call
    for path in _executables(scene.site.hooks):
        if _born(path) <= looked:
            return f"libvirtd has run hooks since {_clock(looked)}, as {path} was there"
    return ""


def _born(path: Path) -> dt.datetime:
    """Give when *path* was put there: its change time, for a copy may keep its other times."""
    return dt.datetime.fromtimestamp(path.stat().st_ctime, dt.UTC)


def _clock(time: dt.datetime) -> str:
    # a hook may be put there within a second of the look that missed it
    return time.astimezone().isoformat(" ", "milliseconds")[: len("2026-11-23 01:49:40.480")]


# -- the hook and its fallback, run by hand


def check_run(scene: Scene) -> Checked:
    """Run the hook as libvirt does, for a guest that does not exist."""
    name = "run"
    ours = next((place.path for place in _places(scene) if place.is_run), None)
    if ours is None:
        return skipped(name, "there is no hook to run")
    if not scene.is_root:
        return unknown(name, f"whether the hook works: {NEEDS_ROOT}")
    command = [str(ours), BY_HAND, "prepare", "begin", "-"]
    ran = run_program(command, stdin=scene.harmless(BY_HAND), seconds=ALL_SECONDS)
    took = f"{ran.seconds * 1000:.0f} ms"
    if ran.status is None:
        return broken(name, f"{ours} did not end within {ALL_SECONDS:.0f} s", INSTALL)
    if ran.out:
        return broken(name, f"{ours} prints on stdout, which libvirt may take for XML", INSTALL)
    if ran.status != 0 and not ran.err.startswith("cpu-guardd["):
        return broken(name, f"{ours} ends with {_ending(ran)}: no guest starts", INSTALL)
    if ran.seconds > HOOK_SECONDS:
        slow = f"{ours} took {took}: it had to judge without the daemon"
        return warning(name, slow, "systemctl restart cpu-guardd")
    verdict = "it refused a guest without a CPU" if ran.status else "it let a guest pass"
    return ok(name, f"{verdict}, by hand, in {took}")


def check_fallback(scene: Scene) -> Checked:
    """Judge without the daemon, as the hook does where that does not answer."""
    name = "fallback"
    command = [scene.site.python, "-I", "-m", "guardd.fallback", BY_HAND, "prepare"]
    ran = run_program(command, stdin=scene.harmless(BY_HAND), seconds=ALL_SECONDS)
    if ran.status not in (0, REFUSED):
        is_missing = "No module named" in ran.err or "cannot import" in ran.err
        mend = reinstall(scene.site.root) if is_missing else RELOAD
        return broken(name, f"no verdict without the daemon: {_ending(ran)}", mend)
    took = f"{ran.seconds:.1f} s"
    if ran.seconds > FALLBACK_SECONDS:
        late = f"a verdict without the daemon took {took}; the hook waits {FALLBACK_SECONDS:.0f} s"
        return warning(name, late)
    return ok(name, f"guests are judged without the daemon as well, in {took}")


def check_last_resort(scene: Scene) -> Checked:
    """Look at the word by which the hook answers where nobody can judge."""
    name = "last-resort"
    path = scene.site.state / files.ON_UNAVAILABLE
    wanted = None if scene.config is None else scene.config.on_unavailable
    try:
        word = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as exc:
        return broken(name, f"{path} cannot be read: {exc.strerror}", RELOAD)
    if word not in list(Answer) or (wanted is not None and word != wanted):
        return broken(name, f"{path} says {word!r}, the configuration {wanted or '?'!s}", RELOAD)
    return ok(name, f"where nobody can judge, the hook answers {word}")


def _ending(ran: Ran) -> str:
    if ran.status is None:
        return f"it did not end within {ALL_SECONDS:.0f} s"
    return f"status {ran.status}" + (f", {ran.last_words}" if ran.last_words else "")


def reinstall(root: Path) -> str:
    """Give the command that puts the package's files back."""
    return "; ".join(_package_commands(root))


def _package_commands(root: Path) -> Iterator[str]:
    if (root / "usr/bin/apt-get").exists():
        yield "apt-get install --reinstall cpu-guardd"
    elif (root / "usr/bin/dnf").exists():
        yield "dnf reinstall cpu-guardd"
    else:
        yield "make install"
