"""cpu-guardctl doctor: each check, what is broken for it, and what it says then."""

from __future__ import annotations

import datetime as dt
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardd import __version__, files
from guardd.config import parse_config
from guardd.cpu import CPUMap
from guardd.ctl.bounded import NOT_FOUND, run_program, within
from guardd.ctl.doctor import daemon as daemon_checks
from guardd.ctl.doctor import hook as hook_checks
from guardd.ctl.doctor import host as host_checks
from guardd.ctl.doctor import system as system_checks
from guardd.ctl.doctor.checked import Checked, State, broken, ok, skipped, unknown, warning
from guardd.ctl.doctor.command import outcome, summary, to_document, to_lines
from guardd.ctl.doctor.daemon import check_config, check_daemon, check_service, check_verdict
from guardd.ctl.doctor.hook import check_fallback, check_noticed, check_place, check_run
from guardd.ctl.doctor.scene import Scene, Site, read_scene
from guardd.ctl.doctor.trial import Trial, check_trial, judge_trial
from guardd.ctl.units import LIBVIRT, SERVICE, SOCKET, Unit, parse_units
from guardd.errors import LibvirtFailed
from guardd.facts.domain import Guest, parse_domain
from guardd.facts.snapshot import Origin, snapshot_to_json
from guardd.hookfile import DROP_IN, MAIN, program
from guardd.watch.unasked import PROBLEM
from tests.ctl.commands import run
from tests.hooked import built, constant
from tests.judge.table import UUID, born, cpu, domain, stamped
from tests.recordings import recorded_host
from tests.test_daemon import NOBODY_THERE, TEST_DRIVER, Place, until

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
FOREIGN = b"#!/bin/sh\nexit 0\n"
OUTDATED = (
    b'#!/usr/bin/python3 -IS\n"""libvirt\'s hook of cpu-guardd: asks."""\n'  # what it was once
)
STATUS: dict[str, Any] = {
    "version": __version__,
    "mode": "enforce",
    "libvirt_connected": True,
    "snapshot_taken": "2026-11-22T21:00:00Z",
    "snapshot_origin": "libvirt",
    "hypervisors": [],
    "verdicts": {},
    "events": {"stamped": 2},
    "problems": [],
}
# as systemd 257 prints it
SHOWN = """\
Result=success
NRestarts=0
ExecMainStartTimestamp=Mon 2026-11-23 01:44:55.658572 UTC
ExecReload={ path=/bin/kill ; argv[]=/bin/kill -HUP $MAINPID ; ignore_errors=no ; \
start_time=[Mon 2026-11-23 01:49:40.480166 UTC] ; stop_time=[Mon 2026-11-23 01:49:40.501659 UTC]\
 ; pid=235 ; code=exited ; status=0 }
Id=libvirtd.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled

Result=success
NRestarts=0
ExecMainStartTimestamp=n/a
Id=virtqemud.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
"""


def unit(name: str, **words: Any) -> Unit:  # noqa: ANN401 (of many kinds)
    """Give a unit that is as it should be, but for *words*."""
    good: dict[str, Any] = {
        "load": "loaded",
        "active": "active",
        "sub": "running",
        "result": "success",
        "enabled": "enabled",
        "restarts": 0,
    }
    return Unit(name=name, **{**good, **words})


def units(*changed: Unit) -> dict[str, Unit]:
    """Give all units, in good order but for those *changed*."""
    good = {name: unit(name, started=NOW) for name in (SERVICE, SOCKET, LIBVIRT[0])}
    return {**good, **{each.name: each for each in changed}}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Give a scene where all is well, with its files below a folder of the test."""
    for name in ("hooks", "etc", "state"):
        (tmp_path / name).mkdir()
    site = Site(
        hooks=tmp_path / "hooks",
        config=tmp_path / "etc",
        state=tmp_path / "state",
        socket=str(tmp_path / "guard.sock"),
        selinuxfs=tmp_path / "selinux",
        root=tmp_path,
    )
    return Scene(
        site=site,
        begun=NOW,
        is_root=True,
        units=units(),
        status=STATUS,
        config=parse_config([]),
        snapshot=recorded_host("epyc-libvirt9"),
        guests=(),
    )


def put(path: Path, text: bytes, mode: int = 0o755) -> Path:
    """Write a hook and give its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    path.chmod(mode)
    return path


