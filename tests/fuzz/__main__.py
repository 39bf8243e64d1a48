"""Fuzz each target for long, and print what it came to: python -m tests.fuzz --help."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.mutations import LONGEST
from tests.fuzz.targets import TARGETS

FOR_LONG = ("wire", "domain")  # what a guest's owner writes; the rest gets a tenth
SECONDS_EACH = 10  # for one input: libFuzzer calls it a hang then
MEBIBYTES = 1024

_PROGRESS = re.compile(r"^#\d+\s+(\w+)\s+cov: (\d+)", re.MULTILINE)
_STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
HEADER = (
    "target         inputs  coverage (seeds, end)  new inputs  slowest s  peak MB  wall s  found"
)


def main() -> int:
    """Give 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--runs", type=int, default=500_000, help="inputs for wire and domain each")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time")
    parser.add_argument("--folder", type=Path, help="where inputs are kept, and what was found")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="guardd-fuzz-"))
    print(f"inputs and logs below {folder}", HEADER, sep="\n", flush=True)

    def run(name: str) -> bool:
        number = given.runs if name in FOR_LONG else max(given.runs // 10, 1)
        return run_one(name, number, folder)

    with ThreadPoolExecutor(given.jobs) as pool:
        found = list(pool.map(run, given.targets or TARGETS))
    return int(any(found))


def run_one(name: str, number: int, folder: Path) -> bool:
    """Fuzz one target, print its row, and tell whether something was found."""
    corpus, artifacts = folder / name, folder / f"{name}-found"
    for each in (corpus, artifacts):
        each.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(TARGETS[name].seeds):
        (corpus / f"seed-{at}").write_bytes(seed)
    options = (
        *(f"-runs={number}", f"-max_len={LONGEST}", f"-timeout={SECONDS_EACH}"),
        *(f"-rss_limit_mb={MEBIBYTES}", "-print_final_stats=1", f"-artifact_prefix={artifacts}/"),
    )
    begun = time.monotonic()
    with (folder / f"{name}.log").open("w+", encoding="utf-8", errors="replace") as log:
        command = [sys.executable, "-m", "tests.fuzz.guided", name, *options, str(corpus)]
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        log.seek(0)
        text = log.read()
    seconds = time.monotonic() - begun
    covered = _PROGRESS.findall(text)
    first = next((number for what, number in covered if what == "INITED"), "?")
    last = covered[-1][1] if covered else "?"
    value = dict(_STATISTIC.findall(text))
    is_found = done.returncode != 0
    print(
        f"{name:12} {value.get('number_of_executed_units', '?'):>8}  {first:>10} {last:>10}"
        f"  {value.get('new_units_added', '?'):>10}"
        f"  {value.get('slowest_unit_time_sec', '?'):>9}  {value.get('peak_rss_mb', '?'):>7}"
        f"  {seconds:6.0f}  {f'see {name}.log' if is_found else 'nothing'}",
        flush=True,
    )
    return is_found


if __name__ == "__main__":
    sys.exit(main())
