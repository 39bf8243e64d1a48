"""CPUID of whole processors as text, and the means to play it back.

`python3 -m tests.probe.recordings NAME` records this machine's first core.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from guardd.probe.cpuid import Leaf, ReadLeaf, open_cpuid, read_leaves

DATA = Path(__file__).parent.parent / "data/x86"

Leaves = Mapping[tuple[int, int], Leaf]
NOTHING = Leaf(0, 0, 0, 0)


def load(name: str) -> Leaves:
    """Read tests/data/x86/*name*.cpuid: leaf, sub-leaf, EAX, EBX, ECX, EDX on a line."""
    leaves = {}
    for line in (DATA / f"{name}.cpuid").read_text().splitlines():
        if not line.startswith("#"):
            leaf, subleaf, *values = (int(word, 16) for word in line.split())
            leaves[leaf, subleaf] = Leaf(*values)
    return leaves


def player(leaves: Leaves) -> ReadLeaf:
    """Give a CPUID that answers from *leaves*, zero for others."""
    return lambda leaf, subleaf: leaves.get((leaf, subleaf), NOTHING)


def opener(cores: Mapping[int, Leaves]) -> Callable[[Path], AbstractContextManager[ReadLeaf]]:
    """Give what opens the device of each of *cores*, by its number."""

    @contextmanager
    def opened(path: Path) -> Iterator[ReadLeaf]:
        yield player(cores[int(path.parent.name)])

    return opened


def main() -> None:
    """Write what the first core says, sub-leaf by sub-leaf as it is asked."""
    asked: dict[tuple[int, int], Leaf] = {}
    with open_cpuid(Path("/dev/cpu/0/cpuid")) as read:

        def keep(leaf: int, subleaf: int) -> Leaf:
            return asked.setdefault((leaf, subleaf), read(leaf, subleaf))

        read_leaves(keep)
    lines = ["# /dev/cpu/0/cpuid, recorded by tests/probe/recordings.py"]
    for (leaf, subleaf), values in sorted(asked.items()):
        words = " ".join(f"{value:08x}" for value in values)
        lines.append(f"{leaf:08x} {subleaf:02x} {words}")
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / f"{sys.argv[1]}.cpuid").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