# -- the hook's file

HOOK_FILES = [
    pytest.param({}, State.BROKEN, "is missing: no guest is guarded", id="missing"),
    pytest.param({MAIN: (program(), 0o755)}, State.OK, "current, run first", id="current"),
    pytest.param({MAIN: (program(), 0o644)}, State.BROKEN, "is not executable", id="chmod"),
    pytest.param({MAIN: (OUTDATED, 0o755)}, State.BROKEN, "of another version", id="outdated"),
    pytest.param({MAIN: (FOREIGN, 0o755)}, State.BROKEN, "ours is not beside it", id="foreign"),
    pytest.param(
        {MAIN: (FOREIGN, 0o755), "qemu.d/10-x": (FOREIGN, 0o755), DROP_IN: (program(), 0o755)},
        State.OK,
        "run after {root}/qemu, {root}/qemu.d/10-x",
        id="behind others",
    ),
    pytest.param(
        {MAIN: (FOREIGN, 0o644), "qemu.d/90-x": (FOREIGN, 0o755), DROP_IN: (program(), 0o755)},
        State.OK,
        "run first",
        id="before others",
    ),
    pytest.param(
        {MAIN: (FOREIGN, 0o755), DROP_IN: (FOREIGN, 0o755)},
        State.BROKEN,
        "50-cpu-guardd is another program's",
        id="both taken",
    ),
    pytest.param(
        {MAIN: (program(), 0o755), DROP_IN: (program(), 0o755)},
        State.WARNING,
        "every guest is judged twice",
        id="twice",
    ),
]


@pytest.mark.parametrize(("texts", "state", "found"), HOOK_FILES)
def test_place(scene: Scene, texts: dict[str, tuple[bytes, int]], state: State, found: str) -> None:
    """What stands at both places; whatever is broken has a command that mends it."""
    for name, (text, mode) in texts.items():
        put(scene.site.hooks / name, text, mode)
    checked = check_place(scene)

    assert state is checked.state
    assert found.format(root=scene.site.hooks) in checked.found
    assert bool(checked.mend) is (state is not State.OK)


def test_others(scene: Scene) -> None:
    """Those that libvirt runs are named: what cannot be executed is none."""
    put(scene.site.hooks / MAIN, program())
    assert "no other program has a hook for guests" == hook_checks.check_others(scene).found

    other = put(scene.site.hooks / "qemu.d/10-vfio", FOREIGN)
    put(scene.site.hooks / "qemu.d/20-off", FOREIGN, 0o644)
    put(scene.site.hooks / "qemu.d/.hidden", FOREIGN)
    checked = hook_checks.check_others(scene)
    assert (State.OK, f"{other} may refuse guests") == (
        checked.state,
        checked.found[: len(str(other)) + 18],
    )


# -- noticed by libvirtd

FUTURE = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
PAST = dt.datetime.now(dt.UTC) - dt.timedelta(days=3650)
UNASKED = PROBLEM.format(cause="it is in its place")


