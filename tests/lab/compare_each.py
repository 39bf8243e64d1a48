"""Run inside a guarded host: random CPUs compared by libvirtd and by our driver.

compare_each.py SEED COUNT; stdout: JSON of how many had each result, and of the differences.
"""

import json
import random
import sys
from collections import Counter
from dataclasses import dataclass

import libvirt

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef, FeaturePolicy, Match
from guardd.cpu.xml import format_cpu, parse_cpu
from guardd.errors import GuardError
from guardd.facts.capabilities import parse_capabilities
from guardd.facts.domcaps import Hypervisor, Usable, parse_domcaps
from guardd.probe.cpu_map import read_cpu_map

ARCH = Arch.X86_64
RESULTS = {0: "incompatible", 1: "identical", 2: "superset"}
VENDORS = (*[None] * 8, "Intel", "AMD")


@dataclass(frozen=True)
class Sides:
    """libvirtd, and what it said of this host."""

    connection: libvirt.virConnect
    cpu_map: CPUMap
    host: CPUDef
    hypervisor: Hypervisor

    def libvirts(self, xml: str, *, by_hypervisor: bool) -> str:
        try:
            if by_hypervisor:
                found = self.connection.compareHypervisorCPU(None, ARCH, None, "qemu", xml)
            else:
                found = self.connection.compareCPU(xml)
        except libvirt.libvirtError:
            return "error"
        return RESULTS.get(found, "error")

    def ours(self, xml: str, *, by_hypervisor: bool) -> str:
        host = self.hypervisor.host_model if by_hypervisor else self.host
        try:
            return cpu.compare(self.cpu_map, ARCH, host or self.host, parse_cpu(xml)).result
        except GuardError:
            return "error"

    def asks_qemu(self, guest: CPUDef) -> bool:
        """Whether libvirtd answers by QEMU's word on the model, and compares nothing."""
        support = self.hypervisor.models.get(guest.model or "")
        if guest.model is None or support is None or not cpu.asks_qemu(self.cpu_map, ARCH):
            return False
        only_less = all(p is FeaturePolicy.DISABLE for p in guest.features.values())
        is_usable = support.usable is Usable.YES and only_less
        return is_usable or not cpu.compat_check(self.cpu_map, ARCH, guest.model)


def drawn(chance: random.Random, models: list[str], names: list[str]) -> CPUDef:
    picked = chance.sample(names, chance.randint(0, 6))
    return CPUDef(
        model=chance.choice(models),
        vendor=chance.choice(VENDORS),
        match=chance.choice(list(Match)),
        features={name: chance.choice(list(FeaturePolicy)) for name in picked},
    )


def main() -> None:
    seed, count = map(int, sys.argv[1:3])
    chance = random.Random(seed)  # noqa: S311 (not for secrets)
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open("qemu:///system")
    host = parse_capabilities(connection.getCapabilities()).host_cpu
    hypervisor = parse_domcaps(connection.getDomainCapabilities(None, ARCH, None, "qemu"))
    cpu_map = read_cpu_map()
    if host is None:
        sys.exit("libvirt cannot name this host's CPU")
    sides = Sides(connection, cpu_map, host, hypervisor)
    models = list(cpu.models(cpu_map, ARCH))
    every = (cpu.features(cpu_map, ARCH, CPUDef(model=model)) for model in models)
    names = sorted(frozenset().union(*every))
    results: Counter[str] = Counter()
    differences = []
    for number in range(count):
        guest = drawn(chance, models, names)
        by_hypervisor = number % 2 == 1 and not sides.asks_qemu(guest)
        xml = format_cpu(guest)
        expected = sides.libvirts(xml, by_hypervisor=by_hypervisor)
        actual = sides.ours(xml, by_hypervisor=by_hypervisor)
        results[f"{'hypervisor' if by_hypervisor else 'host'} {expected}"] += 1
        if expected != actual:
            differences.append([xml, by_hypervisor, expected, actual])
    json.dump({"results": results, "differences": differences}, sys.stdout)


main()
