"""A load for a pair of hosts: guests come and go, are saved, moved and refused; hooks are called.

Every act is kept with what it should have come to, how long it took, and what was said.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from tests.lab import guard
from tests.lab.guests import domain_xml
from tests.lab.host import Host
from tests.lab.process import TimedOut

FITS = "<cpu mode='custom' match='exact' check='none'><model>Nehalem</model></cpu>"
DOES_NOT = "<cpu mode='custom' match='exact' check='partial'><model>Skylake-Server</model></cpu>"
MAXIMUM = "<cpu mode='maximum'/>"
KEEPERS = ("keeper1", "keeper2")  # run all the time, and nobody touches them
SLEEPER, ROAMER = "sleeper", "roamer"
STANDING = (*KEEPERS, SLEEPER, ROAMER)
HUNG_SECONDS = 40.0
HUNG = -1
LIST_PAUSE_SECONDS = 0.25
SAID = "cpu-guardd["


class What(StrEnum):
    """Kinds of acts."""

    HOOK = "hook"  # the installed hook, called as libvirt calls it
    START = "start"
    SAVE = "save"
    RESTORE = "restore"  # of a managed save
    MIGRATE = "migrate"
    LIST = "list"  # what libvirtd answers to anybody


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing done on *host*, which judges *guest*; *fits*: whether that may run there.

    `code`: the exit status, HUNG where it did not end within HUNG_SECONDS. `ended`: monotonic.
    """

    what: What
    host: str
    guest: str
    fits: bool = True
    code: int
    said: str
    seconds: float
    ended: float

    @property
    def is_refused(self) -> bool:
        """Whether cpu-guardd refused it, and said so to who tried."""
        return self.code != 0 and SAID in self.said


class Load:
    """What is done to a pair of hosts from `running` on until that ends; then `acts` is whole."""

    def __init__(self, pair: Sequence[Host], mark: str, chance: random.Random) -> None:
        """*mark* tells its guests from those of other loads; *chance* picks among them."""
        self._pair = tuple(pair)
        self._mark = mark
        self._chance = chance
        self._numbers = itertools.count()
        self._over = threading.Event()
        self.acts: list[Act] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep all workers at it; an error of one is raised at the end."""
        with ThreadPoolExecutor(len(WORKERS) * len(self._pair) + 1) as pool:
            workers = [
                pool.submit(self._work, each, host) for each in WORKERS for host in self._pair
            ]
            workers.append(pool.submit(self._roam))
            try:
                yield
            finally:
                self._over.set()
        _raise_first(workers)

    def _work(self, worker: Callable[["Load", Host], None], host: Host) -> None:
        while not self._over.is_set():
            worker(self, host)

    def do(
        self,
        what: What,
        host: Host,
        guest: str,
        *argv: str,
        fits: bool = True,
        stdin: str | None = None,
        judge: Host | None = None,
    ) -> Act:
        """Run *argv* on *host* and keep how it went; *judge*: the host that judges, if another."""
        begun = time.monotonic()
        try:
            done = host.run(*argv, stdin=stdin, check=False, timeout=HUNG_SECONDS)
            code, said = done.code, done.stderr
        except TimedOut as exc:
            code, said = HUNG, str(exc)
        ended = time.monotonic()
        act = Act(
            what=what,
            host=(judge or host).name,
            guest=guest,
            fits=fits,
            code=code,
            said=said,
            seconds=ended - begun,
            ended=ended,
        )
        self.acts.append(act)
        return act

    def call_hook(self, host: Host) -> None:
        """Have the installed hook judge a guest of its own name, that fits or does not."""
        name, fits = self._next("call"), self._chance.random() < 0.5
        xml = domain_xml(name, cpu=FITS if fits else DOES_NOT)
        # what a guest that arrives really has is seen at its `prepare`
        operation = self._chance.choice(("prepare", "migrate")) if fits else "prepare"
        argv = (guard.HOOK, name, operation, "begin", "-")
        self.do(What.HOOK, host, name, *argv, fits=fits, stdin=xml)

    def start(self, host: Host) -> None:
        """Start a guest that fits, or one that does not; where it runs, destroy it."""
        name, fits = self._next("guest"), self._chance.random() < 0.5
        xml = domain_xml(name, cpu=FITS if fits else DOES_NOT)
        argv = ("virsh", "--quiet", "create", "/dev/stdin")
        if self.do(What.START, host, name, *argv, fits=fits, stdin=xml).code == 0:
            _quietly(host, "destroy", name)

    def sleep(self, host: Host) -> None:
        """Save the sleeper where it runs, wake it where it does not."""
        if self.do(What.SAVE, host, SLEEPER, "virsh", "--quiet", "managedsave", SLEEPER).code == 0:
            self.do(What.RESTORE, host, SLEEPER, "virsh", "--quiet", "start", SLEEPER)
        elif self.do(What.RESTORE, host, SLEEPER, "virsh", "--quiet", "start", SLEEPER).code != 0:
            self._over.wait(LIST_PAUSE_SECONDS)

    def list(self, host: Host) -> None:
        """Ask libvirtd for what everybody asks for."""
        self.do(What.LIST, host, "", "virsh", "--quiet", "list")
        self._over.wait(LIST_PAUSE_SECONDS)

    def _roam(self) -> None:
        """Have the roamer go to and fro; from wherever it is."""
        here, there = self._pair
        while not self._over.is_set():
            argv = ("virsh", "--quiet", "migrate", "--live", ROAMER)
            uri = f"qemu+tcp://{there.name}/system"
            if self.do(What.MIGRATE, here, ROAMER, *argv, uri, judge=there).code != 0:
                self._over.wait(LIST_PAUSE_SECONDS)
            here, there = there, here

    def _next(self, kind: str) -> str:
        return f"{kind}{self._mark}-{next(self._numbers)}"


WORKERS = (Load.call_hook, Load.start, Load.sleep, Load.list)


def _raise_first(workers: Sequence[Future[None]]) -> None:
    for worker in workers:
        worker.result()


def _quietly(host: Host, *words: str) -> None:
    """Have virsh do what may well fail: libvirtd may be away."""
    try:
        host.virsh(*words, check=False, timeout=HUNG_SECONDS)
    except TimedOut:
        return


_SETTLE = """
set -e
for guest in $(virsh --quiet list --all --name); do
    case " $* " in *" $guest "*) ;; *) virsh --quiet destroy "$guest" || true ;; esac
