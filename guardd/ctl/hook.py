"""cpu-guardctl hook: puts libvirt's hook in its place, and never touches another's."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import click

from guardd.ctl import selinux
from guardd.ctl.bounded import run_program
from guardd.ctl.common import Exit, json_option, print_json, shown_errors
from guardd.ctl.units import LIBVIRT, Unit, read_units
from guardd.errors import GuardError
from guardd.hookfile import DROP_IN, HOOKS, State, describe, places, program

MODE = 0o755
RELOAD_SECONDS = 20
LOOK_SECONDS = 0.05  # between two looks at whether a daemon is done

_TAKEN = (State.FOREIGN, State.UNREADABLE)


def install_hook(root: Path = HOOKS, selinuxfs: Path | None = None) -> Path:
    """Put the hook where no other is, or bring ours up to date; give its path.

    Where SELinux is on, it goes to the name that is ours alone: labels go by names, and the one of
    qemu may be anybody's. `selinuxfs` None: labels do not matter below *root*. Of two of ours, as
    after a version that took the other for a stranger's, one is left.

    Raises GuardError where another's file stands in the way, nothing can be written, or libvirt
    would not be let run it.
    """
    main, drop_in = places(root)
    has_labels = selinuxfs is not None and selinux.is_on(selinuxfs)
    is_free = main.is_ours or (main.state is State.ABSENT and not drop_in.is_ours)
    target, other = (main, drop_in) if is_free and not has_labels else (drop_in, main)
    if target.state in _TAKEN:
        raise GuardError(
            f"{target.path} is another program's", hint="move it aside; it is not overwritten"
        )
    try:
        _write(target.path, program(), selinuxfs)
        if other.is_ours:
            other.path.unlink()  # each of two would have every guest judged
    except OSError as exc:
        raise GuardError(f"cannot write {target.path}: {exc.strerror}") from exc
    return target.path


def _write(path: Path, text: bytes, selinuxfs: Path | None) -> None:
    """Replace *path* in one step: libvirt may run it at any time, so it has its label before."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    # no hook of libvirt's has a name that begins with a dot
    descriptor, temporary = tempfile.mkstemp(prefix=".cpu-guardd-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            os.fchmod(file.fileno(), MODE)
        if selinuxfs is not None and selinux.is_on(selinuxfs):
            selinux.restore_label(Path(temporary))
            _insist_on_label(Path(temporary), selinuxfs)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _insist_on_label(path: Path, selinuxfs: Path) -> None:
    """Raise GuardError where guests could start no more: libvirt refuses what it cannot ask."""
    if selinux.is_enforcing(selinuxfs) and selinux.type_of(path) != selinux.HOOK_TYPE:
        raise GuardError(
            "SELinux would keep libvirt from running the hook, and every guest from starting",
            hint="install the package cpu-guardd-selinux first; see docs/security-modules.md",
        )


def remove_hook(root: Path = HOOKS) -> list[Path]:
    """Delete what is ours; give the paths. Raises GuardError where that fails."""
    ours = [place.path for place in places(root) if place.is_ours]
    for path in ours:
        try:
            path.unlink()
        except OSError as exc:
            raise GuardError(f"cannot remove {path}: {exc.strerror}") from exc
    if any(path.name == Path(DROP_IN).name for path in ours):
        with contextlib.suppress(OSError):  # others' hooks are in it: it stays
            (root / DROP_IN).parent.rmdir()
    return ours


def reload_libvirt() -> list[str]:
    """Make running libvirt daemons look for hooks again; give what to say about it.

    They look only when they start and when they are reloaded; running guests do not notice.
    """
    said = []
    for unit in filter(None, map(read_units().get, LIBVIRT)):
        if unit.is_active:
            done = "reloaded" if _reload(unit) else "could not be reloaded, do it by hand"
            said.append(f"{unit.name} {done}")
    return said or ["no libvirt daemon runs; it will find the hook when it starts"]


def _reload(unit: Unit) -> bool:
    """Have the daemon of *unit* read anew what it read at its start; say whether it was told.

    Where systemd waits for the end of a reload (Type=notify-reload), its job holds up the scopes of
    guests, which start after libvirtd, while libvirt 11.3.0 waits for those guests before it ends:
    libvirtd hangs for 30 s, until D-Bus gives up, and a guest's start fails. A signal is no job.
    """
    if not unit.tells_reloads:
        return _systemctl("reload", unit.name)
    if not _systemctl("kill", "--kill-whom=main", "--signal=HUP", unit.name):
        return False
    deadline = time.monotonic() + RELOAD_SECONDS
    while time.monotonic() < deadline:
        now = read_units().get(unit.name, unit)
        if now.reloaded != unit.reloaded and now.active == "active":
            break
        time.sleep(LOOK_SECONDS)
    return True


def _systemctl(*words: str) -> bool:
    return run_program(["systemctl", *words], seconds=RELOAD_SECONDS).status == 0


_hooks_option = click.option(
    "--hooks",
    "root",
    type=click.Path(path_type=Path, file_okay=False),
    default=HOOKS,
    show_default=True,
    help="Folder of libvirt's hooks; libvirt is made to notice a change in its own only.",
)


@click.group()
def hook() -> None:
    """Install, remove or look at libvirt's hook, /etc/libvirt/hooks/qemu."""


@hook.command()
@_hooks_option
@json_option
@shown_errors
def install(root: Path, *, as_json: bool) -> None:
    """Put the hook in its place and make libvirt notice it.

    Where /etc/libvirt/hooks/qemu is another program's, qemu.d/50-cpu-guardd is used beside it; it
    is used where SELinux is on as well.

    Exit status: 0 done, 3 it could not be installed.
    """
    path = install_hook(root, selinux.SELINUXFS if root == HOOKS else None)
    noticed = reload_libvirt() if root == HOOKS else []
    if as_json:
        print_json({"installed": str(path), "libvirt": noticed})
        return
    for line in [f"{path}: installed", *noticed]:
        click.echo(line)


@hook.command()
@_hooks_option
@json_option
@shown_errors
def remove(root: Path, *, as_json: bool) -> None:
    """Take the hook away; another program's is left alone.

    Exit status: 0 none of ours is left, 3 it could not be removed.
    """
    removed = remove_hook(root)
    noticed = reload_libvirt() if removed and root == HOOKS else []
    if as_json:
        print_json({"removed": [str(path) for path in removed], "libvirt": noticed})
        return
    lines = [f"{path}: removed" for path in removed] or ["no hook of cpu-guardd is installed"]
    for line in [*lines, *noticed]:
        click.echo(line)


@hook.command(name="status")
@_hooks_option
@json_option
@shown_errors
def hook_status(root: Path, *, as_json: bool) -> None:
    """Say what stands where; exit status 0 where a current hook of ours does, else 1."""
    found = places(root)
    if as_json:
        print_json({"hooks": {str(place.path): place.state for place in found}})
    else:
        click.echo("\n".join(describe(found)))
    is_good = any(place.state is State.CURRENT for place in found)
    sys.exit(Exit.COMPATIBLE if is_good else Exit.INCOMPATIBLE)
