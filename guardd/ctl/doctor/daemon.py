"""Checks of the daemon: it runs, answers in time, and by the configuration on disk."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

from guardd import __version__, files, wire
from guardd.ctl.client import call, understood
from guardd.ctl.doctor.checked import Checked, broken, ok, skipped, unknown, warning
from guardd.ctl.doctor.hook import HOOK_SECONDS, NEEDS_ROOT, RELOAD
from guardd.ctl.doctor.scene import DAEMON_SECONDS, Scene
from guardd.ctl.units import SERVICE, SOCKET, Unit
from guardd.errors import BadConfig, GuardError
from guardd.judge.finding import CheckRequest, Enforcement, Operation
from guardd.watch.unasked import BY_HAND

RESTART = f"systemctl reset-failed {SOCKET} {SERVICE}; systemctl restart {SOCKET} {SERVICE}"
ENABLE = f"systemctl enable {SOCKET} {SERVICE}"
READ_ERRORS = "journalctl --unit=cpu-guardd --priority=err --no-pager"


def check_service(scene: Scene) -> Checked:
    """Look at the units: running, wanted at the next boot, in no crash loop."""
    name = "service"
    units = [scene.units[unit] for unit in (SOCKET, SERVICE) if unit in scene.units]
    if not units:
        return unknown(name, "systemd does not answer")
    for unit in units:
        if found := _trouble(unit):
            return broken(name, found, _mend(unit))
    off = [unit.name for unit in units if not unit.is_enabled]
    if off:
        return warning(name, f"not started at the next boot: {' and '.join(off)}", ENABLE)
    if restarts := units[-1].restarts:
        again = "once" if restarts == 1 else f"{restarts} times"
        return warning(name, f"runs, but failed and was restarted {again}", READ_ERRORS)
    return ok(name, "socket and service are active and enabled")


def _trouble(unit: Unit) -> str:
    if unit.load in ("not-found", "masked"):
        return f"{unit.name} is {unit.load}"
    if unit.sub == "auto-restart":
        return f"{unit.name} fails again and again ({unit.result})"
    if not unit.is_active:
        why = "" if unit.result in ("", "success") else f" ({unit.result})"
        return f"{unit.name} is {unit.active}{why}"
    return ""


def _mend(unit: Unit) -> str:
    return f"systemctl unmask {SOCKET} {SERVICE}; {RESTART}" if unit.load == "masked" else RESTART


def check_daemon(scene: Scene) -> Checked:
    """Look whether the daemon answers, and is of this version."""
    name = "daemon"
    if scene.is_hidden:
        return unknown(name, f"{scene.site.socket} may not be opened: {NEEDS_ROOT}")
    if scene.status is None:
        return broken(name, scene.status_problem, RESTART)
    version = scene.status["version"]
    if version != __version__:
        found = f"cpu-guardd {version} answers, installed is {__version__}"
        return broken(name, found, f"systemctl restart {SERVICE}")
    return ok(name, f"cpu-guardd {version} answers")


def check_verdict(scene: Scene) -> Checked:
    """Have the daemon judge a guest that does not exist, and measure it."""
    name = "verdict"
    if scene.status is None and not scene.is_hidden:
        return skipped(name, "no daemon answers")
    if not scene.is_root:
        return unknown(name, f"how fast the daemon judges: {NEEDS_ROOT}")
    request = CheckRequest(domain=BY_HAND, operation=Operation.PREPARE, xml=scene.harmless(BY_HAND))
    asked = wire.check_parameters(request)
    start = time.monotonic()
    try:
        with understood():
            answer = call("Check", asked, scene.site.socket, seconds=DAEMON_SECONDS)
            decision = str(answer["verdict"]["decision"])
    except GuardError as exc:
        return broken(name, str(exc), RESTART)
    took = time.monotonic() - start
    shown = f"{took * 1000:.0f} ms"
    if took > HOOK_SECONDS:
        late = f"it took {shown}, and the hook waits for {HOOK_SECONDS * 1000:.0f} ms"
        return broken(name, late, RESTART)
    return ok(name, f"{decision} of a guest without a CPU, in {shown}")


def check_config(scene: Scene) -> Checked:
    """Look whether the configuration on disk is good, and the one in force."""
    name = "config"
    if scene.config_problem:
        return broken(name, scene.config_problem, _edit(scene))
    try:
        on_disk = files.config_files(scene.site.config)
    except BadConfig as exc:
        return broken(name, str(exc), _edit(scene))
    kept = files.kept_config_files(scene.site.state)
    if kept is None:
        return warning(name, "good; the daemon has kept none for its next start", RELOAD)
    if kept != on_disk:
        return warning(name, "good, and changed since the daemon read it", RELOAD)
    if _pool_changed(scene.site.config / files.POOL, scene.site.state / files.GOOD_CONFIG):
        return warning(name, "good; the pool's files changed since the daemon read them", RELOAD)
    return ok(name, f"good, {len(on_disk)} file{'s' * (len(on_disk) != 1)}, in force")


def _edit(scene: Scene) -> str:
    """Give the command that opens the file with the mistake."""
    named = re.match(r"(?:cannot read )?(/[^:]+)(?::(\d+))?", scene.config_problem)
    path = Path(named[1]) if named else scene.site.config / files.CONFIG
    return f"${{EDITOR:-vi}} {shlex.quote(str(path))} && {RELOAD}"


def _pool_changed(pool: Path, kept: Path) -> bool:
    """Whether anything below *pool* is newer than what was kept as the daemon read it last."""
    try:
        times = [path.stat().st_mtime for path in (pool, *pool.glob("*.json"))]
        return max(times) > kept.stat().st_mtime
    except OSError:
        return False


def check_mode(scene: Scene) -> Checked:
    """Say what a verdict leads to here; a mode is the administrator's own choice."""
    name = "mode"
    if scene.config is None:
        return skipped(name, "the configuration cannot be read")
    policy = scene.config.policy
    means = {
        Enforcement.ENFORCE: "what does not fit is refused",
        Enforcement.WARN: "nothing is refused, what does not fit is warned of",
        Enforcement.OBSERVE: "nothing is refused, what does not fit is recorded",
    }[policy.mode]
    words = f"on_cannot_tell {policy.on_cannot_tell}, on_revert {policy.on_revert}"
    return ok(name, f"{policy.mode}: {means}; {words}")
