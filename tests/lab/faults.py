"""Breaks what cpu-guardd stands on, over and over, under load, and looks whether it held.

    python3 -m tests.lab.faults --rounds 200        as root; `make faults ROUNDS=200`

A round: a load begins on a pair of hosts, a fault comes to one of them at a random moment, goes,
the load ends, and everything in INVARIANTS is looked at. What is random goes by --seed.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from tests.lab import guard, hosts, stamps
from tests.lab.guard import Record
from tests.lab.guests import domain_xml
from tests.lab.host import HOSTS, Host
from tests.lab.impostor import WAYS
from tests.lab.load import HUNG, KEEPERS, MAXIMUM, ROAMER, Act, Load, What, clear, settle
from tests.lab.process import LabError, TimedOut

PAIRS = (("hosta", "hostb"), ("hostc", "hostd"))
ANSWERS = ("allow", "deny")  # on_unavailable and on_cannot_tell, each for a turn of all faults

# 1 s for the daemon, 4 s for the judgement without it, 1 s for the last word in the journal; and
# one for a machine of which all hosts and their guests want a part
HOOK_SECONDS = 7.0
# a hook that is asked holds libvirtd's list of guests (hooks.rst)
LIST_SECONDS = HOOK_SECONDS + 3
RESUME_SECONDS = 60  # the watcher looks for libvirt after 30 s at the latest
UNREAD_SECONDS = 0.5  # journald is no slower than that, nor is the daemon's thread that writes
JUDGED = frozenset({What.HOOK, What.START, What.RESTORE, What.MIGRATE})
NO_VERDICT = ("failed to get domain", "already active", "no domain with matching")
UNJUDGED = frozenset({"cannot-tell", "unavailable"})
# of the host before it changed, or while it is still read: such a verdict refuses nobody
VAGUE = ("outdated snapshot", "the nearest known")

IMPOSTOR = "/root/impostor.py"
FAKETIME = "/usr/local/lib/cpu-guardd-faults/libfaketime.so.1"
STATE = "/var/lib/cpu-guardd"
PACKAGES = "/root/packages"
EVIDENCE = guard.ROOT / "build/faults"
# the first version of which guests had stamps; the format of the snapshot is as old as the package
OLD = "36f3c9e"


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


def _snapshot(change: str) -> Fault:
    """The kept snapshot becomes another, and the daemon starts on it."""
    # stopped first: the daemon keeps it anew whenever it reads the host
    kill = "systemctl kill --signal=KILL cpu-guardd.service"
    stop = "systemctl kill --signal=STOP cpu-guardd.service"
    return Fault(inject=f"set -e; cd {STATE}; {stop}; {change}; {kill}")


def _impostor(how: str) -> Fault:
    socket = "/run/cpu-guardd/guard.sock"
    unit = "--quiet --collect --unit=impostor --property=DefaultDependencies=no"
    return Fault(
        inject="set -e; systemctl stop cpu-guardd.socket cpu-guardd.service"
        f"; systemd-run {unit} python3 {IMPOSTOR} {how} {socket}"
        f"; for n in $(seq 100); do [ -S {socket} ] && exit; sleep 0.05; done; exit 1",
        heal=f"systemctl stop impostor.service; rm -f {socket}"
        "; systemctl start cpu-guardd.socket cpu-guardd.service",
    )


def _signal(name: str, unit: str) -> str:
    return f"systemctl kill --signal={name} {unit}"


_GUARD = "cpu-guardd.service"
# what is there already stays, and not a byte more; it may have grown meanwhile
_FILL = (
    "set -e; for n in $(seq 20); do"
    ' ! mount -o "remount,size=$(df --block-size=1 --output=used {0} | tail -1)" {0} || break; done'
)
_ANEW = "systemctl restart cpu-guardd.service"
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
systemctl restart cpu-guardd.service
grep -q libfaketime "/proc/$(systemctl show --property=MainPID --value cpu-guardd.service)/maps"
for jump in +1d -1d +3650d -2h; do
    echo "$jump" >/run/faults/clock
    sleep 1  # libfaketime looks once a second; to look at every call takes a start of seconds
    systemctl reload cpu-guardd.service  # the host is read anew, and the time written down
    sleep 0.3
done
"""
_CLOCK_HEAL = f"rm {_CLOCK_UNIT}; systemctl daemon-reload; systemctl restart cpu-guardd.service"
_AWAIT_WATCHDOG = f"""
for n in $(seq 400); do
    journalctl --quiet --unit {_GUARD} --since=-60s | grep -q 'Watchdog timeout' &&
        systemctl is-active --quiet {_GUARD} && exit
    sleep 0.1
done
exit 1
"""

FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "daemon killed": Fault(inject=_signal("KILL", _GUARD)),
        "daemon killed often": Fault(
            inject=f"for n in $(seq 14); do {_signal('KILL', _GUARD)}; sleep 0.12; done; true",
            heal="systemctl reset-failed 'cpu-guardd*'"
            "; systemctl start cpu-guardd.socket cpu-guardd.service",
        ),
        "daemon stopped": Fault(
            inject=_signal("STOP", _GUARD), heal=_signal("CONT", _GUARD), seconds=(1.0, 3.0)
        ),
        "daemon hangs": Fault(inject=_signal("STOP", _GUARD), heal=_AWAIT_WATCHDOG),
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
            inject=f"{_FILL.format('/run')}; {_signal('KILL', _GUARD)}",
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
            inject="set -e; pid=$(systemctl show --property=MainPID --value cpu-guardd.service)"
            "; setpriv --reuid=cpu-guardd --regid=cpu-guardd --clear-groups"
            ' prlimit --pid "$pid" --nofile=$(ls /proc/$pid/fd | wc -l):',
            heal="pid=$(systemctl show --property=MainPID --value cpu-guardd.service)"
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
            heal="systemctl restart cpu-guardd.socket cpu-guardd.service",
        ),
        "socket closed": Fault(
            inject="systemctl stop cpu-guardd.socket",
            heal="systemctl start cpu-guardd.socket cpu-guardd.service",
        ),
        **{f"peer: {how}": _impostor(how) for how in WAYS},
    }
)


@dataclass(slots=True, kw_only=True)
class Round:
    """All that was seen of one: what was done, what the journals say, who lived before and after.

    `before`, `after`: by host and guest, the process of its QEMU. `came`: when the fault began to
    come, and when it was there, monotonic. `since`: the cursor of the host's journal before all of
    it. `resumed`: "", or what did not come back. `broken`: why it could not be played.
    """

    number: int
    name: str
    host: Host
    answer: str
    came: tuple[float, float] = (0.0, 0.0)
    since: str = ""
    acts: list[Act] = field(default_factory=list)
    records: dict[str, list[Record]] = field(default_factory=dict)
    before: dict[tuple[str, str], str] = field(default_factory=dict)
    after: dict[tuple[str, str], str] = field(default_factory=dict)
    roamers: int = 0
    resumed: str = ""
    resume_seconds: float = 0.0
    broken: str = ""

    @property
    def fault(self) -> Fault:
        return FAULTS[self.name]

    def of(self, act: Act) -> list[Record]:
        """Give the verdicts on the guest of *act* where it was judged."""
        return [r for r in self.records[act.host] if r["GUARDD_DOMAIN"] == act.guest]

    def unjudged(self, act: Act) -> bool:
        """Whether the journal says that nobody could tell, and the answer was as configured."""
        refused = "yes" if act.is_refused else "no"
        found = [
            record
            for record in self.of(act)
            if record["GUARDD_DECISION"] in UNJUDGED
            or any(word in record.get("GUARDD_SOURCE", "") for word in VAGUE)
        ]
        found = [record for record in found if record["GUARDD_REFUSED"] == refused]
        is_as_configured = act.is_refused is (self.answer == "deny")
        return any(is_as_configured or r["GUARDD_DECISION"] not in UNJUDGED for r in found)


