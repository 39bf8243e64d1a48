"""The CPU drivers beside libvirt's in C: compare, parse and compare, baseline."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.clibvirt import CLibrary
from bench.rounds import interleaved, medians
from bench.table import Row, against
from bench.texts import HASWELL_GUEST, SKYLAKE_HOST, hosts
from guardd import cpu
from guardd.cpu.definition import Arch
from guardd.cpu.xml import parse_cpu
from guardd.probe.cpu_map import read_cpu_map

X86 = Arch.X86_64
IN_C = "libvirt's C by ctypes (some 0.3 us a call)"


def rows(rounds: int) -> Iterator[Row]:
    """Hold each of ours against the same in C."""
    cpu_map, library = read_cpu_map(), CLibrary()
    texts = SKYLAKE_HOST.encode(), HASWELL_GUEST.encode()
    host, guest = (parse_cpu(text) for text in texts)
    in_c = [library.parse(text) for text in texts]
    found = medians(
        interleaved(
            {
                "compare": lambda: cpu.compare(cpu_map, X86, host, guest),
                "compare in C": lambda: library.compare(*in_c),
                "parse": lambda: cpu.compare(cpu_map, X86, *map(parse_cpu, texts)),
                "parse in C": lambda: library.parse_and_compare(*texts),
            },
            rounds=rounds,
            times=50,
        )
    )
    what = "compare a Skylake host and a Haswell guest"
    yield against(what, found["compare"], found["compare in C"], IN_C, 1.0)
    yield against(f"{what}, from XML", found["parse"], found["parse in C"], IN_C, 1.0)

    few = [parse_cpu(text) for text in hosts(250, kinds=12)]
    few_in_c = [library.parse(text.encode()) for text in hosts(250, kinds=12)]
    ours, peer = "ours", "peer"
    found = medians(
        interleaved(
            {
                ours: lambda: cpu.baseline(cpu_map, X86, few),
                peer: lambda: library.baseline(few_in_c),
            },
            rounds=max(3, rounds // 10),
        )
    )
    yield against("baseline of 250 hosts", found[ours], found[peer], IN_C, 1.0)
    yield from _many(cpu_map, rounds=3)


def _many(cpu_map: cpu.CPUMap, rounds: int) -> Iterator[Row]:
    """Hold many hosts against a tenth of them, of as many kinds: it must not grow faster."""
    for number in (10_000, 100_000):
        for kinds in (12, 1000):
            texts = hosts(kinds, kinds=kinds)
            # as they come from as many files: equal, but not the same
            cpus = [parse_cpu(texts[n % kinds]) for n in range(number)]
            fewer = cpus[: number // 10]
            cases = {
                "ours": partial(cpu.baseline, cpu_map, X86, cpus),
                "fewer": partial(cpu.baseline, cpu_map, X86, fewer),
            }
            found = medians(interleaved(cases, rounds=rounds))
            name = f"ours, of {number // 10}"
            what = f"baseline of {number} hosts, {kinds} distinct"
            yield against(what, found["ours"], found["fewer"], name, 12.0)