done
[ "$(virsh --quiet domstate sleeper)" = running ] || timeout 10 virsh --quiet start sleeper || {
    timeout 10 virsh --quiet destroy sleeper || true
    timeout 10 virsh --quiet managedsave-remove sleeper || true
    timeout 10 virsh --quiet start sleeper
}
"""
# libvirtd that is killed while it restores a guest finds it again as one that starts for ever
_WRECK = """
systemctl stop libvirtd
[ ! -e /run/libvirt/qemu/sleeper.pid ] || kill -KILL "$(cat /run/libvirt/qemu/sleeper.pid)"
rm -f /run/libvirt/qemu/sleeper.* /var/lib/libvirt/qemu/save/sleeper.save
systemctl start libvirtd
"""


def settle(pair: Sequence[Host]) -> None:
    """Bring what a load leaves back to where the next begins: all that stands, and nothing else."""
    for host in pair:
        for name in (*KEEPERS, SLEEPER):
            if guard.state(host, name) == "":
                host.virsh("define", "/dev/stdin", stdin=domain_xml(name, cpu=MAXIMUM))
            if name != SLEEPER and guard.state(host, name) != "running":
                host.virsh("start", name)
        if host.shell(_SETTLE, *STANDING, check=False).code != 0:
            host.shell(_WRECK)
            host.shell(_SETTLE, *STANDING)
    here = [host for host in pair if guard.state(host, ROAMER) == "running"]
    for host in [host for host in pair if host not in here[:1]]:
        _quietly(host, "destroy", ROAMER)
    if not here:
        pair[0].virsh("create", "/dev/stdin", stdin=domain_xml(ROAMER, cpu=FITS))


def clear(pair: Sequence[Host]) -> None:
    """Take all guests of a load away."""
    settle(pair)
    for host in pair:
        host.reset()