# -- what must hold


def guests_live(done: Round) -> Iterator[str]:
    """No guest that ran, and that the load leaves alone, has died."""
    for (host, guest), pid in done.before.items():
        now = done.after.get((host, guest), "")
        if now != pid:
            yield f"{guest} on {host} was process {pid or 'none'}, now it is {now or 'none'}"
    if done.roamers != 1 and not done.fault.is_libvirts:
        yield f"the roamer runs on {done.roamers} hosts"


def hooks_end_in_time(done: Round) -> Iterator[str]:
    """Every call of the hook ends within its bound, and with 0 or 1."""
    for act in done.acts:
        if act.what is not What.HOOK:
            continue
        if act.code not in (0, 1):
            yield f"hook for {act.guest} on {act.host}: exit status {act.code}: {act.said}"
        if act.seconds > HOOK_SECONDS:
            yield f"hook for {act.guest} on {act.host} took {act.seconds:.1f} s"


def nothing_hangs(done: Round) -> Iterator[str]:
    """Nothing asked of libvirt is without an answer."""
    for act in done.acts:
        if act.code == HUNG:
            yield f"{act.what} of {act.guest} on {act.host} hangs"


def verdicts_are_right(done: Round) -> Iterator[str]:
    """What fits goes, what does not is refused; or the answer is the configured one, and said."""
    for act in done.acts:
        if act.what not in JUDGED or act.code == HUNG:
            continue
        if act.code != 0 and not act.is_refused:
            # libvirt refuses by itself what nobody judged, and does not fit
            is_excused = done.fault.is_libvirts or any(text in act.said for text in NO_VERDICT)
            is_excused |= not act.fits and done.unjudged(act)
            if act.what is What.HOOK or not is_excused:
                yield f"{act.what} of {act.guest} on {act.host} failed: {act.said.strip()}"
        elif act.is_refused is act.fits and not done.unjudged(act):
            outcome = "refused" if act.is_refused else "allowed"
            yield f"{act.what} of {act.guest} on {act.host} was wrongly {outcome}: {act.said}"


def vetoes_are_recorded(done: Round) -> Iterator[str]:
    """Every refusal that somebody was told of is in the journal."""
    if done.fault.is_old:
        return
    for act in done.acts:
        is_there = any(r["GUARDD_REFUSED"] == "yes" for r in done.of(act))
        began, was_there = done.came
        is_dropped = (
            done.fault.drops_unread
            and act.ended > began - UNREAD_SECONDS
            and act.ended - act.seconds < was_there
        )
        if act.is_refused and not is_there and not is_dropped:
            yield (
                f"{act.what} of {act.guest} on {act.host} was refused, the journal has nothing:"
                f" told after {act.seconds:.2f} s, {act.ended - was_there:.2f} s after the fault"
            )


def libvirtd_answers(done: Round) -> Iterator[str]:
    """libvirtd lists its guests, unless it is the one that is away."""
    for act in done.acts:
        if act.what is What.LIST and not done.fault.is_libvirts:
            if act.code != 0:
                yield f"list on {act.host} failed: {act.said.strip()}"
            elif act.seconds > LIST_SECONDS:
                yield f"list on {act.host} took {act.seconds:.1f} s"


def all_resumes(done: Round) -> Iterator[str]:
    """A guest that starts afterwards is judged by the daemon, stamped, and both are recorded."""
    if done.resumed:
        yield f"{done.host.name} did not recover: {done.resumed}"


INVARIANTS: Sequence[Callable[[Round], Iterator[str]]] = (
    guests_live,
    hooks_end_in_time,
    nothing_hangs,
    verdicts_are_right,
    vetoes_are_recorded,
    libvirtd_answers,
    all_resumes,
)


# -- a round


