"""Reports to look at: of hosts and guests as a shop might have them, and of hostile ones.

`python -m tests.reports FILE` writes the one of docs/report.png, which shows its upper part.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.sax.saxutils import escape

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef, CPUType, Mode
from guardd.facts.domcaps import Hypervisor, ModelSupport, Usable
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.matrix import Bench, KnownBy, Matrix, Place, Traveller, traveller
from guardd.page import page
from guardd.probe.cpu_map import read_cpu_map
from guardd.render.matrix import matrix_to_dict
from tests.recordings import recorded_host

EMULATOR = "/usr/bin/qemu-system-x86_64"
MADE = "2026-11-23T02:00:00Z"

HOSTS = {
    "node1": ("Cascadelake-Server", "Intel", "6.12.9-amd64", "0x5003707"),
    "node2": ("Skylake-Server-IBRS", "Intel", "6.1.0-28-amd64", "0x2007006"),
    "node3": ("Haswell-noTSX-IBRS", "Intel", "6.1.0-28-amd64", "0x49"),
    "node4": ("EPYC-Milan", "AMD", "6.12.9-amd64", "0xa0011d5"),
}
LOST = Place(
    label="node5",
    given="qemu+ssh://node5/system",
    known_by=KnownBy.NOBODY,
    problem="ssh: connect to host node5 port 22: No route to host",
)
# <cpu>, and whether it runs
GUESTS = {
    "archive": ("Westmere", "partial", False),
    "build-1": ("Skylake-Server-IBRS", "partial", False),
    "build-2": ("Icelake-Server", "none", False),
    "db-primary": ("Cascadelake-Server", "full", True),
    "db-replica": ("Skylake-Server-IBRS", "full", True),
    "gitlab": ("Haswell-noTSX", "full", True),
    "mail": ("Nehalem", "full", True),
    "vpn": ("EPYC-Rome", "none", False),
    "web-1": ("Haswell-noTSX-IBRS", "full", True),
    "web-2": ("Haswell-noTSX-IBRS", "partial", False),
}
HOSTILE = (
    "<script>alert(1)</script>",
    "\"quotes'&amp;--></style>",
    "{{ 7 * 7 }}{% raw %}",
    "שרת דואר",
    "left\u202eto right\u2066",
    "🚀 ракета 👩‍🚀",
    "x" * 200,
    " blanks  within ",
    "\udcffnot UTF-8",
)


def domain(name: str, cpu_xml: str, *, runs: bool = False) -> str:
    """Write a domain as short as it may be."""
    return (
        f"<domain type='kvm'{' id=' + repr('7') if runs else ''}><name>{escape(name)}</name>"
        f"<os><type arch='x86_64' machine='q35'>hvm</type></os>{cpu_xml}"
        f"<devices><emulator>{EMULATOR}</emulator></devices></domain>"
    )


def guest(name: str, model: str, check: str = "partial", *, runs: bool = False) -> Traveller:
    """Give a guest with a CPU of that model."""
    cpu_xml = f"<cpu mode='custom' match='exact' check='{check}'><model>{model}</model></cpu>"
    return traveller(name, "", domain(name, cpu_xml, runs=runs))


def host(name: str, cpu_map: CPUMap) -> HostSnapshot:
    """Give one of HOSTS: it has all of its model, and all models that are made of no more."""
    model, vendor, kernel, microcode = HOSTS[name]
    own = cpu.features(cpu_map, Arch.X86_64, CPUDef(model=model))
    offered = {}
    for each in cpu.models(cpu_map, Arch.X86_64):
        blockers = tuple(sorted(cpu.features(cpu_map, Arch.X86_64, CPUDef(model=each)) - own))
        usable = Usable.NO if blockers else Usable.YES
        offered[each] = ModelSupport(usable=usable, blockers=blockers)
    given = CPUDef(model=model, vendor=vendor)
    kvm = Hypervisor(
        virt_type="kvm",
        arch=Arch.X86_64,
        machine="q35",
        emulator=EMULATOR,
        modes=frozenset(Mode),
        host_model=given,
        models=MappingProxyType(offered),
    )
    return HostSnapshot(
        hostname=name,
        taken="2026-11-23T01:30:00Z",
        libvirt="11.3.0" if "6.12" in kernel else "9.0.0",
        qemu="10.0.2" if "6.12" in kernel else "7.2.15",
        arch=Arch.X86_64,
        host_cpu=CPUDef(type=CPUType.HOST, arch=Arch.X86_64, model=model, vendor=vendor),
        hypervisors=(kvm,),
        fingerprint=MappingProxyType({"kernel": f"{kernel} #1 SMP", "microcode": microcode}),
    )


def document(places: Sequence[Place], guests: Sequence[Traveller], cpu_map: CPUMap) -> Any:  # noqa: ANN401
    """Judge *guests* on *places* and give what a page is made of."""
    bench = Bench(places, {each.virt_type for each in guests}, cpu_map)
    matrix = Matrix(places=tuple(places), rows=tuple(map(bench.row, guests)))
    return matrix_to_dict(matrix, made=MADE, title=f"Where the guests of {places[0].label} can run")


def shop() -> Any:  # noqa: ANN401
    """Give the report of a shop; it needs libvirt's CPU map."""
    cpu_map = read_cpu_map()
    known = [host(name, cpu_map) for name in HOSTS]
    places = [_place(each, is_here=at == 0) for at, each in enumerate(known)]
    guests = [guest(name, model, check, runs=runs) for name, (model, check, runs) in GUESTS.items()]
    return document([*places, LOST], guests, cpu_map)


def hostile(cpu_map: CPUMap) -> Any:  # noqa: ANN401
    """Give a report in which everything that somebody else chooses is hostile."""
    names = [*HOSTILE, "last"]
    here = _place(recorded_host("haswell"), is_here=True)
    there = Place(
        label=HOSTILE[0], given=HOSTILE[1], known_by=KnownBy.NOBODY, problem="".join(HOSTILE)
    )
    models = [*HOSTILE, "Skylake-Server"]
    guests = [
        guest(name, escape(model.replace("\udcff", "")))
        for name, model in zip(names, models, strict=True)
    ]
    return document([here, there], guests, cpu_map) | {"title": "".join(HOSTILE)}


def _place(known: HostSnapshot, *, is_here: bool) -> Place:
    return Place(
        label=known.hostname,
        given="" if is_here else f"{known.hostname}.json",
        known_by=KnownBy.HERE if is_here else KnownBy.FILE,
        snapshot=known,
    )


def written(found: Any) -> str:  # noqa: ANN401
    """Give the page of a report."""
    template = resources.files("guardd.ctl").joinpath("report.html.j2").read_text(encoding="utf-8")
    return page(found, template)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(written(shop()), encoding="utf-8")
