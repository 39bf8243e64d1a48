"""The question that libvirt is asked about a guest, and our answer to the same."""

import pytest

from guardd.cpu import CPUMap
from guardd.cpu.driver import CompareResult, Comparison
from guardd.facts.domain import parse_domain
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.opinion import agrees, in_words, own_answer, question_for
from tests.judge.table import HASWELL, HASWELL_11, OLD_MAP, OWN_MAP, POWER9, cpu, domain, mode

PARTIAL = "check='partial'"


@pytest.mark.parametrize(
    ("xml", "is_asked"),
    [
        pytest.param(domain(cpu("Nehalem", attributes=PARTIAL)), True, id="partial"),
        pytest.param(domain(cpu("Nehalem", attributes="check='full'")), True, id="full"),
        pytest.param(domain(cpu("Nehalem")), True, id="by default on KVM"),
        pytest.param(domain(cpu("Nehalem"), virt="qemu"), False, id="by default under TCG"),
        pytest.param(domain(cpu("Nehalem", attributes=PARTIAL), virt="qemu"), True, id="TCG"),
        pytest.param(domain(cpu("Nehalem", attributes="check='none'")), False, id="none"),
        pytest.param(domain(mode("host-passthrough")), False, id="host-passthrough"),
        pytest.param(domain(mode("maximum", attributes=PARTIAL)), False, id="maximum"),
        pytest.param(domain(mode("host-model")), False, id="host-model asks for nothing"),
        pytest.param(domain(mode("host-model", "require aes")), True, id="host-model and more"),
        pytest.param(domain(""), False, id="no cpu"),
        pytest.param(domain("<cpu><topology sockets='1' cores='1' threads='1'/></cpu>"), False),
    ],
)
def test_question(xml: str, *, is_asked: bool) -> None:
    """libvirt is asked about what it checks at a start."""
    question = question_for(parse_domain(xml))

    assert (question is not None) is is_asked


def test_question_in_libvirts_words() -> None:
    """The very <cpu>, and the hypervisor of that guest."""
    xml = domain(cpu("Nehalem", "disable aes", attributes=PARTIAL), emulator="/usr/bin/qemu")
    question = question_for(parse_domain(xml))

    assert question is not None
    assert ("kvm", "x86_64", "q35", "/usr/bin/qemu") == question.key
    assert (
        "<cpu mode='custom' match='exact' check='partial'>\n"
        "  <model fallback='allow'>Nehalem</model>\n"
        "  <feature policy='disable' name='aes'/>\n"
        "</cpu>"
    ) == question.cpu.rstrip("\n")


@pytest.mark.parametrize(
    ("host", "cpu_map", "asked", "expected"),
    [
        pytest.param(HASWELL, OLD_MAP, cpu("Nehalem"), "superset", id="less"),
        pytest.param(
            HASWELL,
            OLD_MAP,
            cpu("Skylake-Server"),
            "incompatible: missing-feature hle rtm avx512f avx512cd avx512bw",
            id="more",
        ),
        pytest.param(
            HASWELL,
            OLD_MAP,
            cpu("Nehalem", "forbid vme"),
            "incompatible: forbidden-feature vme",
            id="forbidden",
        ),
        pytest.param(
            HASWELL, OLD_MAP, cpu("Mystery"), "unknown-model: Unknown CPU model Mystery", id="map"
        ),
        pytest.param(HASWELL_11, OWN_MAP, cpu("Nehalem"), "superset", id="usable, says QEMU"),
        pytest.param(
            HASWELL_11,
            OWN_MAP,
            cpu("Skylake-Server-v1"),
            "incompatible: missing-feature avx512bw avx512cd avx512f hle rtm",
            id="QEMU's blockers, in its order",
        ),
    ],
)
def test_own_answer(host: HostSnapshot, cpu_map: CPUMap, asked: str, expected: str) -> None:
    """What libvirt's compareHypervisorCPU would say, by the same data."""
    guest = parse_domain(domain(asked, machine="", emulator=""))
    assert guest.cpu is not None
    answer = own_answer(guest, guest.cpu, host, cpu_map)

    assert answer is not None
    assert expected == in_words(answer[0])


def test_no_answer() -> None:
    """Where another machine is known only, or none, or libvirt tells of no CPU."""
    here, other = (domain(cpu("Nehalem"), machine=machine) for machine in ("", "pc-q35-0.1"))
    nothing = HASWELL._replace(
        hypervisors=tuple(h._replace(host_model=None) for h in HASWELL.hypervisors)
    )

    for host, xml in ((HASWELL, other), (POWER9, here), (nothing, here)):
        guest = parse_domain(xml)
        assert guest.cpu is not None
        assert own_answer(guest, guest.cpu, host, OWN_MAP) is None


@pytest.mark.parametrize(
    ("result", "libvirts", "expected"),
    [
        (CompareResult.SUPERSET, "superset", True),
        (CompareResult.IDENTICAL, "identical", True),
        (CompareResult.INCOMPATIBLE, "incompatible", True),
        (CompareResult.SUPERSET, "identical", False),
        (CompareResult.INCOMPATIBLE, "superset", False),
    ],
)
def test_agrees(result: CompareResult, libvirts: str, *, expected: bool) -> None:
    """Word for word."""
    assert expected is agrees(Comparison(result), libvirts)