def play(pair: Sequence[Host], done: Round, chance: random.Random) -> None:
    """Have the fault come and go under load; fill in what was seen."""
    fault, host = done.fault, done.host
    host.shell("systemctl reset-failed 'cpu-guardd*' || true")  # rounds are not a crash loop
    settle(pair)
    done.before = _lives(pair)
    cursors = {each.name: each.cursor() for each in pair}
    done.since = cursors[host.name]
    number = str(chance.randrange(1 << 30))
    load = Load(pair, str(done.number), random.Random(chance.random()))  # noqa: S311
    with load.running():
        time.sleep(chance.uniform(0.0, 1.5))
        begun = time.monotonic()
        host.shell(fault.inject, number)
        done.came = begun, time.monotonic()
        time.sleep(chance.uniform(*fault.seconds))
        host.shell(fault.heal or "true", number)
        time.sleep(chance.uniform(0.2, 0.7))
    done.acts = load.acts
    begun = time.monotonic()
    done.resumed = resumed(host, f"after{done.number}", done.since)
    done.resume_seconds = time.monotonic() - begun
    done.after = _lives(pair)
    done.roamers = sum(guard.state(each, ROAMER) == "running" for each in pair)
    done.records = {each.name: guard.verdicts(each, cursors[each.name]) for each in pair}


def resumed(host: Host, name: str, cursor: str) -> str:
    """Start a guest, see it judged by the daemon, stamped and recorded; "" or what is missing."""
    stage = "the daemon is not connected to libvirt"
    try:
        host.wait_until(
            "cpu-guardctl status --json | jq -e .libvirt_connected", timeout=RESUME_SECONDS
        )
        stage = "a guest does not start"
        host.virsh("create", "/dev/stdin", stdin=domain_xml(name, cpu=MAXIMUM))
        stage = "it is not stamped"
        stamps.await_stamp(host, name)
        host.wait_until(lambda: bool(stamps.records(host, cursor, name)))
        stage = "it was not judged by the daemon"
        sources = [r["GUARDD_SOURCE"] for r in guard.verdicts(host, cursor, name)]
        host.virsh("destroy", name)
    except (LabError, AssertionError) as exc:
        return f"{stage}: {exc}"
    return "" if any("no daemon" not in source for source in sources) else f"{stage}: {sources}"


def _lives(pair: Sequence[Host]) -> dict[tuple[str, str], str]:
    """Give the process of each keeper that runs, by host and name."""
    script = (
        "for guest; do pid=$(cat /run/libvirt/qemu/$guest.pid) && kill -0 $pid"
        " && [ $(virsh --quiet domstate $guest) = running ] && echo $guest $pid; done; true"
    )
    lives = {}
    for host in pair:
        for line in host.shell(script, *KEEPERS).stdout.splitlines():
            guest, pid = line.split()
            lives[host.name, guest] = pid
    return lives


_TELL = f"""
exec 2>&1
cpu-guardctl status
virsh list --all
for thread in /proc/$(systemctl show --property=MainPID --value {_GUARD})/task/*; do
    echo "$(cat $thread/comm) waits in $(cat $thread/wchan): $(cat $thread/syscall)"
done
journalctl --output=short-precise ${{1:+--cursor="$1"}}
"""

# -- hosts made ready, and made as they were

_PREPARE = f"""
set -e
mkdir -p /run/systemd/system/cpu-guardd.service.d
printf '[Service]\\nWatchdogSec=5\\nTimeoutStopSec=5\\n' \\
    >/run/systemd/system/cpu-guardd.service.d/50-faults.conf
systemctl daemon-reload
systemctl stop cpu-guardd.socket cpu-guardd.service
if ! mountpoint -q {STATE}; then
    cp -a {STATE} {STATE}.kept
    mount -t tmpfs -o size=4m tmpfs {STATE}
    cp -aT {STATE}.kept {STATE}
fi
mount -o remount,size=1g /run
systemctl start cpu-guardd.socket cpu-guardd.service
"""
_UNDO = f"""
systemctl stop cpu-guardd.socket cpu-guardd.service impostor.service crowd.service
rm -f /run/systemd/system/cpu-guardd.service.d/*
systemctl daemon-reload
umount {STATE}; rm -rf {STATE}.kept
systemctl start {guard.JOURNALD}
systemctl reset-failed
systemctl start cpu-guardd.socket cpu-guardd.service
"""


