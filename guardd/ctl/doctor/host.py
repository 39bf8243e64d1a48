"""Checks of what is known of this host and its guests, and of how it is kept up to date."""

from __future__ import annotations

import datetime as dt
import shlex

from guardd import files
from guardd.ctl.bounded import run_program
from guardd.ctl.doctor.checked import Checked, broken, ok, skipped, unknown, warning
from guardd.ctl.doctor.hook import NEEDS_ROOT, RELOAD
from guardd.ctl.doctor.scene import Scene
from guardd.errors import BadConfig
from guardd.facts.domain import Guest
from guardd.facts.snapshot import HostSnapshot, Origin
from guardd.watch.unasked import PROBLEM

POOL_DAYS = 90
AHEAD = dt.timedelta(minutes=2)  # no clock is exact
NAMED = 3


def check_libvirt(scene: Scene) -> Checked:
    """Look whether libvirt answers, and the daemon hears of its events."""
    name = "libvirt"
    restart = f"systemctl restart {scene.libvirt_unit}"
    if scene.status is None:
        if scene.is_hidden:
            return unknown(name, f"whether the daemon hears of its events: {NEEDS_ROOT}")
        if scene.guests is None:
            return broken(name, scene.guests_problem, restart)
        return skipped(name, "libvirt answers; there is no daemon that could listen to it")
    if not scene.status["libvirt_connected"]:
        why = "; ".join(text for text in scene.status["problems"] if _is_of_libvirt(text))
        mend = restart if scene.guests is None else RELOAD
        return broken(name, f"the daemon is not connected: {why or 'no reason given'}", mend)
    if scene.guests is None:
        return broken(name, f"the daemon is connected, but {scene.guests_problem}", restart)
    noticed = scene.status.get("events", {})
    events = ", ".join(f"{n} {what}" for what, n in sorted(noticed.items()))
    return ok(name, f"the daemon listens to it; noticed since its start: {events or 'nothing'}")


def check_snapshot(scene: Scene) -> Checked:
    """Look whether what is kept of this host is of the host as it is now."""
    name = "snapshot"
    kept = scene.snapshot
    if kept is None:
        found = scene.snapshot_problem or f"nothing is kept below {scene.site.state}"
        return broken(name, found, RELOAD)
    if kept.origin is Origin.STALE:
        found = f"this host changed since {kept.taken}, when libvirt was asked about it"
        return broken(name, f"{found}: guests are only warned about", RELOAD)
    if not kept.hypervisors:
        return broken(name, "libvirt named no hypervisor that runs guests here", RELOAD)
    origin = Origin.LIBVIRT if scene.status is None else scene.status["snapshot_origin"]
    if origin != Origin.LIBVIRT:
        return warning(name, f"the daemon goes by what was kept since {kept.taken}", RELOAD)
    return ok(name, f"of {kept.taken}, this host is as it was; {len(kept.hypervisors)} hypervisors")


def check_guests(scene: Scene) -> Checked:
    """Look whether the hypervisor of each guest here is known."""
    name = "guests"
    if scene.guests is None:
        return unknown(name, f"not told: {scene.guests_problem}")
    if scene.snapshot is None:
        return skipped(name, "nothing is known of this host")
    known = scene.snapshot
    strange = sorted(guest.name for guest in scene.guests if not _is_known(guest, known))
    if strange:
        found = f"nothing is known of the hypervisor of {_named(strange)}"
        return warning(name, found, RELOAD)
    return ok(name, f"{_counted(len(scene.guests), 'guest')}, none of an unknown hypervisor")


def _is_known(guest: Guest, known: HostSnapshot) -> bool:
    machine = guest.machine and known.canonical_machine(guest.arch, guest.machine)
    return any(
        (kind.virt_type, kind.arch) == (guest.virt_type, guest.arch)
        and machine in (None, kind.machine)
        and guest.emulator in (None, kind.emulator)
        for kind in known.hypervisors
    )


