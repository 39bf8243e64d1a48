"""Times in interleaved rounds, so that what else the machine does hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median


def interleaved(
    cases: Mapping[str, Callable[[], object]], *, rounds: int, times: int = 1
) -> dict[str, list[float]]:
    """Give the seconds of one call of each case, *rounds* of them; each is the mean of *times*."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for call in cases.values():
        call()  # what the first call fetches is no part of the others
    for _ in range(rounds):
        for name, call in cases.items():
            begin = time.perf_counter()
            for _ in range(times):
                call()
            seconds[name].append((time.perf_counter() - begin) / times)
    return seconds


def percentile(seconds: list[float], percent: float) -> float:
    """Give the value that *percent* of *seconds* do not exceed."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * percent / 100))]


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Give the median of each case."""
    return {name: median(values) for name, values in seconds.items()}