@contextmanager
def prepared(host: Host, files: Mapping[str, Path]) -> Iterator[None]:
    """Have *host* ready for all faults, with *files*; make it as it was in the end."""
    host.reset()
    for path, source in files.items():
        host.push(source, path)
    host.shell(_PREPARE)
    try:
        yield
    finally:
        host.shell(_UNDO, check=False)
        guard.configure(host, "")


@contextmanager
def needed(chosen: Sequence[str]) -> Iterator[Mapping[str, Path]]:
    """Give what the *chosen* faults need in a host, by the path there."""
    files = {IMPOSTOR: Path(__file__).with_name("impostor.py")}
    with ExitStack() as stack:
        if "clock jumps" in chosen:
            files[FAKETIME] = stack.enter_context(libfaketime())
        if "upgraded" in chosen:
            files[f"{PACKAGES}/next.deb"] = stack.enter_context(guard.other_package())
        if "downgraded" in chosen:
            files[f"{PACKAGES}/old.deb"] = stack.enter_context(guard.other_package(OLD))
        if {"upgraded", "downgraded"} & set(chosen):
            files[f"{PACKAGES}/this.deb"] = guard.build_package()
        yield files


@contextmanager
def libfaketime() -> Iterator[Path]:
    """Give Debian's libfaketime: the hosts share one clock, and none may set it."""
    with tempfile.TemporaryDirectory() as folder:
        for command in (
            ["apt-get", "download", "--quiet", "libfaketime"],
            ["sh", "-c", "dpkg-deb --extract libfaketime_*.deb ."],
        ):
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
            )
            if done.returncode != 0:
                raise LabError(f"no libfaketime for the clock's faults: {done.stderr.strip()}")
        yield next(Path(folder).glob("usr/lib/*/faketime/libfaketime.so.1"))


# -- the run


def rounds(pair: Sequence[Host], chosen: Sequence[str], count: int, seed: str) -> Iterator[Round]:
    """Play *count* rounds of the *chosen* faults on *pair*, each turn in an order of its own."""
    chance = random.Random(f"{seed} {pair[0].name}")  # noqa: S311 - no secret
    order: list[str] = []
    for number in range(count):
        if not order:
            answer = ANSWERS[number // len(chosen) % len(ANSWERS)]
            words = f'on_unavailable = "{answer}"\non_cannot_tell = "{answer}"\n'
            for host in pair:
                guard.configure(host, words)
            order = chance.sample(chosen, len(chosen))
        done = Round(number=number, name=order.pop(), host=chance.choice(pair), answer=answer)
        try:
            play(pair, done, chance)
        except LabError as exc:
            done.broken = str(exc)
        yield done


@dataclass(slots=True)
class Tally:
    """What came of all rounds of one fault."""

    rounds: int = 0
    hooks: int = 0
    slowest_hook: float = 0.0
    slowest_list: float = 0.0
    slowest_resume: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, done: Round, violations: int) -> None:
        """Count a round."""
        self.rounds += 1
        self.slowest_resume = max(self.slowest_resume, done.resume_seconds)
        self.counts["violations"] += violations
        for act in done.acts:
            if act.what is What.HOOK:
                self.hooks += 1
                self.slowest_hook = max(self.slowest_hook, act.seconds)
            if act.what is What.LIST:
                self.slowest_list = max(self.slowest_list, act.seconds)
            if act.what in JUDGED and (act.code == 0 or act.is_refused):
                self.counts["verdicts"] += 1
                self.counts["vetoes"] += act.is_refused
                self.counts["unjudged"] += act.is_refused is act.fits

    def row(self, name: str) -> str:
        """Write a row of the table."""
        counts = [str(self.counts[key]) for key in ("verdicts", "vetoes", "unjudged", "violations")]
        times = (self.slowest_hook, self.slowest_list, self.slowest_resume)
        cells = [name, str(self.rounds), str(self.hooks), *(f"{t:.2f} s" for t in times), *counts]
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| fault | rounds | hook calls | slowest | slowest list | resumed in"
    " | verdicts | vetoes | unjudged | violations |\n|---|" + "--:|" * 9
)


