"""What hosts cost each other: on all kinds of sets, and on CPUs of the map."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef
from guardd.cpu.price import Choice, Host, covering, frontier, kinds_of, thinned
from guardd.errors import GuardError
from tests.cpu.maps import reader

NAMES = "abcdefg"

features = st.frozensets(st.sampled_from(NAMES))
hosts_of_one_vendor = st.lists(st.builds(Host, features), min_size=1, max_size=8)
hosts_of_any = st.lists(
    st.builds(Host, features, st.sampled_from(["Intel", "AMD", "Hygon", None])),
    min_size=1,
    max_size=8,
)


def of(words: str) -> list[Host]:
    """Give a host for each word, its letters are its features."""
    return [Host(frozenset(word)) for word in words.split()]


def common(hosts: Sequence[Host]) -> frozenset[str]:
    """Give what all *hosts* have."""
    return frozenset.intersection(*(host.features for host in hosts))


def vendors(hosts: Sequence[Host]) -> set[str]:
    """Name the vendors of *hosts*."""
    return {host.vendor for host in hosts if host.vendor is not None}


def left(hosts: Sequence[Host], without: Sequence[int]) -> list[Host]:
    """Give *hosts* but for those at the places *without*."""
    return [host for at, host in enumerate(hosts) if at not in without]


@given(hosts_of_any)
def test_each_kind_gains_what_the_others_have(hosts: list[Host]) -> None:
    """The gain without a kind is the baseline of the others, less that of all."""
    kinds = kinds_of(hosts)

    assert list(range(len(hosts))) == sorted(at for kind in kinds for at in kind.at)
    for kind in kinds:
        assert 1 == len({hosts[at] for at in kind.at})
        others = left(hosts, kind.at)
        assert kind.gains == (common(others) - common(hosts) if others else frozenset())
        assert kind.divides == (len(vendors(hosts)) > 1 >= len(vendors(others)))


@given(hosts_of_any)
def test_the_frontier_only_gains(hosts: list[Host]) -> None:
    """Each choice has what its hosts have in common; fewer hosts have more, or are not shown."""
    choices = frontier(hosts)

    assert choices
    for choice in choices:
        others = left(hosts, choice.without)
        assert others
        assert 1 >= len(vendors(others))
        assert choice.features == common(others)
    for one, next_one in pairwise(choices):
        assert len(one.without) < len(next_one.without)
        assert len(one.features) < len(next_one.features)


@given(hosts_of_one_vendor)
def test_the_frontier_begins_with_all(hosts: list[Host]) -> None:
    """Where there is a baseline of all hosts it is the first choice."""
    assert Choice(without=(), features=common(hosts)) == frontier(hosts)[0]


@given(hosts_of_any, st.data())
def test_leaving_out_never_loses(hosts: list[Host], data: st.DataObject) -> None:
    """Whatever is left out, the rest has what all had."""
    out = data.draw(st.sets(st.integers(0, len(hosts) - 1), max_size=len(hosts) - 1))

    assert common(hosts) <= common(left(hosts, sorted(out)))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("abc abc", [(0, "abc")], id="equal"),
        pytest.param("abc abc ab", [(0, "ab"), (1, "abc")], id="one is older"),
        # to leave out either of the two gains nothing
        pytest.param("abcd abcd ab a", [(0, "a"), (1, "ab"), (2, "abcd")], id="generations"),
        pytest.param("abc abc ab ac", [(0, "a"), (1, "ab"), (2, "abc")], id="two defects"),
        pytest.param("abc abd", [(0, "ab"), (1, "abd")], id="different"),
    ],
)
def test_frontier(words: str, expected: list[tuple[int, str]]) -> None:
    """By hand."""
    choices = frontier(of(words))
    found = [(len(choice.without), "".join(sorted(choice.features))) for choice in choices]

    assert [each[0] for each in expected] == [each[0] for each in found]
    assert [len(each[1]) for each in expected] == [len(each[1]) for each in found]


def test_costliest_first() -> None:
    """The kind to look at stands first."""
    kinds = kinds_of(of("abcd abcd ab abc"))

    assert [((2,), "c")] == [(kind.at, "".join(kind.gains)) for kind in kinds][:1]


@given(hosts_of_one_vendor, st.integers(1, 9))
def test_covering(hosts: list[Host], wanted: int) -> None:
    """The best choice that covers so many hosts."""
    choices = frontier(hosts)
    chosen = covering(choices, len(hosts), wanted)

    assert (chosen is None) == (wanted > len(hosts))
    if chosen is not None:
        assert len(hosts) - len(chosen.without) >= wanted
        assert all(
            len(choice.features) <= len(chosen.features)
            for choice in choices
            if len(hosts) - len(choice.without) >= wanted
        )


@given(hosts_of_one_vendor, st.integers(1, 5))
def test_thinned(hosts: list[Host], limit: int) -> None:
    """Some of the choices, the first among them, in order."""
    choices = frontier(hosts)
    few = thinned(choices, limit)

    assert min(limit, len(choices)) == len(few)
    assert choices[0] == few[0]
    assert few == [choice for choice in choices if choice in few]


def test_baselines_of_the_map() -> None:
    """What the CPUs of the map have in common is what their baseline has."""
    cpu_map = cpu.CPUMap(reader()).load()
    names = [name for name in cpu.models(cpu_map, Arch.X86_64) if name != "hidden"]
    cpus = [CPUDef(model=name) for name in names]
    hosts = [
        Host(
            cpu.features(cpu_map, Arch.X86_64, each),
            cpu.vendor_for_model(cpu_map, Arch.X86_64, str(each.model)),
        )
        for each in cpus
    ]
    for choice in frontier(hosts):
        kept = [each for at, each in enumerate(cpus) if at not in choice.without]
        result = cpu.baseline(cpu_map, Arch.X86_64, kept)
        assert choice.features == cpu.features(cpu_map, Arch.X86_64, result)
    with pytest.raises(GuardError):
        cpu.baseline(cpu_map, Arch.X86_64, cpus)


def test_ten_thousand_hosts() -> None:
    """Of a thousand kinds: the effort must not grow with the square of the hosts."""
    names = [f"f{number}" for number in range(400)]
    hosts = [Host(frozenset(names) - {names[at % 397], names[at % 2]}) for at in range(10_000)]
    begun = time.process_time()
    kinds, choices = kinds_of(hosts), frontier(hosts)

    assert len(kinds) == 793
    assert choices
    assert time.process_time() - begun < 20
