"""The smallest change with which a guest fits."""

import pytest

from guardd.errors import NoFix
from guardd.facts.domain import Guest, parse_domain, rewrite_cpu
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.finding import Verdict
from guardd.judge.fix import Fix, Judges, fix_guest
from tests.judge.table import HASWELL, HASWELL_11, OWN_MAP, POWER9, cpu, domain, judged, mode

MODELS = ("Haswell-noTSX", "Nehalem", "Penryn", "core2duo", "qemu64")


def judges(*hosts: HostSnapshot, toml: str = "", xml: str) -> Judges:
    """Judge as for a start on each of *hosts*."""

    def judge_all(guest: Guest) -> list[Verdict]:
        text = rewrite_cpu(xml, guest.cpu).domain
        return [judged(host, text, toml=toml) for host in hosts]

    return judge_all


def fixed(xml: str, *hosts: HostSnapshot, toml: str = "") -> Fix:
    """Fix a domain."""
    return fix_guest(parse_domain(xml), judges(*hosts, toml=toml, xml=xml), OWN_MAP, MODELS)


@pytest.mark.parametrize(
    ("cpu_xml", "toml", "steps"),
    [
        pytest.param(cpu("Nehalem"), "", (), id="fits"),
        pytest.param(
            cpu("Nehalem", "require avx512f"), "", ("disable avx512f",), id="explicit feature"
        ),
        pytest.param(
            cpu("Haswell-noTSX", "forbid avx2", "require rtm"),
            "",
            ("disable avx2 in place of forbidding it", "disable rtm"),
            id="forbidden",
        ),
        pytest.param(
            cpu("Nehalem", "require sse4.2", attributes="match='strict'"),
            "",
            ("match='exact' for 'strict'",),
            id="strict",
        ),
        pytest.param(
            cpu("Nehalem", "require sse4.2").replace("</model>", "</model><vendor>AMD</vendor>"),
            "",
            ("remove <vendor> AMD",),
            id="vendor",
        ),
        pytest.param(
            cpu("Nehalem", "require made-up"), "", ("name made-up no more",), id="unknown feature"
        ),
        pytest.param(
            cpu("MadeUp"),
            "",
            ("use model Haswell-noTSX in place of MadeUp",),
            id="unknown model",
        ),
        pytest.param(
            mode("host-passthrough"),
            '[ceiling]\nx86_64 = "Nehalem"\n',
            None,
            id="above the ceiling",
        ),
    ],
)
def test_steps(cpu_xml: str, toml: str, steps: tuple[str, ...] | None) -> None:
    """Each finding gets the one edit that answers it, and the result is taken."""
    xml = domain(cpu_xml)
    fix = fixed(xml, HASWELL, HASWELL_11, toml=toml)

    if steps is not None:
        assert steps == fix.steps
    text = rewrite_cpu(xml, fix.cpu).domain
    assert not any(judged(host, text, toml=toml).refused for host in (HASWELL, HASWELL_11))


def test_power() -> None:
    """A compatibility mode that the host has."""
    xml = domain(mode("host-model", model="power10"), arch="ppc64le")

    fix = fixed(xml, POWER9)

    assert ("use mode='host-model' with model power9",) == fix.steps


def test_what_it_loses() -> None:
    """What guards against attacks is told apart."""
    fix = fixed(domain(cpu("Haswell-noTSX", "require avx512f", "require md-clear")), HASWELL)

    assert ("avx512f", "md-clear") == fix.lost
    assert ("md-clear",) == fix.mitigations


def test_many_features_or_an_older_model() -> None:
    """Fifteen edits are no small change where an older model is one."""
    fix = fixed(domain(cpu("Skylake-Server")), HASWELL_11)

    assert "use model Haswell-noTSX in place of Skylake-Server" == fix.steps[0]


def test_no_fix() -> None:
    """Where the guest's architecture is not the host's, no <cpu> helps: the error says why."""
    xml = domain(cpu("Nehalem"), arch="i686", virt="kvm").replace("i686", "s390x")

    assert fixed(xml, HASWELL).steps == ()
    with pytest.raises(NoFix, match="nothing is known"):
        fixed(xml, HASWELL, toml='on_cannot_tell = "deny"')
