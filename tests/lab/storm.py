"""A host that boots: the hook is called for all of its guests at once, against one daemon.

    python3 -m tests.lab.storm                    as root; `make storm`

Each call is timed as libvirt waits for it, from before the fork to the exit; and once more with all
processes let loose at one moment, which no libvirtd does. Who answered, the daemon or the hook by
itself, stands in the journal.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tests.lab import guard, hosts
from tests.lab.guests import domain_xml
from tests.lab.host import HOSTS, Host
from tests.lab.load import DOES_NOT, FITS

SIZES = (500, 2000)
WORKERS = 20  # libvirtd's max_workers: so many starts it works on at a time (libvirtd.conf)
ONE_IN = 10  # guests that do not fit
PROGRAM = "/root/call_each.py"
SECONDS = 300.0
PAD = "<!-- {} -->".format("x" * 9000)  # domains with their devices have some 12 kB


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """What came of one: seconds of each call, sorted, and how many were answered by whom.

    `wrong`: exit statuses that are not the right verdict; `silent`: calls without a record.
    """

    calls: int
    at_once: int
    seconds: Sequence[float]
    by_daemon: int
    by_hook: int
    unjudged: int
    wrong: int
    silent: int
    verdict_msec: Sequence[float]

    def row(self, host: str) -> str:
        """Write a row of the table."""
        p50, p99 = _at(self.seconds, 0.5), _at(self.seconds, 0.99)
        times = [f"{seconds:.2f} s" for seconds in (p50, p99, self.seconds[-1])]
        inside = [f"{_at(self.verdict_msec, share):.2f} ms" for share in (0.5, 0.99)]
        counts = (self.by_daemon, self.by_hook, self.unjudged, self.wrong, self.silent)
        cells = [host, str(self.calls), str(self.at_once), *times, *inside, *map(str, counts)]
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| host | calls | at once | p50 | p99 | max | verdict p50 | p99 | by the daemon"
    " | by the hook alone | unjudged | wrong | not in the journal |\n|---|" + "--:|" * 12
)


def run(host: Host, calls: int, at_once: int, mark: str, hook: str = guard.HOOK) -> Storm:
    """Have *hook* called on *host*, *at_once* at a time; one in ONE_IN guests does not fit."""
    names = [f"{mark}-{number}" for number in range(calls)]
    fits = {name: number % ONE_IN != 0 for number, name in enumerate(names)}
    asked = {
        "hook": hook,
        "at_once": at_once,
        "calls": [
            [name, domain_xml(name, cpu=FITS if fit else DOES_NOT) + PAD]
            for name, fit in fits.items()
        ],
    }
    before = host.cursor()
    told = host.run("python3", "-I", PROGRAM, stdin=json.dumps(asked), timeout=SECONDS).stdout
    done = [(float(seconds), int(status)) for seconds, status in json.loads(told)]
    # the daemon's thread writes after the answer
    host.wait_until(lambda: len(_records(host, before, mark)) >= calls, timeout=30)
    records = _records(host, before, mark)
    sources = [record.get("GUARDD_SOURCE", "") for record in records]
    alone = sum(source.startswith("no daemon") for source in sources)
    unjudged = sum(r["GUARDD_DECISION"] in {"unavailable", "cannot-tell"} for r in records)
    return Storm(
        calls=calls,
        at_once=at_once,
        seconds=sorted(seconds for seconds, _ in done),
        by_daemon=len(records) - alone - unjudged,
        by_hook=alone,
        unjudged=unjudged,
        wrong=sum(
            status != int(not fit) for (_, status), fit in zip(done, fits.values(), strict=True)
        ),
        silent=calls - len({record["GUARDD_DOMAIN"] for record in records}),
        verdict_msec=sorted(int(r.get("GUARDD_ELAPSED_USEC", 0)) / 1000 for r in records) or [0.0],
    )


def _records(host: Host, since: str, mark: str) -> list[guard.Record]:
    found = guard.verdicts(host, since)
    return [record for record in found if record["GUARDD_DOMAIN"].startswith(f"{mark}-")]


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="storm", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", nargs="+", default=["hosta", "hostc"], choices=HOSTS)
    parser.add_argument("--calls", nargs="+", type=int, default=SIZES, metavar="NUMBER")
    parser.add_argument("--hook", default=guard.HOOK, metavar="PATH", help="another, in the host")
    return parser


def main() -> int:
    """Run, print the table; 1 where a call was answered wrongly or by nobody."""
    args = _parser().parse_args()
    reason = hosts.obstacle()
    if reason is not None:
        sys.exit(f"storm: {reason}")
    hosts.up([HOSTS[name] for name in args.host])
    package = guard.build_package()
    print(HEAD, flush=True)
    failed = False
    for host in (HOSTS[name] for name in args.host):
        host.reset()
        guard.install(host, package)
        host.push(guard.ROOT / "tests/lab/call_each.py", PROGRAM)
        for calls in args.calls:
            for at_once in (WORKERS, calls):
                storm = run(host, calls, at_once, f"storm{calls}of{at_once}", args.hook)
                print(storm.row(host.name), flush=True)
                failed |= bool(storm.wrong or storm.silent or storm.unjudged)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