@pytest.mark.parametrize(
    ("changed", "found", "expected"),
    [
        pytest.param({"started": FUTURE}, {}, (State.OK, ""), id="there at its start"),
        pytest.param(
            {"started": PAST, "reloaded": FUTURE}, {}, (State.OK, ""), id="there at its reload"
        ),
        pytest.param(
            {"started": PAST}, {}, (State.BROKEN, "cpu-guardctl hook install"), id="put there later"
        ),
        pytest.param(
            {"started": FUTURE},
            {"status": {**STATUS, "problems": [UNASKED]}},
            (State.BROKEN, "cpu-guardctl hook install"),
            id="a guest started unasked",
        ),
        pytest.param({"active": "inactive"}, {"guests": None}, (State.OK, ""), id="stopped"),
        pytest.param({"active": "inactive"}, {}, (State.UNKNOWN, ""), id="not of systemd"),
    ],
)
def test_noticed(
    scene: Scene, changed: dict[str, Any], found: dict[str, Any], expected: tuple[State, str]
) -> None:
    """libvirt looks for hooks when it starts and when it is reloaded, and at no other time."""
    put(scene.site.hooks / MAIN, program())
    libvirt = unit(LIBVIRT[0], **changed)
    checked = check_noticed(replace(scene, units=units(libvirt), **found))

    assert expected == (checked.state, checked.mend)


def test_noticed_beside_another(scene: Scene) -> None:
    """One hook that was there is enough; and it may be virtqemud that runs."""
    put(scene.site.hooks / MAIN, FOREIGN)
    there = dt.datetime.fromtimestamp((scene.site.hooks / MAIN).stat().st_ctime, dt.UTC)
    until(lambda: put(scene.site.hooks / DROP_IN, program()).stat().st_ctime > there.timestamp())
    names = {LIBVIRT[1]: unit(LIBVIRT[1], started=there)}

    assert State.OK is check_noticed(replace(scene, units=names)).state
    (scene.site.hooks / MAIN).unlink()
    assert "cpu-guardctl hook install" == check_noticed(replace(scene, units=names)).mend


def test_units_that_tell_of_their_reloads() -> None:
    """They may have been sent the signal alone, and not by a job of systemd's."""
    told = "Type=notify-reload\nStateChangeTimestamp=Mon 2026-11-23 07:42:36.814047 UTC\n"
    found = parse_units(SHOWN.replace("Id=libvirtd", f"{told}Id=libvirtd"))

    assert dt.datetime(2026, 11, 23, 7, 42, 36, 814047, dt.UTC) == found["libvirtd.service"].looked


def test_noticed_without_a_hook(scene: Scene) -> None:
    """The check before says it all."""
    assert State.SKIPPED is check_noticed(scene).state


def test_units() -> None:
    """Times with their fractions: a hook is put there and libvirtd reloaded within a second."""
    found = parse_units(SHOWN)

    assert {"libvirtd.service", "virtqemud.service"} == set(found)
    libvirtd, virtqemud = found["libvirtd.service"], found["virtqemud.service"]
    assert (True, True, False) == (libvirtd.is_active, libvirtd.is_enabled, virtqemud.is_active)
    assert dt.datetime(2026, 11, 23, 1, 49, 40, 480166, dt.UTC) == libvirtd.looked
    assert None is virtqemud.looked
    assert {} == parse_units("")
    failed = SHOWN.replace("code=exited ; status=0", "code=exited ; status=1")
    assert 44 == getattr(parse_units(failed)["libvirtd.service"].looked, "minute", None)


# -- the hook and its fallback, run

SCRIPTS = [
    pytest.param("exit 0", State.OK, id="passes"),
    pytest.param("echo 'cpu-guardd[above-ceiling]: no' >&2; exit 1", State.OK, id="refuses"),
    pytest.param("echo broken >&2; exit 1", State.BROKEN, id="fails"),
    pytest.param("exit 3", State.BROKEN, id="crashes"),
    pytest.param("echo '<domain/>'", State.BROKEN, id="prints"),
    pytest.param("sleep 1.1", State.WARNING, id="slow"),
]


@pytest.mark.parametrize(("script", "state"), SCRIPTS)
def test_run(scene: Scene, script: str, state: State) -> None:
    """Whatever our hook does where it stands."""
    text = f"#!/bin/sh\n# libvirt's hook of cpu-guardd\ncat >/dev/null\n{script}\n"
    put(scene.site.hooks / MAIN, text.encode())

    assert state is check_run(scene).state


