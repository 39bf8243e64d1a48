"""The compatibility modes that a host really has."""

from __future__ import annotations

import pytest

from guardd.cpu.definition import CPUDef
from guardd.cpu.driver import CompareResult, Comparison, Difference
from guardd.cpu.ppc64.compat import baseline_compat, check_compat, compat_modes
from guardd.cpu.xml import format_cpu
from guardd.errors import IncompatibleCPUs, InvalidCPU, NoModel, UnknownCompat


@pytest.mark.parametrize(
    ("model", "modes"),
    [
        ("POWER6", "power6"),
        ("POWER7_v2.3", "power6 power7"),
        ("POWER8NVL_v1.0", "power6 power7 power8"),
        ("POWER10", "power8 power9 power10"),
        ("POWER11_v2.0", "power9 power10 power11"),
        ("POWER9_v2.2_004e0202", "power7 power8 power9"),
        ("POWERPC_e5500", ""),
        ("POWER12", ""),
        ("POWER8X", ""),
    ],
)
def test_compat_modes(model: str, modes: str) -> None:
    """Its own generation and the two before it."""
    assert compat_modes(CPUDef(model=model)) == tuple(modes.split())


def test_no_model() -> None:
    """A host that libvirt could not name offers nothing that could be told."""
    with pytest.raises(NoModel):
        compat_modes(CPUDef())


def test_check_compat() -> None:
    """power6 on POWER10, which libvirt lets through, is told."""
    host = CPUDef(model="POWER10")
    assert check_compat(host, "power9") == Comparison(CompareResult.IDENTICAL)
    assert check_compat(host, "power6") == Comparison.incompatible(Difference.COMPAT, "power6")
    for mode in ("power5", "POWER8", "power 8", "power08"):
        with pytest.raises(UnknownCompat, match=mode):
            check_compat(host, mode)


def test_baseline_compat() -> None:
    """The newest mode that all of them have."""
    hosts = [CPUDef(model=name) for name in ("POWER10", "POWER8", "POWER9")]
    expected = """\
<cpu mode='host-model'>
  <model fallback='allow'>power8</model>
</cpu>"""
    assert expected == format_cpu(baseline_compat(hosts))


def test_no_baseline_compat() -> None:
    """Too far apart, or no POWER at all."""
    with pytest.raises(IncompatibleCPUs, match="serves all of POWER7, POWER10"):
        baseline_compat([CPUDef(model="POWER7"), CPUDef(model="POWER10")])
    with pytest.raises(IncompatibleCPUs, match="POWERPC_e5500"):
        baseline_compat([CPUDef(model="POWERPC_e5500")])
    with pytest.raises(InvalidCPU, match="no CPUs given"):
        baseline_compat([])
