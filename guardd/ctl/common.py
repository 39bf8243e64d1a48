"""What every command shares: exit statuses, options, how errors are shown."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, TypeVar

import click

from guardd import files
from guardd.cpu import PVRMatch, match_pvr
from guardd.cpu.definition import Arch
from guardd.errors import DaemonUnreachable, GuardError, IncompatibleCPUs, UnsupportedArch
from guardd.judge.finding import Decision
from guardd.probe.cpu_map import DIRECTORY, open_cpu_map
from guardd.render import printable

Command = TypeVar("Command", bound=Callable[..., Any])


LONGEST = 4096  # of an error


class Exit(IntEnum):
    """Exit statuses of cpu-guardctl; a usage error is click's own 2."""

    COMPATIBLE = 0
    INCOMPATIBLE = 1
    USAGE = 2
    CANNOT_TELL = 3
    NO_DAEMON = 69  # EX_UNAVAILABLE of sysexits.h; EX_IOERR: main.py


DECISION_EXIT = {
    Decision.ALLOW: Exit.COMPATIBLE,
    Decision.WARN: Exit.COMPATIBLE,
    Decision.DENY: Exit.INCOMPATIBLE,
    Decision.CANNOT_TELL: Exit.CANNOT_TELL,
}

# of what --json prints, where it is not the first: docs/json.md says when it goes up
SCHEMA_VERSIONS: Mapping[str, int] = {}

_FOLDER = click.Path(path_type=Path, file_okay=False)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

state_option = click.option(
    "--state",
    type=_FOLDER,
    default=files.STATE_DIRECTORY,
    show_default=True,
    help="Folder of what the daemon keeps.",
)


def choice(words: type[StrEnum]) -> click.Choice:
    """One of *words*, as a text; click would show members, not what is to be typed."""
    return click.Choice([word.value for word in words])


config_option = click.option(
    "--config",
    type=_FOLDER,
    default=files.CONFIG_DIRECTORY,
    show_default=True,
    help="Folder of guardd.toml and guardd.toml.d/.",
)

arch_option = click.option(
    "--arch",
    type=choice(Arch),
    metavar="ARCH",
    help="The architecture where a file does not tell, in place of this machine's.",
)


def cpu_map_option(command: Command) -> Command:
    """Give *command* the CPU map, loaded, and the option where from."""

    @click.option(
        "--cpu-map",
        "directory",
        type=_FOLDER,
        default=DIRECTORY,
        show_default=True,
        help="Folder of libvirt's CPU map.",
    )
    @functools.wraps(command)
    def run(*args: Any, directory: Path, **kwargs: Any) -> Any:  # noqa: ANN401 (what click parsed)
        return command(*args, cpu_map=open_cpu_map(directory), **kwargs)

    return run  # type: ignore[return-value]


def pvr_option(command: Command) -> Command:
    """Let the CPU map that *command* is given go by families or by exact PVRs."""

    @click.option(
        "--pvr",
        type=choice(PVRMatch),
        default=PVRMatch.FAMILY.value,
        show_default=True,
        help="Tell PowerPC processors apart by their family or by their exact PVR.",
    )
    @cpu_map_option
    @functools.wraps(command)
    def run(*args: Any, pvr: str, cpu_map: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return command(*args, cpu_map=match_pvr(cpu_map, PVRMatch(pvr)), **kwargs)

    return run  # type: ignore[return-value]


def own_arch() -> Arch:
    """Give the architecture of this machine; raises UnsupportedArch."""
    machine = os.uname().machine
    if machine in ("i386", "i486", "i586"):
        return Arch.I686  # as libvirt calls them
    try:
        return Arch(machine)
    except ValueError:
        raise UnsupportedArch(f"'{machine}' is no architecture that libvirt knows") from None


def styled(text: str, colour: str | None) -> str:
    """Give *text* in *colour* where that will be seen: on a terminal, and without NO_COLOR."""
    is_wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return click.style(text, fg=colour) if colour and is_wanted else text


def json_schema(name: str = "") -> str:
    """Name the schema of what the running command prints: "guests/1", "hook-status/1".

    *name*: in place of the command's own, where it prints several kinds of documents.
    """
    if not name:
        context, words = click.get_current_context(), []
        while context.parent is not None:  # the outermost is the program
            words.append(context.info_name or "")
            context = context.parent
        name = "-".join(reversed(words))
    return f"{name}/{SCHEMA_VERSIONS.get(name, 1)}"


def print_json(document: Mapping[str, Any], name: str = "") -> None:
    """Print *document* on stdout, with its schema's name first; *name* as for `json_schema`."""
    click.echo(json_text({"schema": json_schema(name), **document}, indent=2))


def json_text(document: object, *, indent: int | None = None) -> str:
    """Write *document* as JSON that standard output can take, in whatever encoding it is."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(document, indent=indent, ensure_ascii=not is_utf8)


def shown_errors(command: Command) -> Command:
    """Make a GuardError one line on stderr, with its hint, and an exit status."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (click passes what it parsed)
        try:
            return command(*args, **kwargs)
        except GuardError as exc:
            click.echo(f"error: {printable(str(exc), LONGEST)}", err=True)
            if exc.hint:
                click.echo(f"hint: {printable(exc.hint, LONGEST)}", err=True)
            sys.exit(_exit_for(exc))

    return run  # type: ignore[return-value]


def _exit_for(exc: GuardError) -> Exit:
    match exc:
        case DaemonUnreachable():
            return Exit.NO_DAEMON
        case IncompatibleCPUs():
            return Exit.INCOMPATIBLE
        case _:
            return Exit.CANNOT_TELL