def test_run_without_its_interpreter(scene: Scene) -> None:
    """libvirt refuses every guest then."""
    put(scene.site.hooks / MAIN, b"#!/nonexistent/python3\n# libvirt's hook of cpu-guardd\n")
    checked = check_run(scene)

    assert (State.BROKEN, True) == (checked.state, "no guest starts" in checked.found)


def test_run_by_whom() -> None:
    """The hook's own deadlines are what it is measured by."""
    assert float(constant("DAEMON_SECONDS")) == hook_checks.HOOK_SECONDS
    assert float(constant("FALLBACK_SECONDS")) == hook_checks.FALLBACK_SECONDS


@pytest.mark.parametrize(
    ("script", "state", "mend"),
    [
        ("exit 0", State.OK, ""),
        ("exit 20", State.OK, ""),
        ("echo 'nothing is known of this host' >&2; exit 69", State.BROKEN, hook_checks.RELOAD),
        ("echo 'No module named guardd' >&2; exit 1", State.BROKEN, "make install"),
    ],
)
def test_fallback(scene: Scene, script: str, state: State, mend: str) -> None:
    """Its exit status says whether anybody could judge."""
    python = put(scene.site.root / "python3", f"#!/bin/sh\ncat >/dev/null\n{script}\n".encode())
    checked = check_fallback(replace(scene, site=replace(scene.site, python=str(python))))

    assert (state, mend) == (checked.state, checked.mend)


def test_fallback_without_python(scene: Scene) -> None:
    """Nor is that a traceback."""
    checked = check_fallback(replace(scene, site=replace(scene.site, python="/nonexistent")))

    assert (State.BROKEN, True) == (checked.state, "No such file" in checked.found)


@pytest.mark.parametrize(
    ("word", "toml", "state"),
    [
        ("allow\n", "", State.OK),
        ("deny\n", 'on_unavailable = "deny"', State.OK),
        ("allow\n", 'on_unavailable = "deny"', State.BROKEN),
        ("perhaps\n", "", State.BROKEN),
        (None, "", State.BROKEN),
    ],
)
def test_last_resort(scene: Scene, word: str | None, toml: str, state: State) -> None:
    """The hook answers by that word, whatever the configuration says by now."""
    if word is not None:
        (scene.site.state / files.ON_UNAVAILABLE).write_text(word)
    config = parse_config([("guardd.toml", toml.encode())])

    assert state is hook_checks.check_last_resort(replace(scene, config=config)).state


# -- the daemon


