"""Breaks what cpu-guardd stands on, over and over, under load, and looks whether it held.

    python3 -m tests.lab.faults --rounds 200        as root; `make faults ROUNDS=200`

A round: a load begins on a pair of hosts, a fault comes to one of them at a random moment, goes,
the load ends, and everything in INVARIANTS is looked at. What is random goes by --seed.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import guard, hosts
from tests.lab.faults.catalogue import FAULTS
from tests.lab.faults.invariants import JUDGED, Round, violations_of
from tests.lab.faults.prepare import needed, prepared
from tests.lab.faults.rounds import keep_evidence, rounds
from tests.lab.host import HOSTS, Host
from tests.lab.load import What, clear
from tests.lab.process import LabError, TimedOut

PAIRS = (("hosta", "hostb"), ("hostc", "hostd"))


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
