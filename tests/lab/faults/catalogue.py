"""What can go wrong with what cpu-guardd stands on: how it comes, and how it ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tests.lab import guard
from tests.lab.faults.impostor import WAYS

IMPOSTOR = "/root/impostor.py"
FAKETIME = "/usr/local/lib/cpu-guardd-faults/libfaketime.so.1"
STATE = "/var/lib/cpu-guardd"
PACKAGES = "/root/packages"
GUARD = "cpu-guardd.service"
BOTH = f"cpu-guardd.socket {GUARD}"
MAIN_PID = f"$(systemctl show --property=MainPID --value {GUARD})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong: bash scripts to make it so and to end it; $1 is a random number.

    `seconds`: how long it is there, from and to. `is_libvirts`: libvirt itself cannot do all that
    is asked of it meanwhile, so only what the guard says counts. `drops_unread`: what journald has
    not read yet when the fault comes is gone with its socket, and nobody can tell.
    """

    inject: str
    heal: str = ""
    seconds: tuple[float, float] = (0.5, 2.0)
    is_libvirts: bool = False
    drops_unread: bool = False
    is_old: bool = False


def _signal(name: str, unit: str) -> str:
    return f"systemctl kill --signal={name} {unit}"


def _snapshot(change: str) -> Fault:
    """The kept snapshot becomes another, and the daemon starts on it."""
    # stopped first: the daemon keeps it anew whenever it reads the host
    stop, kill = _signal("STOP", GUARD), _signal("KILL", GUARD)
    return Fault(inject=f"set -e; cd {STATE}; {stop}; {change}; {kill}")


def _impostor(how: str) -> Fault:
    socket = "/run/cpu-guardd/guard.sock"
    unit = "--quiet --collect --unit=impostor --property=DefaultDependencies=no"
    return Fault(
        inject=f"set -e; systemctl stop {BOTH}"
        f"; systemd-run {unit} python3 {IMPOSTOR} {how} {socket}"
        f"; for n in $(seq 100); do [ -S {socket} ] && exit; sleep 0.05; done; exit 1",
        heal=f"systemctl stop impostor.service; rm -f {socket}; systemctl start {BOTH}",
    )


# what is there already stays, and not a byte more; it may have grown meanwhile
_FILL = (
    "set -e; for n in $(seq 20); do"
    ' ! mount -o "remount,size=$(df --block-size=1 --output=used {0} | tail -1)" {0} || break; done'
)
_ANEW = f"systemctl restart {GUARD}"
_BACK = f"dpkg --install {PACKAGES}/this.deb"
_HOLD = (
    "import resource, socket, time\n"
    "resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))\n"
    "held = []\n"
    "while True:\n"
    "    try:\n"
    "        held.append(socket.socket(socket.AF_UNIX))\n"
    "        held[-1].connect('/run/cpu-guardd/guard.sock')\n"
    "    except OSError:\n"
    "        held = held[2000:]\n"
)
_CLOCK_UNIT = "/run/systemd/system/cpu-guardd.service.d/60-clock.conf"
_CLOCK = f"""
set -e
mkdir -p /run/faults "$(dirname {_CLOCK_UNIT})"
echo +0 >/run/faults/clock
cat >{_CLOCK_UNIT} <<EOF
[Service]
Environment=LD_PRELOAD={FAKETIME} FAKETIME_TIMESTAMP_FILE=/run/faults/clock
Environment=FAKETIME_CACHE_DURATION=1
Environment=DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1
EOF
systemctl daemon-reload
{_ANEW}
grep -q libfaketime "/proc/{MAIN_PID}/maps"
for jump in +1d -1d +3650d -2h; do
    echo "$jump" >/run/faults/clock
    sleep 1  # libfaketime looks once a second; to look at every call takes a start of seconds
    systemctl reload cpu-guardd.service  # the host is read anew, and the time written down
    sleep 0.3
done
"""
_CLOCK_HEAL = f"rm {_CLOCK_UNIT}; systemctl daemon-reload; {_ANEW}"
_AWAIT_WATCHDOG = f"""
for n in $(seq 400); do
    journalctl --quiet --unit {GUARD} --since=-60s | grep -q 'Watchdog timeout' &&
        systemctl is-active --quiet {GUARD} && exit
    sleep 0.1
done
exit 1
"""

FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "daemon killed": Fault(inject=_signal("KILL", GUARD)),
        "daemon killed often": Fault(
            inject=f"for n in $(seq 14); do {_signal('KILL', GUARD)}; sleep 0.12; done; true",
            heal=f"systemctl reset-failed 'cpu-guardd*'; systemctl start {BOTH}",
        ),
        "daemon stopped": Fault(
            inject=_signal("STOP", GUARD), heal=_signal("CONT", GUARD), seconds=(1.0, 3.0)
        ),
        "daemon hangs": Fault(inject=_signal("STOP", GUARD), heal=_AWAIT_WATCHDOG),
        "libvirtd restarted": Fault(inject="systemctl restart libvirtd", is_libvirts=True),
        "libvirtd killed": Fault(inject=_signal("KILL", "libvirtd"), is_libvirts=True),
        "journald killed": Fault(inject=_signal("KILL", "systemd-journald")),
        "journald hangs": Fault(
            inject=_signal("STOP", "systemd-journald"), heal=_signal("CONT", "systemd-journald")
        ),
        "journald stopped": Fault(
            inject=f"systemctl stop {guard.JOURNALD}",
            heal=f"systemctl start {guard.JOURNALD}",
            drops_unread=True,
        ),
        "state disk full": Fault(
            inject=f"{_FILL.format(STATE)}; {_ANEW}",
            heal=f"mount -o remount,size=4m {STATE}",
        ),
        "/run full": Fault(
            inject=f"{_FILL.format('/run')}; {_signal('KILL', GUARD)}",
            heal="mount -o remount,size=1g /run",
            is_libvirts=True,
        ),
        "snapshot garbage": _snapshot("head -c 20000 /dev/urandom >snapshot.json"),
        "snapshot cut": _snapshot(
            "truncate -s $(($1 % $(stat -c %s snapshot.json))) snapshot.json"
        ),
        "snapshot gone": _snapshot("rm snapshot.json"),
        "snapshot of 2099": _snapshot(
            'sed -i \'s/"taken": "[^"]*"/"taken": "2099-01-01T00:00:00Z"/\' snapshot.json'
        ),
        "snapshot format 9": _snapshot('sed -i \'s/"format": 1/"format": 9/\' snapshot.json'),
        "upgraded": Fault(inject=f"dpkg --install {PACKAGES}/next.deb", heal=_BACK),
        "downgraded": Fault(
            inject=f"dpkg --install {PACKAGES}/old.deb", heal=_BACK, is_libvirts=True, is_old=True
        ),
        "clock jumps": Fault(inject=_CLOCK, heal=_CLOCK_HEAL, seconds=(0.0, 0.5)),
        "no descriptors": Fault(
            # by its own user: a container's root may not limit another's process
            inject=f"set -e; pid={MAIN_PID}"
            "; setpriv --reuid=cpu-guardd --regid=cpu-guardd --clear-groups"
            ' prlimit --pid "$pid" --nofile=$(ls /proc/$pid/fd | wc -l):',
            heal=f"pid={MAIN_PID}"
            "; setpriv --reuid=cpu-guardd --regid=cpu-guardd --clear-groups"
            ' prlimit --pid "$pid" --nofile=8192:',
            seconds=(1.0, 3.0),
        ),
        "4000 callers": Fault(
            inject=f'systemd-run --quiet --collect --unit=crowd python3 -c "{_HOLD}"',
            heal="systemctl stop crowd.service",
            seconds=(2.0, 4.0),
        ),
        "socket removed": Fault(
            inject="rm /run/cpu-guardd/guard.sock",
            heal=f"systemctl restart {BOTH}",
        ),
        "socket closed": Fault(
            inject="systemctl stop cpu-guardd.socket",
            heal=f"systemctl start {BOTH}",
        ),
        **{f"peer: {how}": _impostor(how) for how in WAYS},
    }
)
