"""The administrator's ceiling: no guest may get more CPU than the pool's oldest host has."""

import pytest

from guardd.cpu.definition import Arch, CPUDef
from guardd.errors import BadConfig
from guardd.judge.ceiling import validate_ceiling
from guardd.judge.policy import Ceiling
from tests.judge.table import (
    HASWELL,
    OWN_MAP,
    POWER9,
    POWER11,
    cpu,
    domain,
    judged,
    mode,
    told,
)

NEHALEM = '[ceiling]\nx86_64 = "Nehalem"'
HASWELL_NOTSX = '[ceiling]\nx86_64 = "Haswell-noTSX"'
POWER8 = '[ceiling]\nppc64 = "POWER8"'
FULL, NONE = "check='full'", "check='none'"

X86_ROWS = [
    pytest.param(NEHALEM, cpu("Nehalem"), "allow", id="just as high"),
    pytest.param(NEHALEM, cpu("qemu64", "disable svm"), "allow", id="lower"),
    pytest.param(NEHALEM, "", "allow", id="QEMU's default model asks for nothing"),
    pytest.param(
        NEHALEM, cpu("Haswell-noTSX"), "deny: above-ceiling aes avx avx2", id="a newer model"
    ),
    pytest.param(
        NEHALEM,
        cpu("Haswell-noTSX", "disable aes", "disable avx", "disable avx2"),
        "allow",
        id="a newer model, less what is newer",
    ),
    pytest.param(
        NEHALEM, cpu("Nehalem", "require avx"), "deny: above-ceiling avx", id="one feature more"
    ),
    pytest.param(
        NEHALEM,
        cpu("Nehalem", "force avx"),
        "deny: above-ceiling avx",
        id="one feature more, by force",
    ),
    pytest.param(
        NEHALEM,
        cpu("Nehalem", "require cmt", "require hypervisor", "require x2apic"),
        "allow",
        id="what libvirt takes out, and what every hypervisor makes",
    ),
    pytest.param(
        NEHALEM,
        cpu("Haswell"),
        "deny: missing-feature hle rtm; above-ceiling aes avx avx2",
        id="what this host cannot give is not above: it is missing",
    ),
    pytest.param(
        HASWELL_NOTSX,
        cpu("Skylake-Server", attributes=NONE),
        "warn: silent-downgrade hle rtm avx512f avx512cd avx512bw",
        id="what QEMU drops the guest will not have",
    ),
    pytest.param(
        NEHALEM,
        cpu("Skylake-Server", attributes=NONE),
        "deny: silent-downgrade hle rtm avx512f avx512cd avx512bw; above-ceiling aes avx avx2",
        id="what QEMU keeps it will have",
    ),
    pytest.param(
        NEHALEM,
        mode("host-model"),
        "deny: above-ceiling aes avx avx2",
        id="host-model is what this host can give, but for what does not migrate",
    ),
    pytest.param(
        NEHALEM,
        mode("host-passthrough"),
        "deny: above-ceiling aes avx avx2",
        id="host-passthrough is all of it, but for what does not migrate",
    ),
    pytest.param(
        NEHALEM,
        mode("host-passthrough", attributes="migratable='off'"),
        "deny: above-ceiling aes avx avx2 invtsc; invtsc invtsc",
        id="with migratable='off' it is really all",
    ),
    pytest.param(
        NEHALEM,
        mode("maximum"),
        "deny: above-ceiling aes avx avx2",
        id="and so is maximum",
    ),
    pytest.param(
        NEHALEM,
        cpu(
            "Nehalem",
            *[
                f"require {name}"
                for name in ("hypervisor", "x2apic", "tsc-deadline", "tsc_adjust", "arat")
            ],
            attributes=FULL,
        ),
        "allow",
        id="in force: what hypervisors make says nothing of the silicon",
    ),
    pytest.param(
        NEHALEM,
        cpu("Nehalem", "require avx", attributes=FULL),
        "deny: above-ceiling avx",
        id="in force: one feature more",
    ),
    pytest.param(
        NEHALEM,
        cpu("Haswell", attributes=FULL),
        "deny: missing-feature hle rtm; above-ceiling aes avx avx2 hle rtm",
        id="in force: it has all of it already, this host or not",
    ),
    pytest.param(
        "[ceiling]\nx86_64 = \"<cpu><model>Nehalem</model><feature name='aes'/></cpu>\"",
        cpu("Haswell-noTSX"),
        "deny: above-ceiling avx avx2",
        id="a ceiling that is a definition",
    ),
    pytest.param(
        '[ceiling]\nx86_64 = "<cpu><arch>x86_64</arch><model>Nehalem</model>'
        "<feature name='aes'/><feature name='avx'/></cpu>\"",
        cpu("Haswell-noTSX"),
        "deny: above-ceiling avx2",
        id="a ceiling that is a host's CPU, as virsh capabilities prints it",
    ),
    pytest.param(
        '[ceiling]\ni686 = "Nehalem"',
        cpu("Haswell-noTSX"),
        "deny: above-ceiling aes avx avx2",
        id="a ceiling counts for the whole family",
    ),
    pytest.param(POWER8, cpu("Haswell-noTSX"), "allow", id="a ceiling of another family"),
    pytest.param(
        '[ceiling]\nx86_64 = "Nehalem"\n[rules]\nabove-ceiling = "warn"',
        cpu("Haswell-noTSX"),
        "warn: above-ceiling aes avx avx2",
        id="a rule like others",
    ),
    pytest.param(
        '[ceiling]\nx86_64 = "Pentium9"',
        cpu("Nehalem"),
        "cannot-tell: unchecked Pentium9",
        id="a ceiling that this CPU map does not know is a doubt",
    ),
]


