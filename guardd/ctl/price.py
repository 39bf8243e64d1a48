"""The price of a baseline: what each kind of host costs the others, and what leaving some buys."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from guardd import cpu
from guardd.cpu import CPUMap, Limits
from guardd.cpu.definition import Arch, CPUDef
from guardd.cpu.price import Choice, Host, Kind, covering, frontier, kinds_of, thinned
from guardd.cpu.x86.meaning import by_meaning
from guardd.cpu.xml import format_cpu
from guardd.ctl.cpufile import placed
from guardd.ctl.pool import few
from guardd.ctl.table import print_table
from guardd.errors import GuardError, NoModel
from guardd.facts.cpus import FoundCPU
from guardd.judge.compatibility import IGNORED_BY_LIBVIRT
from guardd.render import printable

ROWS = 10  # of the trade-off
NAMED = 2  # features of one meaning; more are counted
SHOWN_HOSTS = 2

Baseline = Callable[[Sequence[FoundCPU]], CPUDef]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One choice, its CPU and all features of that; None: the CPUs have no baseline, and why."""

    choice: Choice
    cpu: CPUDef | None
    features: frozenset[str]
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What `baseline --price` shows: `found` is all hosts, `rows` the trade-off, most hosts first.

    `chosen` is one of the trade-off, be it shown or not.
    """

    found: Sequence[FoundCPU]
    kinds: Sequence[Kind]
    rows: Sequence[Row]
    chosen: Row


class CoverType(click.ParamType):
    """How many hosts to cover: a number, or a share in per cent."""

    name = "N|PERCENT"

    def convert(
        self,
        value: str | Cover,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Cover:
        """Read "230" or "95%"."""
        if isinstance(value, Cover):
            return value
        number, is_share = value.removesuffix("%"), value.endswith("%")
        if not number.isascii() or not number.isdigit() or not int(number):
            self.fail(f"'{value}' is neither a number of hosts nor a percentage", param, ctx)
        if is_share and int(number) > 100:  # noqa: PLR2004 (per cent)
            self.fail(f"{value} is more than all hosts", param, ctx)
        return Cover(int(number), is_share)


@dataclass(frozen=True, slots=True)
class Cover:
    """How many hosts to cover, or how many of a hundred."""

    number: int
    is_share: bool

    def of(self, total: int) -> int:
        """Give how many of *total* hosts that is; raises BadParameter where there are not many."""
        wanted = math.ceil(self.number * total / 100) if self.is_share else self.number
        if wanted > total:
            raise click.BadParameter(f"there are {total} hosts", param_hint="--cover")
        return wanted


def price_of(
    cpu_map: CPUMap,
    arch: Arch,
    found: Sequence[FoundCPU],
    limits: Limits,
    *,
    cover: Cover | None,
    baseline: Baseline,
) -> Price:
    """Reckon the price of *found*, CPUs of *arch*; *baseline* computes the CPU of some of them.

    Raises what `cpu.features` raises, with the place of the CPU.
    """
    hosts = _hosts(cpu_map, arch, found, limits)
    choices = frontier(hosts)
    wanted = len(found) if cover is None else cover.of(len(found))
    chosen = covering(choices, len(found), wanted)
    everybody = Choice(without=(), features=hosts[0].features.intersection(*_all(hosts)))
    shown = thinned(choices, ROWS if not choices[0].without else ROWS - 1)
    if choices[0].without:
        shown = [everybody, *shown]  # they have no baseline, which is to be seen

    def row(choice: Choice) -> Row:
        out = set(choice.without)
        kept = [each for at, each in enumerate(found) if at not in out]
        try:
            result = baseline(kept)
        except GuardError as exc:
            return Row(choice=choice, cpu=None, features=frozenset(), problem=str(exc))
        return Row(choice=choice, cpu=result, features=cpu.features(cpu_map, arch, result))

    return Price(
        found=found,
        kinds=kinds_of(hosts),
        rows=[row(choice) for choice in shown],
        chosen=row(chosen or everybody),
    )


def _all(hosts: Iterable[Host]) -> list[frozenset[str]]:
    return [host.features for host in hosts]


def _hosts(cpu_map: CPUMap, arch: Arch, found: Sequence[FoundCPU], limits: Limits) -> list[Host]:
    """Give the CPUs of *found* as sets of features, without those that no baseline has."""
    never = IGNORED_BY_LIBVIRT
    if limits.migratable:
        never |= cpu.non_migratable(cpu_map, arch)
    known: dict[tuple[Any, ...], Host] = {}
    hosts = []
    for each in found:
        key = (each.cpu.model, each.cpu.vendor, frozenset(each.cpu.features.items()))
        if key not in known:
            if each.cpu.model is None:
                raise NoModel(f"{each.place}: no CPU model specified")
            with placed(each.place):
                features = cpu.features(cpu_map, arch, each.cpu)
            vendor = each.cpu.vendor or cpu.vendor_for_model(cpu_map, arch, each.cpu.model)
            known[key] = Host(features - never, vendor)
        hosts.append(known[key])
    return hosts


def show_price(price: Price) -> None:
    """Print both tables."""
    costly = [kind for kind in price.kinds if kind.gains or kind.divides]
    if costly:
        rows = [[_hosts_at(price, kind.at), str(len(kind.at)), _gain(kind)] for kind in costly]
        print_table(["WITHOUT", "HOSTS", "THE OTHERS GAIN"], rows)
    rest = len(price.kinds) - len(costly)
    if len(price.kinds) == 1:
        click.echo("All hosts are of one kind.")
    elif rest:
        which = f"the other {rest} kinds" if costly else f"{rest} kinds"
        click.echo(f"Nothing is gained without any one of {which} of hosts alone.")
    click.echo()
    print_table(
        ["COVERED", "MODEL", "FEATURES", "GAINS OVER THE LINE ABOVE", "LEFT OUT"],
        [
            _trade(price, row, above)
            for row, above in zip(price.rows, (None, *price.rows[:-1]), strict=True)
        ],
        whole={"COVERED", "MODEL", "FEATURES"},
    )


def _gain(kind: Kind) -> str:
    words = ["a baseline: there is none with them"] if kind.divides else []
    if kind.gains:
        words.append(_grouped(kind.gains))
    return "; ".join(words)


def _grouped(names: Iterable[str]) -> str:
    """Say what *names* are for, with few of them by name."""
    names = sorted(names)
    if not names:
        return "-"
    groups = [
        f"{meaning} ({len(group)})" if len(group) > NAMED else ", ".join(group)
        for meaning, group in by_meaning(names).items()
    ]
    return f"{len(names)}: {', '.join(groups)}"


def _hosts_at(price: Price, at: Sequence[int]) -> str:
    return few([price.found[place].place for place in at], SHOWN_HOSTS)


def _models_at(price: Price, at: Sequence[int]) -> str:
    models = Counter(price.found[place].cpu.model or "-" for place in at)
    shown = models.most_common(SHOWN_HOSTS)
    words = ", ".join(f"{hosts} {printable(model)}" for model, hosts in shown) or "-"
    rest = len(at) - sum(hosts for _, hosts in shown)
    return f"{words} (+{rest})" if rest else words


def _trade(price: Price, row: Row, above: Row | None) -> list[str]:
    total, without = len(price.found), row.choice.without
    covered = f"{total - len(without)} of {total}"
    if row.cpu is None:
        return [covered, "none", "-", row.problem, _models_at(price, without)]
    gains = "-"
    if above is not None and above.cpu is not None:
        lost = sorted(above.features - row.features)
        gains = _grouped(row.features - above.features) + (f"; less {', '.join(lost)}" * bool(lost))
    model, features = row.cpu.model or "-", str(len(row.features))
    return [covered, model, features, gains, _models_at(price, without)]


def note_left_out(price: Price) -> None:
    """Say on standard error whom the chosen CPU does without."""
    without = price.chosen.choice.without
    if without:
        covered = f"{len(price.found) - len(without)} of {len(price.found)}"
        places = few([price.found[at].place for at in without], ROWS)
        click.echo(f"note: this CPU runs on {covered} hosts, not on {places}", err=True)


def price_to_dict(price: Price) -> dict[str, Any]:
    """Give *price* as the JSON object that cpu-guardctl(1) describes."""
    return {
        "hosts": [each.place for each in price.found],
        "kinds": [
            {
                "hosts": [price.found[at].place for at in kind.at],
                "model": price.found[kind.at[0]].cpu.model,
                "gains": sorted(kind.gains),
                "divides": kind.divides,
            }
            for kind in price.kinds
        ],
        "trade_off": [_row_to_dict(price, row) for row in price.rows],
        "chosen": _row_to_dict(price, price.chosen),
    }


def _row_to_dict(price: Price, row: Row) -> dict[str, Any]:
    without = row.choice.without
    return {
        "covers": len(price.found) - len(without),
        "without": [price.found[at].place for at in without],
        "model": None if row.cpu is None else row.cpu.model,
        "features": sorted(row.features),
        "problem": row.problem,
        "xml": None if row.cpu is None else format_cpu(row.cpu),
    }