def check_stamps(scene: Scene) -> Checked:
    """Count the running guests that have a good stamp."""
    name = "stamps"
    if scene.guests is None:
        return unknown(name, f"not told: {scene.guests_problem}")
    running = [guest for guest in scene.guests if guest.runs]
    bad = sorted(guest.name for guest in running if guest.stamp_problem)
    without = sorted(g.name for g in running if g.stamp is None and not g.stamp_problem)
    problems = [] if scene.status is None else scene.status["problems"]
    refused = next((text for text in problems if text.startswith("stamps cannot")), None)
    if refused is not None:
        return broken(name, str(refused), f"systemctl restart {scene.libvirt_unit}")
    if bad:
        return warning(name, f"{_counted(len(bad), 'bad stamp')}: {_named(bad)}")
    if without:
        found = f"{len(without)} of {_counted(len(running), 'running guest')} without"
        return warning(name, f"{found}, until they are started anew: {_named(without)}")
    if not running:
        return ok(name, "no guest runs")
    return ok(name, f"{_counted(len(running), 'running guest')}, each with a good stamp")


def check_problems(scene: Scene) -> Checked:
    """Pass on what the daemon itself complains of, but what other checks say."""
    name = "problems"
    if scene.is_hidden:
        return unknown(name, f"what the daemon complains of: {NEEDS_ROOT}")
    if scene.status is None:
        return skipped(name, "there is no daemon that could tell")
    said_elsewhere = (PROBLEM.partition("{")[0], "stamps cannot")
    left = [text for text in scene.status["problems"] if not text.startswith(said_elsewhere)]
    left = [text for text in left if text != scene.config_problem]
    if not scene.status["libvirt_connected"]:
        left = [text for text in left if not _is_of_libvirt(text)]
    if left:
        return warning(name, "; ".join(left), "cpu-guardctl status")
    return ok(name, "the daemon complains of nothing else")


def _is_of_libvirt(problem: str) -> bool:
    """Whether *problem* is that the daemon is not connected."""
    return problem.startswith("cannot connect to ") or "libvirt" in problem


def check_pool(scene: Scene) -> Checked:
    """Look how old the snapshots of the pool's other hosts are."""
    name = "pool"
    folder = scene.site.config / files.POOL
    try:
        hosts = files.pool_hosts(scene.site.config)
    except BadConfig as exc:
        return skipped(name, f"see config: {exc}")
    if not hosts:
        return ok(name, f"no other host in {folder}")
    old = sorted(h.hostname for h in hosts if _age(scene, h) > dt.timedelta(days=POOL_DAYS))
    if old:
        host = shlex.quote(old[0])
        mend = f"scp {host}:{files.STATE_DIRECTORY / files.SNAPSHOT} {folder}/{host}.json"
        found = f"older than {POOL_DAYS} days: the snapshot of {_named(old)}"
        return warning(name, found, f"{mend} && {RELOAD}")
    return ok(name, f"{_counted(len(hosts), 'other host')}, none older than {POOL_DAYS} days")


def _age(scene: Scene, host: HostSnapshot) -> dt.timedelta:
    taken = _time(host.taken)
    return dt.timedelta.max if taken is None else scene.begun - taken


def check_clock(scene: Scene) -> Checked:
    """Look whether anything that is kept is from the future."""
    name = "clock"
    kept = [] if scene.snapshot is None else [("the snapshot", scene.snapshot.taken)]
    stamps = [(g.name, g.stamp.taken) for g in scene.guests or () if g.runs and g.stamp is not None]
    limit = scene.begun + AHEAD
    ahead = [f"{what} ({taken})" for what, taken in [*kept, *stamps] if _is_after(taken, limit)]
    if ahead:
        found = f"from the future: {_named(ahead)}; this clock or another was wrong"
        return warning(name, found, "timedatectl set-ntp true")
    answer = run_program(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    is_exact = answer.status == 0 and answer.out.strip() == "yes"
    return ok(name, "synchronised" if is_exact else "not synchronised; nothing is from the future")


def _is_after(text: str, limit: dt.datetime) -> bool:
    time = _time(text)
    return time is not None and time > limit


def _time(text: str) -> dt.datetime | None:
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=dt.UTC)


def _named(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" (+{rest})" if rest > 0 else "")


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
