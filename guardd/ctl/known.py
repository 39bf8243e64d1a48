"""What the commands know of this host without asking the daemon: kept snapshot, libvirt, files."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardd import files, libvirtconn
from guardd.errors import GuardError, LibvirtFailed
from guardd.facts.snapshot import HostSnapshot, with_hypervisor
from guardd.kept import kept_host

if TYPE_CHECKING:
    from guardd.facts.states import GuestState
    from guardd.judge.matrix import Traveller
    from guardd.libvirtconn import Connection

URI = "qemu:///system"
STDIN = "-"

# libvirt's own files, for when it does not run: the guest's definition
DEFINITIONS = Path("/etc/libvirt/qemu")


def uri() -> str:
    """Give the libvirt that is asked: the user's choice, or the host's own."""
    return os.environ.get("LIBVIRT_DEFAULT_URI", URI)


@contextmanager
def connected(*, read_only: bool = True) -> Iterator[Connection]:
    """Open a connection; raises LibvirtFailed.

    A read-only one is told neither domain capabilities nor what a migration would send.
    """
    libvirtconn.silence_stderr()
    connection = libvirtconn.open_connection(uri(), read_only=read_only)
    try:
        yield connection
    finally:
        libvirtconn.close(connection)


def host_snapshot(directory: Path = files.STATE_DIRECTORY) -> HostSnapshot:
    """Give the snapshot that the daemon kept; where there is none, ask libvirt for a fresh one.

    Raises BadSnapshot, or LibvirtFailed where libvirt does not answer either.
    """
    return kept_host(directory) or _fresh_snapshot()


def _fresh_snapshot() -> HostSnapshot:
    from guardd.watch.learn import learn_host, learn_hypervisor, with_fingerprint

    try:
        with connected(read_only=False) as connection:
            snapshot, keys = learn_host(connection)
            for key in keys:
                try:
                    snapshot = with_hypervisor(snapshot, learn_hypervisor(connection, key))
                except GuardError:
                    continue  # an emulator that is not installed: its guests cannot start either
    except LibvirtFailed as exc:
        hint = "start cpu-guardd once while libvirt runs, or start libvirt"
        raise LibvirtFailed(f"nothing is known of this host: {exc}", hint=hint) from exc
    return with_fingerprint(snapshot)


def is_file(guest: str) -> bool:
    """Whether *guest*, as typed, is a file's name and not a guest's; "-" is standard input."""
    return guest == STDIN or "/" in guest or _is_there(Path(guest))


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for any file
        return False


def file_text(name: str) -> str:
    """Give what the file *name* holds, "-": what comes on standard input; raises BadParameter."""
    if name == STDIN:
        return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    try:
        return Path(name).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as exc:
        raise click.BadParameter(f"cannot read {name}: {exc.strerror}") from exc


def guest_text(guest: str) -> str:
    """Give the domain XML of *guest*, by name, UUID or id, from libvirt or from its files.

    A running guest's XML has the CPU that it really got. Raises LibvirtFailed where there is no
    such guest.
    """
    return _text(guest, libvirtconn.guest_xml)


def definition_text(guest: str) -> str:
    """Give the domain XML that *guest* will be started from, likewise."""
    return _text(guest, libvirtconn.definition)


def _text(guest: str, read: Callable[[Connection, str], str]) -> str:
    try:
        with connected() as connection:
            return read(connection, guest)
    except LibvirtFailed as exc:
        definition = DEFINITIONS / f"{guest}.xml"
        if Path(guest).name == guest and _is_there(definition):
            return _read(definition)
        hint = "see `virsh list --all`; a file is taken when its name has a '/' or it exists here"
        raise LibvirtFailed(str(exc), hint=hint) from exc


def guest_as_sent(guest: str) -> str | None:
    """Give the domain XML that a migration of the running *guest* would send.

    None for one that does not run, and where libvirt does not give it to this user.
    """
    try:
        with connected(read_only=False) as connection:
            return libvirtconn.guest_as_sent(connection, guest)
    except LibvirtFailed:
        return None


def travellers(definitions: Path = DEFINITIONS) -> tuple[list[Traveller], str]:
    """Give all guests here, by name, from libvirt; where it does not answer, from its files.

    The second value says what is missing then, "" for nothing. Raises LibvirtFailed where the
    files cannot be read either.
    """
    from guardd.judge.matrix import traveller

    try:
        found = _travellers(read_only=False)
    except LibvirtFailed:
        try:
            found = _travellers(read_only=True)
        except LibvirtFailed as exc:
            states = _defined_states(definitions, exc)
            found = [traveller(state.name, state.uuid, state.xml) for state in states]
            missing = f"{exc}; only the definitions below {definitions} were judged, as if all were"
            return sorted(found, key=_by_name), f"{missing} off"
    return sorted(found, key=_by_name), ""


def _travellers(*, read_only: bool) -> list[Traveller]:
    from guardd.judge.matrix import traveller

    with connected(read_only=read_only) as connection:
        return [traveller(*each) for each in libvirtconn.guests_as_sent(connection)]


def _by_name(guest: Traveller) -> tuple[str, str]:
    return guest.name.casefold(), guest.name


def guest_states(
    definitions: Path = DEFINITIONS,
    *,
    snapshots: bool = True,
    watched: Callable[[Iterator[GuestState]], Iterable[GuestState]] = iter,
) -> tuple[list[GuestState], str]:
    """Give all states of all guests here, from libvirt; where it does not answer, from its files.

    The second value says what is missing then, "" for nothing. *snapshots*: also those of its
    snapshots. *watched* hands on what is read while it is, as `progress` does. Raises LibvirtFailed
    where the files cannot be read either.
    """
    try:
        with connected() as connection:
            return list(watched(libvirtconn.guest_states(connection, snapshots=snapshots))), ""
    except LibvirtFailed as exc:
        states = _defined_states(definitions, exc)
        return states, (
            f"{exc}; only the definitions below {definitions} were judged, no guest that runs, is"
            " saved or has a snapshot"
        )


def _defined_states(definitions: Path, away: LibvirtFailed) -> list[GuestState]:
    try:
        paths = sorted(path for path in definitions.iterdir() if path.suffix == ".xml")
    except OSError as exc:
        problem = f"{away}; and {definitions} cannot be read: {exc.strerror}"
        raise LibvirtFailed(problem, hint="start libvirt, or run it as root") from exc
    from guardd.facts.states import defined_state

    states = []
    for path in paths:
        with contextlib.suppress(GuardError):
            states.append(defined_state(_read(path)))
    return states


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as exc:
        raise LibvirtFailed(f"cannot read {path}: {exc.strerror}") from exc
