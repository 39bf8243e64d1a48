"""The proof of all at once: a guest without disk, paused, that is started and gone again."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass

from guardd import libvirtconn
from guardd.ctl.bounded import within
from guardd.ctl.doctor.checked import Checked, broken, ok, skipped, unknown
from guardd.ctl.doctor.daemon import RESTART
from guardd.ctl.doctor.hook import INSTALL, NEEDS_ROOT
from guardd.ctl.doctor.scene import Scene
from guardd.errors import GuardError, LibvirtFailed
from guardd.facts.domain import parse_domain
from guardd.journal import reader
from guardd.libvirtconn import Connection
from guardd.watch.unasked import BY_HAND

START_SECONDS = 30.0
STAMP_SECONDS = 5.0
RECORD_SECONDS = 3.0
LOOK_SECONDS = 0.05  # between two looks at whether the stamp is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of starting a guest: `refused` is libvirt's error, `stamped` after how long."""

    name: str
    refused: str = ""
    stamped: float | None = None
    source: str | None = None  # by what it was judged; None: nobody was asked


def check_trial(scene: Scene, *, is_wanted: bool) -> Checked:
    """Start a guest, and see that the hook was asked, the daemon answered, and a stamp came."""
    name = "trial"
    if not is_wanted:
        return skipped(
            name,
            "not proven: that libvirt runs the hook when a guest starts, and that stamps are"
            " written; with --try, a paused guest without a disk is started and gone again",
        )
    if not scene.is_root:
        return unknown(name, f"only root may start a guest: {NEEDS_ROOT}")
    if scene.guests is None:
        return unknown(name, f"no guest could be tried: {scene.guests_problem}")
    guest = f"{BY_HAND}-{uuid.uuid4().hex[:8]}"
    try:
        trial = within(START_SECONDS, lambda: try_guest(scene, guest))
    except GuardError as exc:
        return unknown(name, f"no guest could be tried: {exc}")
    return judge_trial(trial)


def try_guest(scene: Scene, name: str) -> Trial:
    """Start a guest called *name*, see what happens, and end it.

    Raises LibvirtFailed where libvirt does not answer, or does not start it for another reason than
    our hook's refusal.
    """
    connection = libvirtconn.open_connection(scene.site.uri)
    try:
        stamped = _started(connection, scene.harmless(name))
        refused = ""
    except LibvirtFailed as exc:
        if "cpu-guardd[" not in str(exc):
            raise  # for reasons that have nothing to do with us
        stamped, refused = None, str(exc)
    finally:
        libvirtconn.close(connection)
    record = reader.await_verdict(name, scene.begun, RECORD_SECONDS)
    source = None if record is None else record.get("GUARDD_SOURCE", "")
    return Trial(name=name, refused=refused, stamped=stamped, source=source)


def _started(connection: Connection, xml: str) -> float | None:
    """Start the guest, wait for its stamp, end it; give after how many seconds that came."""
    with libvirtconn.passing_guest(connection, xml) as guest:
        start = time.monotonic()
        while time.monotonic() - start < STAMP_SECONDS:
            running = libvirtconn.running_guest(connection, guest)
            with contextlib.suppress(GuardError):
                if running is not None and parse_domain(running.xml).stamp is not None:
                    return time.monotonic() - start
            time.sleep(LOOK_SECONDS)
    return None


def judge_trial(trial: Trial) -> Checked:
    """Say what a trial proves."""
    name = "trial"
    if trial.source is None:
        return broken(name, f"{trial.name} started, and nobody was asked", INSTALL)
    if trial.source.startswith("no daemon"):
        return broken(name, f"{trial.name} was judged by the hook, without the daemon", RESTART)
    if trial.refused:
        line = trial.refused[trial.refused.index("cpu-guardd[") :]
        return ok(name, f"the hook was asked, and refused it, so that no stamp was due: {line}")
    if trial.stamped is None:
        late = f"{trial.name} was judged, but had no stamp within {STAMP_SECONDS:.0f} s"
        return broken(name, late, RESTART)
    proven = f"{trial.name} started: the hook asked, the daemon answered, its stamp came"
    return ok(name, f"{proven} after {trial.stamped * 1000:.0f} ms; it is gone again")
