"""Physical address bits and the time stamp counter: what no comparison of features sees."""

import pytest

from guardd.cpu.definition import TSC, MaxPhysAddr, PhysAddrMode
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.stamp import Stamp
from tests.judge.table import HASWELL, born, cpu, domain, judged, mode, stamped, told

PLAIN = TSC(frequency=2_000_000_000, scaling=False)


def host_with(*, bits: int | None = 46, tsc: TSC | None = PLAIN) -> HostSnapshot:
    """Give the recorded host with another width and another counter."""
    assert HASWELL.host_cpu is not None
    width = None if bits is None else MaxPhysAddr(mode=PhysAddrMode.EMULATE, bits=bits)
    return HASWELL._replace(host_cpu=HASWELL.host_cpu._replace(maxphysaddr=width, tsc=tsc))


HOST = host_with()
OPEN = mode("host-passthrough")


def wide(bits: int | None = None, word: str = "emulate", limit: int | None = None) -> str:
    """Write <maxphysaddr>."""
    return (
        f"<maxphysaddr mode='{word}'"
        + (f" bits='{bits}'" if bits is not None else "")
        + (f" limit='{limit}'" if limit is not None else "")
        + "/>"
    )


def with_width(cpu_xml: str, width: str) -> str:
    """Put *width* into a <cpu>."""
    return cpu_xml.replace("</cpu>", f"{width}</cpu>")


def with_tsc(xml: str, frequency: str) -> str:
    """Fix the frequency of the guest's counter."""
    timer = f"<clock offset='utc'><timer name='tsc' frequency='{frequency}'/></clock>"
    return xml.replace("</domain>", f"{timer}</domain>")


FIXED_ROWS = [
    pytest.param(HOST, with_width(cpu("Nehalem"), wide(46)), "allow", id="as wide"),
    pytest.param(HOST, with_width(cpu("Nehalem"), wide(40)), "allow", id="narrower"),
    pytest.param(HOST, with_width(cpu("Nehalem"), wide(48)), "deny: phys-bits 48", id="wider"),
    pytest.param(HOST, with_width(OPEN, wide(48)), "deny: phys-bits 48", id="passthrough"),
    pytest.param(HOST, with_width(OPEN, wide(word="passthrough")), "allow", id="the host's"),
    pytest.param(host_with(bits=None), with_width(OPEN, wide(48)), "allow", id="not known"),
    pytest.param(HOST._replace(host_cpu=None), with_width(OPEN, wide(48)), "allow", id="no host"),
]


@pytest.mark.parametrize("virt", ["kvm", "qemu"])
@pytest.mark.parametrize(("host", "asked", "expected"), FIXED_ROWS)
def test_fixed_bits(host: HostSnapshot, asked: str, expected: str, virt: str) -> None:
    """libvirt 9.0.0 refuses both alike: "cannot exceed the number supported by the host CPU"."""
    if virt == "qemu":
        asked = asked.replace("host-passthrough", "maximum")

    assert expected == told(judged(host, domain(asked, virt=virt)))


PASSED_ON = with_width(OPEN, wide(word="passthrough"))
LIMITED = with_width(OPEN, wide(word="passthrough", limit=42))

SEEN_ROWS = [
    pytest.param(HOST, OPEN, HOST, "allow", id="the same"),
    pytest.param(host_with(bits=52), OPEN, HOST, "allow", id="a wider host"),
    pytest.param(host_with(bits=39), OPEN, HOST, "deny: phys-bits 46", id="a narrower host"),
    pytest.param(host_with(bits=39), PASSED_ON, HOST, "deny: phys-bits 46", id="passthrough"),
    pytest.param(host_with(bits=43), LIMITED, HOST, "allow", id="a limit that both can"),
    pytest.param(host_with(bits=39), LIMITED, HOST, "deny: phys-bits 42", id="and one cannot"),
    pytest.param(host_with(bits=None), OPEN, HOST, "allow", id="not known here"),
    pytest.param(host_with(bits=39), OPEN, host_with(bits=None), "allow", id="not known there"),
    pytest.param(
        host_with(bits=39), with_width(OPEN, wide(38)), HOST, "allow", id="a number of its own"
    ),
]


@pytest.mark.parametrize(("host", "asked", "origin", "expected"), SEEN_ROWS)
def test_seen_bits(host: HostSnapshot, asked: str, origin: HostSnapshot, expected: str) -> None:
    """Page tables that use the upper bits fault on a narrower host."""
    xml = domain(asked)

    assert expected == told(judged(host, stamped(xml, born(origin, xml)), operation="migrate"))


def test_bits_of_a_model_are_qemus_own() -> None:
    """Without <maxphysaddr> a model has the same number everywhere."""
    xml = domain(cpu("Nehalem"))
    stamp = born(HOST, domain(OPEN))._replace(phys_bits=46, model="Nehalem")

    assert "phys-bits" not in told(judged(host_with(bits=39), stamped(xml, stamp), arrives=True))


FIXED = 2_000_000_000
NEAR, FAR = 2_000_500_000, 2_000_500_001  # 250 ppm of the host's


def tsc(frequency: int, *, scaling: bool | None = False) -> HostSnapshot:
    """Give the host with a counter."""
    return host_with(tsc=TSC(frequency=frequency, scaling=scaling))


