"""The sweep: every CPU model of the map, started for real, and what the guard says of each.

The guard observes, so that libvirt decides alone; one start gives both answers.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import guard
from tests.lab.guests import domain_xml
from tests.lab.host import Host

HOSTS = ("hosta", "hostc")
SWEEP_SECONDS = 1500
# With check='none' every model starts, which takes its time: the n-th of them are enough to tell
# that the guard lets through what libvirt does; GUARDD_SWEEP=all starts each.
EVERY = 1 if os.environ.get("GUARDD_SWEEP") == "all" else 4
START_EACH = Path(__file__).with_name("start_each.py")
WHOLE = {
    "no-cpu": None,
    "host-model": "<cpu mode='host-model'/>",
    "host-passthrough": "<cpu mode='host-passthrough'/>",
    "maximum": "<cpu mode='maximum'/>",
}
# what libvirt does not compare: the guard may know better, and says so in this one way
DOWNGRADE = "silent-downgrade"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One guest of the sweep: what libvirt alone did, and what the guard would have done."""

    virt: str
    cpu: str
    check: str
    error: str | None
    codes: frozenset[str]
    line: str
    # findings on the guest that runs, if it arrived here like that
    in_force: tuple[str, ...]

    @property
    def would_refuse(self) -> bool:
        return bool(self.codes - {DOWNGRADE})

    @property
    def kind(self) -> str:
        libvirt = "refuses" if self.error else "starts"
        if self.would_refuse:
            return f"libvirt {libvirt}, guard refuses"
        return f"libvirt {libvirt}, guard {'warns' if self.codes else 'allows'}"


def sweep(host: Host) -> list[Start]:
    """Start every model under every virt type that works on *host*."""
    virts = ["qemu"]
    if host.run("test", "-w", "/dev/kvm", check=False).code == 0:
        virts.append("kvm")
    guests = dict(_guests(host, virts))
    before = host.cursor()
    xml = [
        [name, domain_xml(name, virt=virt, cpu=element)]
        for name, (virt, _, _, element) in guests.items()
    ]
    host.push(START_EACH, "/root/start_each.py")
    done = host.run("python3", "/root/start_each.py", stdin=json.dumps(xml), timeout=SWEEP_SECONDS)
    records = {r["GUARDD_DOMAIN"]: r for r in guard.verdicts(host, before)}
    return [
        Start(
            virt=virt,
            cpu=cpu,
            check=check,
            error=error,
            codes=frozenset(guard.codes(records[name])) if name in records else frozenset(),
            line=records[name]["MESSAGE"] if name in records else "not asked: libvirt refused it",
            in_force=tuple(in_force),
        )
        for name, (error, in_force) in json.loads(done.stdout).items()
        for virt, cpu, check, _ in [guests[name]]
    ]


def _guests(host: Host, virts: list[str]) -> Iterator[tuple[str, tuple[str, str, str, str | None]]]:
    models = host.virsh("cpu-models", "x86_64").stdout.split()
    for virt in virts:
        for model, check in [
            *((model, "partial") for model in models),
            *((model, "none") for model in models[::EVERY]),
        ]:
            element = (
                f"<cpu mode='custom' match='exact' check='{check}'><model>{model}</model></cpu>"
            )
            yield f"{virt}-{model}-{check}", (virt, model, check, element)
        for cpu, whole in WHOLE.items():
            yield f"{virt}-{cpu}", (virt, cpu, "default", whole)


@pytest.fixture(scope="module")
def starts(guarded: Mapping[str, Host]) -> Mapping[str, list[Start]]:
    for name in HOSTS:
        guarded[name].reset()
        guard.configure(guarded[name], 'mode = "observe"\n')
    with ThreadPoolExecutor() as pool:
        swept = dict(zip(HOSTS, pool.map(sweep, (guarded[name] for name in HOSTS)), strict=True))
    for name in HOSTS:
        guard.configure(guarded[name], "")
    if table := os.environ.get("GUARDD_SWEEP_TABLE"):
        Path(table).write_text(_table(swept))
    return swept


def _table(swept: Mapping[str, list[Start]]) -> str:
    lines = []
    for host, starts in swept.items():
        for kind, count in sorted(Counter((s.virt, s.check, s.kind) for s in starts).items()):
            lines.append(f"{host}  {kind[0]:4}  check={kind[1]:8}{count:4}  {kind[2]}")
        lines += [
            f"  {host} {s.virt} {s.cpu} check={s.check}: {s.kind}: {last_line(s.error)} | {s.line}"
            for s in starts
            if bool(s.error) is not s.would_refuse
        ]
    return "\n".join(lines) + "\n"


def last_line(error: str | None) -> str:
    """Give where an error of QEMU's ends: its warnings come before."""
    return (error or "no error").splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_no_guest_refused_that_libvirt_starts(starts: Mapping[str, list[Start]], host: str) -> None:
    """Not one false veto: neither with check='partial', nor by libvirt's defaults, nor 'none'."""
    false_vetoes = [s for s in starts[host] if s.error is None and s.would_refuse]

    assert false_vetoes == []


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_what_libvirt_compares_is_refused_alike(
    starts: Mapping[str, list[Start]], host: str
) -> None:
    """Where libvirt's own comparison refuses, the guard has refused before it."""
    by_comparison = "the CPU is incompatible with host CPU"
    missed = [
        s for s in starts[host] if s.error and by_comparison in s.error and not s.would_refuse
    ]

    assert missed == []


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_what_runs_here_may_arrive_here(starts: Mapping[str, list[Start]], host: str) -> None:
    """A guest that runs on this host, whatever QEMU made of it, fits this host."""
    assert [] == [(s.virt, s.cpu, s.check, s.in_force) for s in starts[host] if s.in_force]


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_every_start_was_judged(starts: Mapping[str, list[Start]], host: str) -> None:
    """A guest that started did so under the eyes of the guard."""
    assert [
        s for s in starts[host] if s.error is None and not s.line.startswith("cpu-guardd")
    ] == []
