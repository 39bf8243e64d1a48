"""A host of the lab as tests use it: every call is made inside the host and has a time limit."""

import io
import json
import shlex
import tarfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.lab import containers, hosts
from tests.lab.nodes import NODES, Node
from tests.lab.process import Completed, LabError, TimedOut, execute

_WRITE = (
    'set -e; mkdir -p "$(dirname "$1")"; cat >"$1.new"; chmod "$2" "$1.new"; mv -T "$1.new" "$1"'
)
_UNPACK = 'set -e; mkdir -p "$1"; tar --no-same-owner --same-permissions -C "$1" -xf -'
_RESET = """
virsh --quiet list --name | while read -r guest; do
    [ -z "$guest" ] || virsh --quiet destroy "$guest" </dev/null
done
virsh --quiet list --all --name | while read -r guest; do
    [ -z "$guest" ] || virsh --quiet undefine "$guest" --managed-save --snapshots-metadata \
        --checkpoints-metadata --nvram </dev/null
done
"""


@dataclass(frozen=True, slots=True)
class Host(Node):
    """One running host; `run` and all that builds on it raise when a command fails."""

    def run(
        self,
        *argv: str,
        stdin: str | bytes | None = None,
        timeout: float = 60,
        check: bool = True,
    ) -> Completed:
        return execute(
            containers.entering(self, argv),
            stdin=stdin,
            timeout=timeout,
            check=check,
            shown=f"{self.name}: {shlex.join(argv)}",
        )

    def shell(
        self,
        script: str,
        *args: str,
        stdin: str | bytes | None = None,
        timeout: float = 60,
        check: bool = True,
    ) -> Completed:
        """Run *script* with bash; *args* are its $1 and on."""
        argv = ["bash", "-c", script, *(["bash", *args] if args else [])]
        return self.run(*argv, stdin=stdin, timeout=timeout, check=check)

    def virsh(
        self,
        *args: str,
        stdin: str | bytes | None = None,
        timeout: float = 60,
        check: bool = True,
    ) -> Completed:
        return self.run("virsh", "--quiet", *args, stdin=stdin, timeout=timeout, check=check)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file; it is renamed into place, so nobody sees it half written."""
        self.run("sh", "-c", _WRITE, "sh", path, f"{mode:o}", stdin=text)

    def push(self, src: Path, dst: str) -> None:
        """Copy a file or folder in, modes kept, owned by root; *dst* ending in / is a folder."""
        if dst.endswith("/"):
            dst += src.name
        if src.is_dir():
            self.run("sh", "-c", _UNPACK, "sh", dst, stdin=_packed(src))
            return
        mode = src.stat().st_mode & 0o7777
        self.run("sh", "-c", _WRITE, "sh", dst, f"{mode:o}", stdin=src.read_bytes())

    def cursor(self) -> str:
        """The journal's end as of now, to read on from there with `journal`."""
        last = self._journal("--lines=1")
        return last[-1]["__CURSOR"]

    def journal(self, *match: str, since_cursor: str | None = None) -> list[dict[str, str]]:
        """Journal entries by journalctl's *match* arguments, oldest first."""
        # not --after-cursor: with a match, systemd 252 skips the first entry that does match
        begin = [] if since_cursor is None else [f"--cursor={since_cursor}"]
        entries = self._journal(*begin, *match)
        return [entry for entry in entries if entry["__CURSOR"] != since_cursor]

    def _journal(self, *args: str) -> list[dict[str, str]]:
        self.run("journalctl", "--sync")
        # --all: without it, fields of more than 4096 bytes are null
        lines = self.run("journalctl", "--quiet", "--all", "--output=json", *args).stdout
        return [_entry(line) for line in lines.splitlines()]

    def guests(self) -> tuple[str, ...]:
        """Names of all guests, running or not."""
        names = self.virsh("list", "--all", "--name").stdout.splitlines()
        return tuple(sorted(name for name in names if name))

    def reset(self) -> None:
        """Destroy and undefine all guests, with their managed saves and snapshot metadata."""
        if self.guests():
            self.shell(_RESET)
        left = self.guests()
        if left:
            raise LabError(f"{self.name}: cannot get rid of {', '.join(left)}")

    def wait_until(self, condition: str | Callable[[], bool], timeout: float = 30) -> None:
        """Wait until *condition*, a shell script or a predicate, is true."""
        deadline = time.monotonic() + timeout
        while not self._holds(condition, deadline - time.monotonic()):
            if time.monotonic() > deadline:
                raise TimedOut(f"{self.name}: not so after {timeout} s: {condition}")
            time.sleep(0.1)

    def _holds(self, condition: str | Callable[[], bool], left: float) -> bool:
        if isinstance(condition, str):
            return self.shell(condition, timeout=max(left, 1), check=False).code == 0
        return condition()

    def migrate(
        self, guest: str, to_host: Node, *flags: str, timeout: float = 60, check: bool = True
    ) -> Completed:
        """Migrate *guest*, live unless *flags* say --offline."""
        live = [] if "--offline" in flags else ["--live"]
        uri = f"qemu+tcp://{to_host.name}/system"
        return self.virsh("migrate", *live, *flags, guest, uri, timeout=timeout, check=check)

    def reboot(self) -> None:
        """Halt the host and boot it again; what is on its disk stays."""
        hosts.restart(self)


def _packed(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, arcname=".")
    return packed.getvalue()


def _entry(line: str) -> dict[str, str]:
    return {name: _field(value) for name, value in json.loads(line).items()}


def _field(value: str | list[int] | list[str]) -> str:
    """A field as text: journalctl writes bytes that are no text, and repeated fields, as lists."""
    if isinstance(value, str):
        return value
    if all(isinstance(item, int) for item in value):
        return bytes(item for item in value if isinstance(item, int)).decode(errors="replace")
    return "\n".join(map(str, value))


HOSTS = MappingProxyType({n.name: Host(n.name, n.address, n.release) for n in NODES})


def push_all(host: Host, sources: Iterable[Path], dst: str) -> None:
    """Copy several files or folders into the folder *dst*."""
    for src in sources:
        host.push(src, f"{dst.rstrip('/')}/")
