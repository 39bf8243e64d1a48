"""cpu-guardctl doctor: proves that guests are guarded here, and says what mends what is broken."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from guardd import wire
from guardd.ctl.common import (
    Exit,
    config_option,
    json_option,
    print_json,
    shown_errors,
    state_option,
)
from guardd.ctl.doctor.checked import Checked, State
from guardd.ctl.doctor.daemon import (
    check_config,
    check_daemon,
    check_mode,
    check_service,
    check_verdict,
)
from guardd.ctl.doctor.hook import (
    check_fallback,
    check_last_resort,
    check_noticed,
    check_others,
    check_place,
    check_run,
)
from guardd.ctl.doctor.host import (
    check_clock,
    check_guests,
    check_libvirt,
    check_pool,
    check_problems,
    check_snapshot,
    check_stamps,
)
from guardd.ctl.doctor.scene import Scene, Site, read_scene
from guardd.ctl.doctor.system import (
    check_apparmor,
    check_catalog,
    check_journal,
    check_selinux,
)
from guardd.ctl.doctor.trial import check_trial
from guardd.ctl.known import URI
from guardd.ctl.progress import progress
from guardd.hookfile import HOOKS

Check = Callable[[Scene], Checked]

# from the guest's side inwards; what others rest on comes before them
CHECKS: tuple[Check, ...] = (
    check_place,
    check_others,
    check_noticed,
    check_service,
    check_daemon,
    check_verdict,
    check_run,
    check_fallback,
    check_last_resort,
    check_config,
    check_mode,
    check_pool,
    check_libvirt,
    check_snapshot,
    check_guests,
    check_stamps,
    check_problems,
    check_journal,
    check_catalog,
    check_selinux,
    check_apparmor,
    check_clock,
)

MARKS = {
    State.OK: "ok",
    State.WARNING: " !",
    State.BROKEN: "!!",
    State.UNKNOWN: "??",
    State.SKIPPED: "--",
}
COLOURS = {State.WARNING: "yellow", State.BROKEN: "red", State.OK: "green"}
INTERRUPTED = 130  # 128 + SIGINT, as a shell gives it
NAME_WIDTH = 12


def run_checks(site: Site, *, tries: bool) -> Iterator[Checked]:
    """Make every check, in order."""
    scene = read_scene(site)
    for check in CHECKS:
        yield check(scene)
    yield check_trial(scene, is_wanted=tries)


def outcome(checks: Sequence[Checked]) -> int:
    """Give the exit status that *checks* come to."""
    states = {checked.state for checked in checks}
    if State.BROKEN in states:
        return Exit.INCOMPATIBLE
    return Exit.CANNOT_TELL if State.UNKNOWN in states else Exit.COMPATIBLE


@click.command()
@click.option("--try", "tries", is_flag=True, help="Start a paused guest without disk, and end it.")
@click.option(
    "--hooks",
    type=click.Path(path_type=Path, file_okay=False),
    default=HOOKS,
    show_default=True,
    help="Folder of libvirt's hooks.",
)
@config_option
@state_option
@click.option("--socket", default=wire.SOCKET_PATH, show_default=True, metavar="PATH")
@click.option("--uri", default=URI, show_default=True, help="The libvirt that is guarded.")
@json_option
@shown_errors
def doctor(  # noqa: PLR0913 (options)
    hooks: Path, config: Path, state: Path, socket: str, uri: str, *, tries: bool, as_json: bool
) -> None:
    """Prove that guests are guarded here; give the command that mends what is broken.

    Nothing is changed. As root it asks the daemon and runs the hook for a guest that does not
    exist, cpu-guardd-doctor; the journal has a record of each.

    Exit status: 0 nothing is broken, 1 something is, 3 something could not be checked and nothing
    is broken.
    """
    site = Site(hooks=hooks, config=config, state=state, socket=socket, uri=uri)
    try:
        checks = list(progress(run_checks(site, tries=tries), "checking"))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if as_json:
        print_json(to_document(checks))
    else:
        for line in to_lines(checks, _width()):
            click.echo(line, color=False if "NO_COLOR" in os.environ else None)
    sys.exit(outcome(checks))


def to_document(checks: Sequence[Checked]) -> dict[str, object]:
    """Give the JSON document of *checks*."""
    counts = Counter(checked.state for checked in checks)
    return {
        "summary": {state.value: counts[state] for state in State},
        "checks": [
            {"name": c.name, "state": c.state.value, "found": c.found, "mend": c.mend}
            for c in checks
        ],
    }


def to_lines(checks: Sequence[Checked], width: int | None) -> Iterator[str]:
    """Say each check in a line, with what mends it below, and all in one at the end.

    *width*: where lines are broken, in columns; None: nowhere, for programs that read them.
    """
    for checked in checks:
        mark = click.style(MARKS[checked.state], fg=COLOURS.get(checked.state))
        head, *rest = _wrapped(checked.found, width)
        yield f"{mark}  {checked.name:<{NAME_WIDTH}}{head}"
        yield from (f"{'':{NAME_WIDTH + 4}}{line}" for line in rest)
        if checked.mend:
            yield f"    mend: {checked.mend}"  # in one piece, to be copied
    yield ""
    yield from _wrapped(summary(checks), width and width + NAME_WIDTH + 4)


def _wrapped(text: str, width: int | None) -> list[str]:
    text = " ".join(text.split())
    if width is None:
        return [text]
    room = max(width - NAME_WIDTH - 4, 20)
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def summary(checks: Sequence[Checked]) -> str:
    """Say in one line what it all comes to."""
    by_state = {s: [c.name for c in checks if c.state is s] for s in State}
    worst = by_state[State.BROKEN]
    said = f"{len(worst)} broken: {', '.join(worst)}" if worst else "nothing is broken"
    if names := by_state[State.WARNING]:
        said += f"; to be looked at: {', '.join(names)}"
    if names := by_state[State.UNKNOWN]:
        hint = "" if os.geteuid() == 0 else " (run it as root)"
        said += f"; not checked: {', '.join(names)}{hint}"
    return said
