"""What each of several hosts costs the rest in features, and what can be had without some of them.

A host is a set of feature names and a vendor; CPUs of two vendors have nothing in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

Features = frozenset[str]

TWO = 2  # vendors: from here on they divide


@dataclass(frozen=True, slots=True)
class Host:
    """All that counts of a host; vendor None: it goes with any."""

    features: Features
    vendor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Equal hosts, by their places in the list, and what all others would gain without them.

    `divides`: without them all others are of one vendor, with them they are not.
    """

    at: tuple[int, ...]
    gains: Features
    divides: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Hosts to leave out, by their places in the list, and what all others have in common."""

    without: tuple[int, ...]
    features: Features


def kinds_of(hosts: Sequence[Host]) -> list[Kind]:
    """Sort *hosts* into kinds, the one that costs most first.

    The effort grows with the number of kinds, not with its square.
    """
    groups: dict[Host, list[int]] = {}
    for at, host in enumerate(hosts):
        groups.setdefault(host, []).append(at)
    distinct = list(groups)
    before = _running(distinct)
    after = list(reversed(_running(distinct[::-1])))
    everything = frozenset[str]().union(*(host.features for host in distinct))
    common = _common(distinct)
    of_vendor = Counter(host.vendor for host in distinct if host.vendor is not None)
    kinds = []
    for index, (host, places) in enumerate(groups.items()):
        ahead = before[index - 1] if index else everything
        behind = after[index + 1] if index + 1 < len(distinct) else everything
        others = ahead & behind if len(distinct) > 1 else common
        is_last = host.vendor is not None and of_vendor[host.vendor] == 1
        divides = len(of_vendor) == TWO and is_last
        kinds.append(Kind(at=tuple(places), gains=others - common, divides=divides))
    return sorted(kinds, key=lambda kind: (not kind.divides, -len(kind.gains), len(kind.at)))


def frontier(hosts: Sequence[Host]) -> list[Choice]:
    """Give choices of which each leaves out more hosts than the one before, for more features.

    The first is all hosts, or those of one vendor. To find the best of all choices is hard in
    general; tried are the hosts that lack a feature, for each feature, and the least of these sets
    together. Where hosts differ by generations nothing better is to be had.
    """
    lacking = _lacking(hosts)
    masks = sorted(set(lacking.values()), key=lambda mask: (mask.bit_count(), mask))
    tried: set[int] = set()
    for start in _starts(hosts):
        together = start
        tried.add(start)
        for mask in masks:
            together |= mask
            tried |= {start | mask, together}
    tried.discard((1 << len(hosts)) - 1)
    common = _common(hosts)
    found = [(mask, _gained(lacking, mask)) for mask in tried]
    found.sort(key=lambda each: (each[0].bit_count(), -len(each[1]), each[0]))
    choices: list[Choice] = []
    for mask, gained in found:
        if not choices or len(common | gained) > len(choices[-1].features):
            without = tuple(at for at in range(len(hosts)) if mask >> at & 1)
            choices.append(Choice(without=without, features=common | gained))
    return choices


def covering(choices: Sequence[Choice], total: int, hosts: int) -> Choice | None:
    """Give the one of *choices* with most features that covers at least *hosts* of *total*."""
    enough = [choice for choice in choices if total - len(choice.without) >= hosts]
    return enough[-1] if enough else None


def thinned(choices: Sequence[Choice], limit: int) -> list[Choice]:
    """Give *limit* of *choices* at most: the first, and those that gain most over the one before.

    They stay in order.
    """
    steps = {
        index: len(choice.features) - len(choices[index - 1].features)
        for index, choice in enumerate(choices)
        if index
    }
    best = sorted(steps, key=lambda index: (-steps[index], index))[: limit - 1]
    return [choices[index] for index in sorted({0, *best})] if choices else []


def _running(hosts: Sequence[Host]) -> list[Features]:
    """Give what the first host has, the first two have in common, and so on."""
    found: list[Features] = []
    for host in hosts:
        found.append(found[-1] & host.features if found else host.features)
    return found


def _common(hosts: Sequence[Host]) -> Features:
    return reduce(Features.intersection, (host.features for host in hosts)) if hosts else Features()


def _vendors(hosts: Sequence[Host]) -> list[str]:
    return list(dict.fromkeys(host.vendor for host in hosts if host.vendor is not None))


def _lacking(hosts: Sequence[Host]) -> dict[str, int]:
    """Give, for each feature that some hosts have and some lack, a bit for each that lacks it."""
    everybody = (1 << len(hosts)) - 1
    having: dict[str, int] = {}
    members: dict[Features, int] = {}
    for at, host in enumerate(hosts):
        members[host.features] = members.get(host.features, 0) | 1 << at
    for features, mask in members.items():
        for name in features:
            having[name] = having.get(name, 0) | mask
    return {name: everybody & ~mask for name, mask in having.items() if mask != everybody}


def _starts(hosts: Sequence[Host]) -> list[int]:
    """Give what has to be left out in any case, a bit for each host: all vendors but one."""
    vendors = _vendors(hosts)
    if len(vendors) < TWO:
        return [0]
    return [
        sum(1 << at for at, host in enumerate(hosts) if host.vendor not in (None, vendor))
        for vendor in vendors
    ]


def _gained(lacking: Mapping[str, int], mask: int) -> Features:
    return frozenset(name for name, lack in lacking.items() if not lack & ~mask)
