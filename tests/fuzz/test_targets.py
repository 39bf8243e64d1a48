"""A short run of each target: what `make fuzz` does for long. The number stands for the input."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Target

MOST_MUTATIONS = 6


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    """They are good: fuzzing starts from what is understood."""
    target = TARGETS[name]
    for seed in target.seeds:
        target.run(seed)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@given(number=st.integers(0, 2**32))
def test_mutations(target: Target, number: int) -> None:
    """Whatever is made of them, what must hold does."""
    random = Random(number)
    data = random.choice(target.seeds)
    for _ in range(random.randrange(1, MOST_MUTATIONS)):
        data = target.mutate(data, random)
    target.run(data)
