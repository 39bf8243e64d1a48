"""Random hosts given to the installed libvirt and to our drivers: the same baseline, or both none.

libvirt's test driver computes baselines without a daemon. Comparing needs one: tests/lab.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUType
from guardd.cpu.xml import format_cpu, parse_cpu
from guardd.errors import GuardError
from guardd.probe.cpu_map import DIRECTORY, read_cpu_map

libvirt = pytest.importorskip("libvirt", reason="python3-libvirt is not installed")

Connection: TypeAlias = Any  # libvirt has no type stubs
EXPAND = 1  # VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
# mostly none: hosts of several vendors have no baseline
VENDORS = (*[""] * 20, "Intel", "AMD", "Hygon", "IBM", "NoSuchVendor")


@pytest.fixture(scope="module")
def installed_map() -> CPUMap:
    if not DIRECTORY.is_dir():
        pytest.skip(f"no CPU map in {DIRECTORY}")
    return read_cpu_map()


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    opened = libvirt.open("test:///default")
    yield opened
    opened.close()


def host_xml(arch: Arch, model: str, vendor: str, features: list[str]) -> str:
    listed = "".join(f"<feature name='{name}'/>" for name in features)
    of_vendor = f"<vendor>{vendor}</vendor>" if vendor else ""
    return f"<cpu><arch>{arch}</arch><model>{model}</model>{of_vendor}{listed}</cpu>"


def libvirts_baseline(connection: Connection, hosts: list[str], *, expanded: bool) -> str | None:
    try:
        return str(connection.baselineCPU(hosts, EXPAND if expanded else 0)).rstrip("\n")
    except libvirt.libvirtError:
        return None


def our_baseline(cpu_map: CPUMap, arch: Arch, hosts: list[str], *, expanded: bool) -> str | None:
    try:
        parsed = [parse_cpu(host, CPUType.HOST) for host in hosts]
        result = cpu.baseline(cpu_map, arch, parsed)
        if expanded:
            result = cpu.expand(cpu_map, arch, result)
    except GuardError:
        return None
    return format_cpu(result._replace(topology=None))


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.PPC64])
def test_baseline(connection: Connection, installed_map: CPUMap, arch: Arch) -> None:
    """Any models, any vendors, any features: byte for byte what libvirt says."""
    models = [*cpu.models(installed_map, arch), "NoSuchModel"]
    names = ["no-such-feature"]
    if cpu.has_features(arch):
        every = (cpu.features(installed_map, arch, parse_cpu(f"<cpu><model>{m}</model></cpu>"))
                 for m in models[:-1])  # fmt: skip
        names += sorted(frozenset().union(*every))
    hosts = st.builds(
        host_xml,
        st.just(arch),
        st.sampled_from(models),
        st.sampled_from(VENDORS),
        st.lists(st.sampled_from(names), unique=True, max_size=12),
    )

    @settings(
        max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(st.lists(hosts, min_size=1, max_size=4), st.booleans())
    def same(drawn: list[str], expanded: bool) -> None:  # noqa: FBT001 (hypothesis draws it)
        expected = libvirts_baseline(connection, drawn, expanded=expanded)

        assert expected == our_baseline(installed_map, arch, drawn, expanded=expanded)

    same()
