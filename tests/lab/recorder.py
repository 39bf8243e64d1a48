"""A hook that records every call libvirt makes to it, and reading those calls back."""

import json
from dataclasses import dataclass

from tests.lab.host import Host

HOOK = "/etc/libvirt/hooks/qemu.d/90-recorder"  # beside a hook that is installed
_CALLS = "/run/guardd-lab-calls"

_SCRIPT = f"""\
#!/bin/sh
call={_CALLS}/$(date +%s%N)-$$
mkdir -p "$call.new"
printf '%s\\n' "$@" >"$call.new/argv"
cat >"$call.new/stdin"
mv "$call.new" "$call"
"""

_READ = """
import json, pathlib, sys
calls = sorted(path for path in pathlib.Path(sys.argv[1]).glob("*") if path.suffix != ".new")
print(json.dumps([[(call / name).read_text() for name in ("argv", "stdin")] for call in calls]))
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the hook, as libvirt made it."""

    guest: str
    operation: str
    suboperation: str
    xml: str

    @property
    def event(self) -> str:
        return f"{self.operation} {self.suboperation}"


def install(host: Host) -> None:
    """Put the recorder in place of the hook, and make libvirt look for it."""
    host.write(HOOK, _SCRIPT, 0o755)
    host.run("systemctl", "reload", "libvirtd")
    clear(host)


def remove(host: Host) -> None:
    host.run("rm", "-rf", HOOK, _CALLS)


def clear(host: Host) -> None:
    host.run("rm", "-rf", _CALLS)


def calls(host: Host) -> list[Call]:
    """Read the calls since the recorder was installed or cleared, in their order."""
    recorded = json.loads(host.run("python3", "-c", _READ, _CALLS).stdout)
    return [_call(argv.splitlines(), xml) for argv, xml in recorded]


def _call(argv: list[str], xml: str) -> Call:
    guest, operation, suboperation, *_ = argv
    return Call(guest, operation, suboperation, xml)