def run_pair(
    pair: Sequence[Host],
    files: Mapping[str, Path],
    count: int,
    seed: str,
    tallies: Mapping[str, Tally],
) -> None:
    """Play on *pair*; print each round, and count it in *tallies*, by fault."""
    with ExitStack() as stack:
        for host in pair:
            stack.enter_context(prepared(host, files))
        stack.callback(clear, pair)
        for done in rounds(pair, list(tallies), count, seed):
            found = violations_of(done)
            tallies[done.name].add(done, len(found))
            line = f"{done.number:4} {done.host.name} {done.name} ({done.answer})"
            if found:
                found.append(f"what the host says: {keep_evidence(done)}")
            print("\n     ".join([f"{line}: {len(done.acts)} acts", *found]), flush=True)


def violations_of(done: Round) -> list[str]:
    """Name what did not hold."""
    if done.broken:
        return [f"not played: {done.broken}"]
    return [f"{check.__name__}: {said}" for check in INVARIANTS for said in check(done)]


def keep_evidence(done: Round) -> Path:
    """Write down what the host of a round says of it, before the next one; give the file."""
    path = EVIDENCE / f"{done.host.name}-{done.number}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = done.host.shell(_TELL, done.since, check=False)
    path.write_text(f"{said.stdout}\n{said.stderr}", encoding="utf-8")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=len(FAULTS) * 2, help="of all pairs together")
    parser.add_argument("--seed", default=str(time.time_ns()), help="repeats what was random")
    parser.add_argument("--only", nargs="+", default=list(FAULTS), choices=FAULTS, metavar="FAULT")
    parser.add_argument("--pair", nargs="+", default=[pair[0] for pair in PAIRS], metavar="HOST")
    return parser


def main() -> int:
    """Run, print the table; 1 where something did not hold."""
    args = _parser().parse_args()
    reason = hosts.obstacle()
    if reason is not None:
        sys.exit(f"faults: {reason}")
    pairs = [[HOSTS[name] for name in names] for names in PAIRS if names[0] in args.pair]
    hosts.up([host for pair in pairs for host in pair])
    package = guard.build_package()
    for host in (host for pair in pairs for host in pair):
        guard.install(host, package)
    print(f"seed {args.seed}", flush=True)
    counted = [{name: Tally() for name in args.only} for _ in pairs]
    share = -(-args.rounds // len(pairs))
    try:
        with needed(args.only) as files, ThreadPoolExecutor() as pool:
            runs = [
                pool.submit(run_pair, pair, files, share, args.seed, tallies)
                for pair, tallies in zip(pairs, counted, strict=True)
            ]
        for run in runs:
            run.result()
    finally:
        everything = _print_table(counted)
    return 1 if everything.counts["violations"] else 0


def _print_table(counted: Sequence[Mapping[str, Tally]]) -> Tally:
    """Print what was *counted* on each pair together; give the sum of all."""
    print(HEAD)
    everything = Tally()
    for name in FAULTS:
        total = Tally()
        for tallies in counted:
            if name in tallies:
                _merge(total, tallies[name])
        if total.rounds:
            print(total.row(name))
        _merge(everything, total)
    print(everything.row("all"), flush=True)
    return everything


def _merge(into: Tally, other: Tally) -> None:
    into.rounds += other.rounds
    into.hooks += other.hooks
    into.slowest_hook = max(into.slowest_hook, other.slowest_hook)
    into.slowest_list = max(into.slowest_list, other.slowest_list)
    into.slowest_resume = max(into.slowest_resume, other.slowest_resume)
    into.counts.update(other.counts)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LabError, TimedOut) as error:
        sys.exit(f"faults: {error}")