FREQUENCY_ROWS = [
    pytest.param(HOST, str(FIXED), "allow", id="the host's"),
    pytest.param(HOST, str(NEAR), "allow", id="within 250 ppm"),
    pytest.param(HOST, str(FAR), f"deny: tsc-frequency {FAR} Hz", id="beyond"),
    pytest.param(HOST, "1000000000", "deny: tsc-frequency 1000000000 Hz", id="slower"),
    pytest.param(tsc(FIXED, scaling=True), "1000000000", "allow", id="it can be scaled"),
    pytest.param(tsc(FIXED, scaling=None), "1000000000", "allow", id="not known if it can"),
    pytest.param(host_with(tsc=None), "1000000000", "allow", id="no counter known"),
    pytest.param(HOST, "fast", "allow", id="no number"),
    pytest.param(HOST, "0", "deny: tsc-frequency 0 Hz", id="nought"),
]


@pytest.mark.parametrize("operation", ["prepare", "migrate", "restore"])
@pytest.mark.parametrize("asked", [cpu("Nehalem"), ""])
@pytest.mark.parametrize(("host", "frequency", "expected"), FREQUENCY_ROWS)
def test_fixed_frequency(
    host: HostSnapshot, frequency: str, expected: str, asked: str, operation: str
) -> None:
    """libvirt's own rule at a start, before the guest has left its host."""
    xml = with_tsc(domain(asked), frequency)

    assert expected == told(judged(host, xml, operation=operation))


def test_frequency_under_tcg() -> None:
    """An emulated counter runs at any."""
    assert "allow" == told(judged(HOST, with_tsc(domain(cpu("Nehalem"), virt="qemu"), "1")))


BORN = born(HOST, domain(OPEN))
INVTSC = BORN._replace(features=BORN.features | {"invtsc"})
STAYS = mode("host-passthrough", attributes="migratable='off'")

TSC_ROWS = [
    pytest.param(HOST, OPEN, BORN, "allow", id="the same"),
    pytest.param(tsc(NEAR), OPEN, BORN, "allow", id="within 250 ppm"),
    pytest.param(
        tsc(1_000_000_000), OPEN, BORN, "warn: tsc-change 2000000000 Hz", id="another speed"
    ),
    pytest.param(tsc(1_000_000_000, scaling=True), OPEN, BORN, "allow", id="scaled"),
    pytest.param(tsc(1_000_000_000, scaling=None), OPEN, BORN, "allow", id="not known if it can"),
    pytest.param(host_with(tsc=None), OPEN, BORN, "allow", id="no counter known here"),
    pytest.param(tsc(1), OPEN, BORN._replace(tsc=None), "allow", id="no counter known there"),
    pytest.param(
        tsc(1_000_000_000),
        STAYS,
        INVTSC,
        "deny: tsc-frequency 2000000000 Hz",
        id="it was promised never to change",
    ),
]


@pytest.mark.parametrize(("host", "asked", "stamp", "expected"), TSC_ROWS)
def test_seen_frequency(host: HostSnapshot, asked: str, stamp: Stamp, expected: str) -> None:
    """What the guest took for its speed when it booted."""
    xml = stamped(domain(asked), stamp)

    assert expected == told(judged(host, xml, operation="migrate"))


def test_a_fixed_frequency_is_what_counts() -> None:
    """The guest has that, wherever it booted."""
    xml = stamped(with_tsc(domain(OPEN), str(FIXED)), BORN._replace(tsc=1))

    assert "allow" == told(judged(HOST, xml, operation="migrate"))


INVTSC_ROWS = [
    pytest.param(STAYS, "allow: invtsc invtsc", id="host-passthrough, all of it"),
    pytest.param(OPEN, "allow", id="host-passthrough leaves it out"),
    pytest.param(
        mode("host-passthrough", "require invtsc"), "allow: invtsc invtsc", id="asked for by name"
    ),
    pytest.param(
        mode("host-passthrough", "disable invtsc", attributes="migratable='off'"),
        "allow",
        id="all but that",
    ),
    pytest.param(cpu("Nehalem", "require invtsc"), "allow: invtsc invtsc", id="a model and it"),
    pytest.param(cpu("Nehalem", "force invtsc"), "allow: invtsc invtsc", id="by force"),
    pytest.param(cpu("Nehalem", "optional invtsc"), "allow", id="optional: QEMU leaves it out"),
    pytest.param(mode("host-model"), "allow", id="host-model leaves it out"),
]


@pytest.mark.parametrize(("asked", "expected"), INVTSC_ROWS)
def test_invtsc(asked: str, expected: str) -> None:
    """Said at the start: later nothing can be done about it."""
    assert expected == told(judged(HOST, domain(asked), arrives=False))
    assert "allow" == told(judged(HOST, with_tsc(domain(asked), str(FIXED)), arrives=False))


def test_invtsc_of_a_guest_that_arrives() -> None:
    """It has migrated, or was saved."""
    assert "invtsc" not in told(judged(HOST, domain(STAYS), arrives=True))


def test_sentences() -> None:
    """They tell both numbers."""
    (bits,) = judged(HOST, domain(with_width(OPEN, wide(48)))).findings
    (counter,) = judged(HOST, with_tsc(domain(OPEN), str(FAR))).findings

    assert "physical address bits: the definition asks for 48, this host has 46" == bits.sentence
    assert counter.sentence == (
        f"time stamp counter: the definition asks for {FAR} Hz, this host's runs at {FIXED} Hz"
        " and cannot be scaled"
    )
