"""One target under atheris, guided by the coverage of our modules; options are libFuzzer's.

python -m tests.fuzz.guided TARGET [OPTION...] CORPUS
"""

from __future__ import annotations

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["guardd"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run until libFuzzer has enough, or has found something."""
    target = TARGETS[sys.argv.pop(1)]

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        return target.mutate(data, Random(seed))[:max_size]

    atheris.Setup(sys.argv, target.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