@pytest.mark.parametrize(("toml", "asked", "expected"), X86_ROWS)
def test_x86(toml: str, asked: str, expected: str) -> None:
    """Above is what the guest would have and the ceiling has not."""
    assert expected == told(judged(HASWELL, domain(asked), toml=toml))


@pytest.mark.parametrize("operation", ["migrate", "restore"])
def test_as_written_an_arriving_guest_is_not_judged(operation: str) -> None:
    """`prepare` comes with the CPU in force."""
    asked = cpu("Haswell-noTSX", attributes=NONE)

    assert "allow" == told(judged(HASWELL, domain(asked), operation=operation, toml=NEHALEM))


POWER_ROWS = [
    pytest.param(POWER8, cpu("POWER9"), "deny: above-ceiling POWER9", id="a newer generation"),
    pytest.param('[ceiling]\nppc64 = "POWER10"', cpu("POWER9"), "allow", id="an older generation"),
    pytest.param('[ceiling]\nppc64le = "POWER9"', cpu("POWER9"), "allow", id="the same"),
    pytest.param(POWER8, mode("host-model", model="power8"), "allow", id="in compat mode"),
    pytest.param(
        POWER8,
        mode("host-model", model="power9"),
        "deny: above-ceiling power9",
        id="in a newer compat mode",
    ),
    pytest.param(
        POWER8, mode("host-model"), "deny: above-ceiling POWER9", id="host-model is the host's"
    ),
    pytest.param(
        POWER8, mode("host-passthrough"), "deny: above-ceiling POWER9", id="and so is passthrough"
    ),
    pytest.param(
        POWER8,
        cpu("POWER8_v1.0", attributes=NONE),
        "warn: silent-downgrade POWER8",
        id="a legacy name is as old as what it stands for",
    ),
]


@pytest.mark.parametrize(("toml", "asked", "expected"), POWER_ROWS)
def test_power(toml: str, asked: str, expected: str) -> None:
    """PowerPC has no features: the generation counts, and that of a compatibility mode."""
    assert expected == told(judged(POWER9, domain(asked, arch="ppc64le"), toml=toml))


def test_power_of_an_unknown_generation() -> None:
    """A host that libvirt cannot name may be above or not."""
    verdict = judged(POWER11, domain(mode("host-passthrough"), arch="ppc64le"), toml=POWER8)

    assert "host-passthrough" in told(verdict)
    assert told(verdict).startswith("cannot-tell: ")


def test_sentence_and_hint() -> None:
    """Both name the ceiling."""
    (finding,) = judged(HASWELL, domain(cpu("Nehalem", "require avx")), toml=NEHALEM).findings

    assert "the guest would have avx, above this host's ceiling (Nehalem)" == finding.sentence
    assert finding.hint.startswith("use Nehalem or an older CPU model")


@pytest.mark.parametrize(
    ("arch", "model"),
    [(Arch.X86_64, "Haswell"), (Arch.PPC64, "POWER8"), (Arch.PPC64LE, "POWER10")],
)
def test_good_ceilings(arch: Arch, model: str) -> None:
    """Checked once when the configuration is read, not at a guest's start."""
    validate_ceiling(OWN_MAP, Ceiling(arch=arch, cpu=CPUDef(model=model)))


@pytest.mark.parametrize(
    ("arch", "model", "problem"),
    [
        (Arch.X86_64, "Pentium9", "ceiling for x86_64: Unknown CPU model Pentium9"),
        (Arch.PPC64, "POWERPC_e5500", "ceiling for ppc64: 'POWERPC_e5500' is not one of POWER6"),
        (Arch.PPC64, "power8", "ceiling for ppc64: 'power8' is not one of POWER6 to POWER10"),
        (Arch.PPC64, "POWER11", "ceiling for ppc64: 'POWER11' is not one of POWER6 to POWER10"),
        (Arch.AARCH64, "max", "ceiling for aarch64: its CPUs are not older or newer to libvirt"),
        (Arch.S390X, "z13", "ceiling for s390x: its CPUs are not older or newer to libvirt"),
    ],
)
def test_bad_ceilings(arch: Arch, model: str, problem: str) -> None:
    """A ceiling that cannot be used is a mistake in the configuration."""
    with pytest.raises(BadConfig) as caught:
        validate_ceiling(OWN_MAP, Ceiling(arch=arch, cpu=CPUDef(model=model)))

    assert problem in str(caught.value)


def test_two_ceilings_of_one_family() -> None:
    """The first in the file counts."""
    toml = '[ceiling]\nx86_64 = "Nehalem"\ni686 = "Haswell-noTSX"'

    assert "deny: above-ceiling aes avx avx2" == told(
        judged(HASWELL, domain(cpu("Haswell-noTSX")), toml=toml)
    )
