"""A round: a load begins, a fault comes and goes, the load ends, and all that was seen is told."""

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab import guard, stamps
from tests.lab.faults.catalogue import MAIN_PID
from tests.lab.faults.invariants import Round
from tests.lab.guests import domain_xml
from tests.lab.host import Host
from tests.lab.load import KEEPERS, MAXIMUM, ROAMER, Load, settle
from tests.lab.process import LabError

ANSWERS = ("allow", "deny")  # on_unavailable and on_cannot_tell, each for a turn of all faults
RESUME_SECONDS = 60  # the watcher looks for libvirt after 30 s at the latest
EVIDENCE = guard.ROOT / "build/faults"


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
for thread in /proc/{MAIN_PID}/task/*; do
    echo "$(cat $thread/comm) waits in $(cat $thread/wchan): $(cat $thread/syscall)"
done
journalctl --output=short-precise ${{1:+--cursor="$1"}}
"""


def keep_evidence(done: Round) -> Path:
    """Write down what the host of a round says of it, before the next one; give the file."""
    path = EVIDENCE / f"{done.host.name}-{done.number}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = done.host.shell(_TELL, done.since, check=False)
    path.write_text(f"{said.stdout}\n{said.stderr}", encoding="utf-8")
    return path