@pytest.mark.parametrize(
    ("changed", "state", "found"),
    [
        (unit(SERVICE), State.OK, "active and enabled"),
        (unit(SERVICE, active="inactive"), State.BROKEN, "cpu-guardd.service is inactive"),
        (
            unit(SERVICE, active="failed", result="start-limit-hit"),
            State.BROKEN,
            "cpu-guardd.service is failed (start-limit-hit)",
        ),
        (
            unit(SERVICE, active="activating", sub="auto-restart", result="exit-code"),
            State.BROKEN,
            "fails again and again (exit-code)",
        ),
        (unit(SOCKET, active="inactive"), State.BROKEN, "cpu-guardd.socket is inactive"),
        (unit(SOCKET, load="masked"), State.BROKEN, "cpu-guardd.socket is masked"),
        (unit(SOCKET, enabled="disabled"), State.WARNING, "next boot: cpu-guardd.socket"),
        (unit(SERVICE, restarts=2), State.WARNING, "restarted 2 times"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_service(scene: Scene, changed: Unit, state: State, found: str) -> None:
    """systemd's own words for what is wrong."""
    checked = check_service(replace(scene, units=units(changed)))

    assert (state, True) == (checked.state, found in checked.found)
    assert bool(checked.mend) is (state is not State.OK)


def test_daemon_of_another_version(scene: Scene) -> None:
    """As after an upgrade that did not restart it."""
    checked = check_daemon(replace(scene, status={**STATUS, "version": "0.0.1"}))

    assert (State.BROKEN, "systemctl restart cpu-guardd.service") == (checked.state, checked.mend)


def keep_config(scene: Scene) -> None:
    """Keep the configuration as the daemon does when it reads it."""
    files.keep_config(files.config_files(scene.site.config), scene.site.state)


def test_config(scene: Scene) -> None:
    """Good and in force, changed and not read yet, read."""
    toml = scene.site.config / files.CONFIG
    toml.write_text('mode = "warn"')
    assert State.WARNING is check_config(scene).state
    keep_config(scene)
    assert (State.OK, "good, 1 file, in force") == (
        check_config(scene).state,
        check_config(scene).found,
    )
    toml.write_text('mode = "observe"')
    assert (State.WARNING, "systemctl reload cpu-guardd") == (
        check_config(scene).state,
        check_config(scene).mend,
    )


def test_config_with_a_mistake(scene: Scene) -> None:
    """The command opens the file that has it."""
    path = scene.site.config / files.CONFIG
    path.write_text("moode = 1")
    checked = check_config(read_scene(scene.site))

    assert (State.BROKEN, f"{path}:1: unknown key 'moode'") == (
        checked.state,
        checked.found.partition(",")[0],
    )
    assert f"${{EDITOR:-vi}} {path} && systemctl reload cpu-guardd" == checked.mend


def test_config_and_the_pool(scene: Scene) -> None:
    """The pool's files are read with the configuration, and only then."""
    keep_config(scene)
    pool = scene.site.config / files.POOL
    pool.mkdir()
    path = pool / "far.json"
    path.write_text(snapshot_to_json(recorded_host("haswell")))
    later = time.time() + 10
    os.utime(path, (later, later))

    assert State.WARNING is check_config(scene).state


@pytest.mark.parametrize(
    ("toml", "found"),
    [
        ("", "enforce: what does not fit is refused"),
        ('mode = "warn"', "warn: nothing is refused"),
        ('mode = "observe"', "observe: nothing is refused"),
    ],
)
def test_mode(scene: Scene, toml: str, found: str) -> None:
    """It is the administrator's choice, so it is said and is no fault."""
    config = parse_config([("guardd.toml", toml.encode())])
    checked = daemon_checks.check_mode(replace(scene, config=config))

    assert (State.OK, True) == (checked.state, checked.found.startswith(found))


@contextmanager
def silent(path: str) -> Iterator[None]:
    """Accept on *path* and never answer, as a daemon that hangs."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(4)
        yield


def test_a_daemon_that_hangs(scene: Scene) -> None:
    """It is given up after a while, and that is said."""
    with silent(scene.site.socket):
        begin = time.monotonic()
        found = read_scene(replace(scene.site, uri=TEST_DRIVER))
        checked = check_verdict(replace(found, status=STATUS, is_root=True))

    assert time.monotonic() - begin < 20
    assert (State.BROKEN, State.BROKEN) == (check_daemon(found).state, checked.state)
    assert "timed out" in checked.found


# -- the host and its guests


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, State.OK),
        ({"status": {**STATUS, "libvirt_connected": False}}, State.BROKEN),
        ({"guests": None, "guests_problem": "libvirt gave no answer"}, State.BROKEN),
        ({"status": None}, State.SKIPPED),
        ({"status": None, "is_hidden": True}, State.UNKNOWN),
        ({"status": None, "guests": None, "guests_problem": "no"}, State.BROKEN),
    ],
)
def test_libvirt(scene: Scene, changed: dict[str, Any], state: State) -> None:
    """Who listens to whom."""
    assert state is host_checks.check_libvirt(replace(scene, **changed)).state


def test_snapshot(scene: Scene) -> None:
    """Fresh, kept, of a host that has changed, none."""
    known = recorded_host("epyc-libvirt9")
    away = {**STATUS, "snapshot_origin": "kept"}

    def state(**changed: Any) -> State:  # noqa: ANN401 (of many kinds)
        checked = host_checks.check_snapshot(replace(scene, **changed))
        assert bool(checked.mend) is (checked.state is not State.OK)
        return checked.state

    assert State.OK is state()
    assert State.WARNING is state(status=away)
    assert State.BROKEN is state(snapshot=known._replace(origin=Origin.STALE))
    assert State.BROKEN is state(snapshot=known._replace(hypervisors=()))
    assert State.BROKEN is state(snapshot=None)
    assert State.BROKEN is state(snapshot=None, snapshot_problem="it cannot be read")


def test_guests(scene: Scene) -> None:
    """A guest of an emulator that was never asked about is named."""
    known = parse_domain(domain(cpu("Nehalem")))
    strange = known._replace(name="odd1", machine="pc-i440fx-2.1")

    assert State.OK is host_checks.check_guests(replace(scene, guests=(known,))).state
    checked = host_checks.check_guests(replace(scene, guests=(known, strange)))
    assert (State.WARNING, True) == (checked.state, checked.found.endswith("of odd1"))


def test_stamps(scene: Scene, cpu_map: CPUMap) -> None:
    """Of guests that run; one that does not has none."""
    host = recorded_host("epyc-libvirt9")
    xml = domain(cpu("Nehalem", attributes="check='full'"))
    xml = xml.replace("<domain ", "<domain id='1' ")
    with_one = parse_domain(stamped(xml, born(host, xml, cpu_map)))
    without = parse_domain(xml)
    bad = without._replace(stamp_problem="its digest is another")
    off = without._replace(runs=False)
    refused = {**STATUS, "problems": ["stamps cannot be written: access denied"]}

    def checked(*guests: Guest, **changed: Any) -> Checked:  # noqa: ANN401 (of many kinds)
        return host_checks.check_stamps(replace(scene, guests=guests, **changed))

    assert "no guest runs" == checked(off).found
    assert (State.OK, "1 running guest, each with a good stamp") == (
        checked(with_one, off).state,
        checked(with_one, off).found,
    )
    assert (State.WARNING, True) == (
        checked(with_one, without).state,
        checked(with_one, without).found.startswith("1 of 2 running guests without"),
    )
    assert (State.WARNING, "1 bad stamp: web1") == (checked(bad).state, checked(bad).found)
    assert State.BROKEN is checked(without, status=refused).state
    assert with_one.stamp is not None
    late = with_one.stamp._replace(taken="2027-01-01T00:00:00Z")
    ahead = host_checks.check_clock(replace(scene, guests=(with_one._replace(stamp=late),)))
    assert (State.WARNING, "timedatectl set-ntp true") == (ahead.state, ahead.mend)


@pytest.mark.parametrize(
    ("taken", "state"),
    [
        ("2026-11-22T21:00:00Z", State.OK),
        ("2026-11-23T12:01:00Z", State.OK),
        ("2026-11-23T12:30:00Z", State.WARNING),
        ("yesterday", State.OK),
    ],
)
def test_clock(scene: Scene, taken: str, state: State) -> None:
    """A snapshot from the future: this clock was put back, or was wrong then."""
    known = recorded_host("epyc-libvirt9")._replace(taken=taken)

    assert state is host_checks.check_clock(replace(scene, snapshot=known)).state


def test_pool(scene: Scene) -> None:
    """Old snapshots of other hosts promise what those may have lost."""
    pool = scene.site.config / files.POOL
    assert State.OK is host_checks.check_pool(scene).state
    pool.mkdir()
    far = recorded_host("haswell")._replace(hostname="far")
    (pool / "far.json").write_text(snapshot_to_json(far))
    assert State.OK is host_checks.check_pool(scene).state
    (pool / "far.json").write_text(snapshot_to_json(far._replace(taken="2026-01-01T00:00:00Z")))
    checked = host_checks.check_pool(scene)
    assert (State.WARNING, True) == (checked.state, checked.found.endswith("snapshot of far"))
    (pool / "far.json").write_text("{")
    assert State.SKIPPED is host_checks.check_pool(scene).state


def test_problems(scene: Scene) -> None:
    """What another check says is not said twice."""
    problems = [UNASKED, "configuration was not kept: no space"]
    checked = host_checks.check_problems(replace(scene, status={**STATUS, "problems": problems}))

    assert (State.WARNING, problems[1]) == (checked.state, checked.found)
    assert State.OK is host_checks.check_problems(scene).state

    lost = "cannot connect to qemu:///system: Connection refused"
    away = replace(scene, status={**STATUS, "libvirt_connected": False, "problems": [lost]})
    assert State.OK is host_checks.check_problems(away).state
    assert f"the daemon is not connected: {lost}" == host_checks.check_libvirt(away).found


# -- around


@pytest.mark.parametrize(
    ("enforce", "state"), [(None, State.OK), ("0", State.WARNING), ("1", State.BROKEN)]
)
def test_selinux(scene: Scene, enforce: str | None, state: State) -> None:
    """A hook without its label is not run where the policy is enforced."""
    put(scene.site.hooks / DROP_IN, program())
    if enforce is not None:
        scene.site.selinuxfs.mkdir()
        (scene.site.selinuxfs / "enforce").write_text(enforce)

    assert state is system_checks.check_selinux(scene).state


def test_apparmor(scene: Scene) -> None:
    """Off, or on with nothing of ours denied."""
    assert "off" == system_checks.check_apparmor(scene).found
    switch = scene.site.root / "sys/module/apparmor/parameters/enabled"
    switch.parent.mkdir(parents=True)
    switch.write_text("Y\n")
    profiles = scene.site.root / "sys/kernel/security/apparmor/profiles"
    profiles.parent.mkdir(parents=True)
    profiles.write_text("man_filter (enforce)\nlibvirtd (enforce)\n")
    checked = system_checks.check_apparmor(scene)

    assert (State.OK, True) == (checked.state, checked.found.endswith("; libvirtd (enforce)"))


# -- without rights, and with a time limit

NEED_ROOT: list[Callable[[Scene], Checked]] = [
    check_verdict,
    check_run,
    system_checks.check_journal,
    lambda scene: check_trial(scene, is_wanted=True),
]


@pytest.mark.parametrize("check", NEED_ROOT)
def test_without_rights(scene: Scene, check: Callable[[Scene], Checked]) -> None:
    """What only root can tell is not known, and not broken."""
    put(scene.site.hooks / MAIN, program())

    assert State.UNKNOWN is check(replace(scene, is_root=False)).state


def test_programs_have_a_time_limit() -> None:
    """One that hangs, one that is not there, one that is."""
    assert None is run_program(["sleep", "60"], seconds=0.1).status
    assert NOT_FOUND == run_program(["/nonexistent"]).status
    done = run_program(["/bin/sh", "-c", "pwd; env; cat; exit 3"], stdin="said")
    assert (3, True) == (done.status, done.out.startswith("/\n"))
    assert "LC_ALL=C" in done.out
    assert done.out.endswith("said")


def test_libvirt_has_a_time_limit() -> None:
    """A libvirtd that hangs is an answer as well."""
    never = threading.Event()
    with pytest.raises(LibvirtFailed, match="no answer within 0 s"):
        within(0.05, never.wait)
    assert 3 == within(5.0, lambda: 3)


# -- the trial


@pytest.mark.parametrize(
    ("trial", "state", "mend"),
    [
        (Trial(name="x", stamped=0.05, source="libvirt"), State.OK, ""),
        (Trial(name="x", refused="cpu-guardd[above-ceiling]: x", source="libvirt"), State.OK, ""),
        (Trial(name="x", stamped=0.05), State.BROKEN, "cpu-guardctl hook install"),
        (
            Trial(name="x", stamped=0.05, source="no daemon; snapshot kept"),
            State.BROKEN,
            daemon_checks.RESTART,
        ),
        (Trial(name="x", source="libvirt"), State.BROKEN, daemon_checks.RESTART),
    ],
)
def test_trial(trial: Trial, state: State, mend: str) -> None:
    """What a start proves, and what it shows to be missing."""
    checked = judge_trial(trial)

    assert (state, mend) == (checked.state, checked.mend)


def test_trial_that_libvirt_does_not_take(scene: Scene) -> None:
    """The test driver runs no such guest: nothing is proven, nothing is broken."""
    there = replace(scene, site=replace(scene.site, uri=TEST_DRIVER))
    away = replace(scene, site=replace(scene.site, uri=NOBODY_THERE))

    assert State.UNKNOWN is check_trial(there, is_wanted=True).state
    assert State.UNKNOWN is check_trial(away, is_wanted=True).state
    assert State.SKIPPED is check_trial(there, is_wanted=False).state


# -- the command

CHECKS = [
    ok("hook", "/etc/libvirt/hooks/qemu: current, run first"),
    warning("config", "good, and changed since the daemon read it", "systemctl reload cpu-guardd"),
    skipped("trial", "not proven"),
]
BROKEN = broken("noticed", "put there " + "long ago " * 12, "cpu-guardctl hook install")
UNKNOWN = unknown("run", "only root can tell")


@pytest.mark.parametrize(
    ("checks", "status", "said"),
    [
        (CHECKS, 0, "nothing is broken; to be looked at: config"),
        ([*CHECKS, UNKNOWN], 3, "; not checked: run"),
        ([*CHECKS, BROKEN], 1, "1 broken: noticed; to be looked at: config"),
        ([*CHECKS, BROKEN, UNKNOWN], 1, "1 broken: noticed; "),
    ],
)
def test_outcome(checks: list[Checked], status: int, said: str) -> None:
    """Exit status and the last line."""
    assert (status, True) == (outcome(checks), said in summary(checks))


def test_lines() -> None:
    """A mark, a word, what was found; the command in one piece; a terminal's width is kept."""
    plain = list(to_lines([*CHECKS, BROKEN], None))
    narrow = list(to_lines([*CHECKS, BROKEN], 60))

    assert "    mend: cpu-guardctl hook install" in plain
    assert len(CHECKS) + 5 == len(plain)
    assert all(len(line) <= 60 + 10 for line in narrow)  # with the codes of a colour
    assert "    mend: cpu-guardctl hook install" in narrow
    assert ["ok", "warning", "skipped", "broken"] == [
        check["state"]
        for check in to_document([*CHECKS, BROKEN])["checks"]  # type: ignore[attr-defined]
    ]


def test_command(tmp_path: Path) -> None:
    """With a daemon that runs and a hook that asks it; nothing is said of libvirt's events."""
    place = Place(tmp_path)
    place.state.mkdir()
    hooks = tmp_path / "hooks"
    with place.running(TEST_DRIVER) as running:
        until((place.state / files.SNAPSHOT).exists)
        until((place.state / files.GOOD_CONFIG).exists)
        put(hooks / MAIN, built(f"{tmp_path}/").read_bytes())
        words = ("--hooks", hooks, "--config", tmp_path, "--state", place.state)
        done = run("doctor", "--json", *words, "--socket", place.socket, "--uri", TEST_DRIVER)
        verdicts = running.status()["verdicts"]

    found = {check["name"]: check["state"] for check in done.json["checks"]}
    good = ("others", "daemon", "last-resort", "config", "mode", "libvirt", "problems")
    assert dict.fromkeys(good, "ok") == {name: found[name] for name in good}
    assert ("broken", "broken", 1) == (found["hook"], found["snapshot"], done.status)
    assert "warning" == found["stamps"]  # of the driver's own guest
    if os.geteuid() == 0:
        assert ("ok", "ok") == (found["verdict"], found["run"])
        assert {"cannot-tell": 2} == verdicts
    assert UUID not in done.out
