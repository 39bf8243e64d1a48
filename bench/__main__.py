"""Measure, and print one table: python3 -m bench [--quick] [PART...]; as root, for its peers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from bench import hook, library, life, verdicts
from bench.table import Row, table

PARTS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "hook": lambda quick: hook.rows(rounds=20 if quick else 200),
    "verdicts": lambda quick: verdicts.rows(rounds=100 if quick else 1000),
    "library": lambda quick: library.rows(rounds=20 if quick else 200),
    "life": lambda quick: life.rows(
        rounds=100 if quick else 300,
        verdicts=20_000 if quick else 100_000,
        idle_seconds=10 if quick else 60,
    ),
}


def main() -> None:
    """Run the parts that are asked for, all by default."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer rounds: rough figures")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    rows = [row for part in options.parts or PARTS for row in PARTS[part](options.quick)]
    print(table(rows))


if __name__ == "__main__":
    main()
