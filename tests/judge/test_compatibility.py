"""What libvirt checks at a start, feature by feature, and what it does not check."""

import pytest

from guardd.facts.snapshot import HostSnapshot
from tests.judge.table import (
    HASWELL,
    HASWELL_11,
    NAMELESS,
    NEOVERSE,
    OLD_MAP,
    OWN_MAP,
    cpu,
    domain,
    judged,
    mode,
    told,
)

NONE, PARTIAL, FULL = (f"check='{word}'" for word in ("none", "partial", "full"))
AVX512 = ("avx512f", "avx512cd", "avx512bw")
OFF = tuple(f"disable {name}" for name in ("hle", "rtm", *AVX512))

# KVM, check unset: libvirt compares the silicon with what the guest asks for
PARTIAL_ROWS = [
    pytest.param("", "allow", id="no cpu: QEMU's default model, nothing is asked for"),
    pytest.param(
        "<cpu><topology sockets='1' cores='2' threads='1'/></cpu>", "allow", id="only a topology"
    ),
    pytest.param(cpu("Nehalem"), "allow", id="an older model"),
    pytest.param(cpu("Haswell-noTSX"), "allow", id="the host's own model"),
    pytest.param(cpu("Haswell"), "deny: missing-feature hle rtm", id="two features more"),
    pytest.param(
        cpu("Skylake-Server"),
        "deny: missing-feature hle rtm avx512f avx512cd avx512bw",
        id="a newer model: all that is missing, in map order",
    ),
    pytest.param(cpu("Haswell", "disable hle", "disable rtm"), "allow", id="missing but disabled"),
    pytest.param(
        cpu("Haswell", "disable hle"), "deny: missing-feature rtm", id="one of two disabled"
    ),
    pytest.param(cpu("Haswell", "optional hle", "optional rtm"), "allow", id="missing, optional"),
    pytest.param(cpu("Haswell", "force hle", "force rtm"), "allow", id="missing, but forced"),
    pytest.param(
        cpu("EPYC"), "deny: missing-feature svm", id="another vendor's model: only features count"
    ),
    pytest.param(cpu("Nehalem", "require avx2"), "allow", id="require: the host has it"),
    pytest.param(
        cpu("Nehalem", "require avx512f"), "deny: missing-feature avx512f", id="require: it has not"
    ),
    pytest.param(
        "<cpu><model>Nehalem</model><feature name='avx512f'/></cpu>",
        "deny: missing-feature avx512f",
        id="no policy is require",
    ),
    pytest.param(cpu("Nehalem", "force avx512f"), "allow", id="force: never compared"),
    pytest.param(cpu("Nehalem", "optional avx512f"), "allow", id="optional: never missing"),
    pytest.param(cpu("Nehalem", "disable avx2"), "allow", id="disable: the guest goes without"),
    pytest.param(cpu("Nehalem", "forbid avx512f"), "allow", id="forbid: the host has it not"),
    pytest.param(
        cpu("Nehalem", "forbid avx2"), "deny: forbidden-feature avx2", id="forbid: the host has it"
    ),
    pytest.param(
        cpu("Nehalem", "forbid avx", "forbid aes", "forbid avx512f"),
        "deny: forbidden-feature aes avx",
        id="forbid: only what the host has, in map order",
    ),
    pytest.param(
        cpu("Nehalem", "require hypervisor"), "allow", id="what KVM adds to the silicon counts"
    ),
    pytest.param(
        cpu("Nehalem", "require cmt"), "allow", id="what libvirt takes out before QEMU sees it"
    ),
    pytest.param(cpu("Haswell", *OFF, attributes="match='minimum'"), "allow", id="match minimum"),
    pytest.param(cpu("Haswell", *OFF, attributes="match='exact'"), "allow", id="match exact"),
    pytest.param(
        cpu("Haswell-noTSX", "require x2apic", attributes="match='strict'"),
        "deny: extra-feature vme tsc-deadline hypervisor arat tsc_adjust cmt umip invtsc",
        id="match strict: the host has more",
    ),
    pytest.param(
        cpu("Haswell-noTSX", attributes="match='strict'"),
        "allow",
        id="match strict of a model that QEMU calls usable: libvirt 11 looks no further",
    ),
    pytest.param(
        "<cpu><model>Haswell</model><vendor>AMD</vendor><feature policy='disable' name='hle'/>"
        "<feature policy='disable' name='rtm'/></cpu>",
        "deny: vendor-mismatch AMD",
        id="a vendor that the host is not of",
    ),
    pytest.param(
        "<cpu><model>Haswell</model><vendor>Intel</vendor><feature policy='disable' name='hle'/>"
        "<feature policy='disable' name='rtm'/></cpu>",
        "allow",
        id="the host's vendor",
    ),
    pytest.param(
        "<cpu><model>Nehalem</model><vendor>AMD</vendor></cpu>",
        "allow",
        id="another vendor with a model that QEMU calls usable: libvirt 11 looks no further",
    ),
    pytest.param(mode("host-model"), "allow", id="host-model"),
    pytest.param(
        mode("host-model", "require avx512f"),
        "deny: missing-feature avx512f",
        id="host-model and a feature that is missing",
    ),
    pytest.param(
        mode("host-model", "forbid avx2"),
        "deny: forbidden-feature avx2",
        id="host-model without a feature that the host has",
    ),
    pytest.param(mode("host-model", "disable avx2"), "allow", id="host-model less one feature"),
    pytest.param(mode("host-passthrough"), "allow", id="host-passthrough"),
    pytest.param(
        mode("host-passthrough", attributes="migratable='off'"),
        "allow: invtsc invtsc",
        id="not to be migrated",
    ),
    pytest.param(mode("maximum"), "allow", id="maximum"),
    pytest.param(cpu("Nehalem", attributes=PARTIAL), "allow", id="check partial is the default"),
    pytest.param(
        cpu("Pentium9"), "deny: unknown-model Pentium9", id="a model that libvirt does not know"
    ),
    pytest.param(
        cpu("Nehalem", "require frob"), "deny: unknown-feature frob", id="an unknown feature"
    ),
    pytest.param(
        cpu("Nehalem", "optional frob"),
        "deny: unknown-feature frob",
        id="an unknown feature is an error to libvirt even when optional",
    ),
]


@pytest.mark.parametrize(("asked", "expected"), PARTIAL_ROWS)
def test_kvm(asked: str, expected: str) -> None:
    """check='partial', the default of KVM guests: libvirt's comparison with host and KVM."""
    assert expected == told(judged(HASWELL, domain(asked)))


# QEMU drops what it cannot give, and nobody is told
NONE_ROWS = [
    pytest.param(cpu("Nehalem", attributes=NONE), "allow", id="nothing to drop"),
    pytest.param(
        cpu("Skylake-Server", attributes=NONE),
        "warn: silent-downgrade hle rtm avx512f avx512cd avx512bw",
        id="a newer model",
    ),
    pytest.param(
        cpu("qemu64", attributes=NONE),
        "warn: silent-downgrade svm",
        id="every guest without a cpu, as libvirt fills it in: it always ran, so it only warns",
    ),
    pytest.param(
        cpu("Nehalem", "require avx512f", attributes=NONE),
        "warn: silent-downgrade avx512f",
        id="a feature",
    ),
    pytest.param(cpu("Nehalem", "force avx512f", attributes=NONE), "allow", id="forced is known"),
    pytest.param(cpu("Nehalem", "optional avx512f", attributes=NONE), "allow", id="optional"),
    pytest.param(cpu("Skylake-Server", *OFF, attributes=NONE), "allow", id="all disabled"),
    pytest.param(
        cpu("Nehalem", "forbid avx2", attributes=NONE), "allow", id="forbid is not looked at"
    ),
    pytest.param(
        "<cpu check='none'><model>Nehalem</model><vendor>AMD</vendor></cpu>",
        "allow",
        id="nor is the vendor",
    ),
    pytest.param(
        cpu("Nehalem", attributes=f"match='strict' {NONE}"), "allow", id="nor is match strict"
    ),
    pytest.param(
        cpu("Nehalem", "require cmt", attributes=NONE), "allow", id="libvirt itself takes it out"
    ),
    pytest.param(
        mode("host-model", "require avx512f", attributes=NONE),
        "warn: silent-downgrade avx512f",
        id="host-model",
    ),
    pytest.param(
        mode("host-passthrough", "require avx512f"),
        "warn: silent-downgrade avx512f",
        id="host-passthrough, whose default is check none",
    ),
    pytest.param(
        cpu("Pentium9", attributes=NONE),
        "deny: unknown-model Pentium9",
        id="an unknown model cannot start at all",
    ),
    pytest.param(
        cpu("Nehalem", "require frob", attributes=NONE),
        "deny: unknown-feature frob",
        id="nor can an unknown feature",
    ),
]


@pytest.mark.parametrize(("asked", "expected"), NONE_ROWS)
def test_check_none(asked: str, expected: str) -> None:
    """check='none' at a fresh start: allowed, and the journal says what is dropped."""
    assert expected == told(judged(HASWELL, domain(asked)))


TRUSTED_ROWS = [
    pytest.param(
        cpu("Haswell-noTSX", attributes="match='strict'"),
        "deny: extra-feature vme x2apic tsc-deadline hypervisor arat tsc_adjust cmt umip invtsc",
        id="match strict",
    ),
    pytest.param(
        "<cpu><model>Nehalem</model><vendor>AMD</vendor></cpu>",
        "deny: vendor-mismatch AMD",
        id="vendor",
    ),
    pytest.param(cpu("Nehalem", "disable sse4.2"), "allow", id="less than the model"),
]


@pytest.mark.parametrize(("asked", "expected"), TRUSTED_ROWS)
def test_libvirt_9_takes_no_word_of_qemu(asked: str, expected: str) -> None:
    """It compares usable models too; libvirt 11 does not, and its CPU map tells them apart."""
    assert expected == told(judged(HASWELL, domain(asked), cpu_map=OLD_MAP))
    assert "allow" == told(judged(HASWELL, domain(asked), cpu_map=OWN_MAP))


def test_silent_downgrade_enforced() -> None:
    """An administrator who wants no guest with less than it asked for can have that."""
    toml = '[rules]\nsilent-downgrade = "enforce"'
    downgraded, whole = cpu("Haswell", attributes=NONE), cpu("Nehalem", attributes=NONE)

    assert "deny: silent-downgrade hle rtm" == told(judged(HASWELL, domain(downgraded), toml=toml))
    assert "allow" == told(judged(HASWELL, domain(whole), toml=toml))


FULL_ROWS = [
    pytest.param(cpu("Nehalem", attributes=FULL), "allow", id="all is there"),
    pytest.param(
        cpu("Haswell", attributes=FULL), "deny: missing-feature hle rtm", id="some is missing"
    ),
    pytest.param(
        cpu("Nehalem", "require hypervisor", attributes=FULL),
        "allow",
        id="what KVM adds",
    ),
    pytest.param(
        cpu("Nehalem", "disable svm", "require avx", attributes=FULL),
        "allow",
        id="disabled and absent",
    ),
    pytest.param(
        cpu("Nehalem", "forbid avx2", attributes=FULL),
        "deny: forbidden-feature avx2",
        id="forbid: the host has it",
    ),
    pytest.param(
        cpu("Nehalem", "forbid svm", attributes=FULL), "allow", id="forbid: the host has it not"
    ),
    pytest.param(
        cpu("Haswell", "forbid avx", "require svm", attributes=FULL),
        "deny: forbidden-feature avx; missing-feature hle rtm svm",
        id="all kinds of reasons at once",
    ),
    pytest.param(
        "<cpu check='full'><model>Nehalem</model><vendor>AMD</vendor></cpu>",
        "deny: vendor-mismatch AMD",
        id="KVM: the vendor of the silicon shines through",
    ),
    pytest.param(
        "<cpu check='full'><model>Nehalem</model><vendor>Intel</vendor></cpu>",
        "allow",
        id="the host's vendor",
    ),
    pytest.param(
        cpu("Nehalem", "require cmt", attributes=FULL), "allow", id="libvirt itself takes it out"
    ),
    pytest.param(
        cpu("Nehalem", "require frob", attributes=FULL),
        "deny: unknown-feature frob",
        id="a feature of a newer libvirt",
    ),
]


@pytest.mark.parametrize("operation", ["prepare", "migrate", "restore"])
@pytest.mark.parametrize(("asked", "expected"), FULL_ROWS)
def test_check_full(asked: str, expected: str, operation: str) -> None:
    """check='full' is what a guest really has: this host must give all of it, whoever asks."""
    assert expected == told(judged(HASWELL, domain(asked), operation=operation))


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("prepare", "deny: missing-feature avx512f"),
        ("migrate", "deny: missing-feature avx512f; unstamped host-passthrough"),
        ("restore", "deny: missing-feature avx512f; unstamped host-passthrough"),
    ],
)
def test_check_full_of_host_passthrough(operation: str, expected: str) -> None:
    """libvirt checks it once QEMU runs; the rest of what it has is not known."""
    asked = mode("host-passthrough", "require avx512f", attributes=FULL)

    assert expected == told(judged(HASWELL, domain(asked), operation=operation))


TCG_ROWS = [
    pytest.param(cpu("EPYC"), "allow", id="TCG has svm whatever the silicon has"),
    pytest.param(
        cpu("Haswell"),
        "warn: silent-downgrade hle rtm",
        id="check is none by default, unlike with KVM",
    ),
    pytest.param(
        cpu("Haswell", attributes=PARTIAL),
        "deny: missing-feature hle rtm",
        id="check partial: against what TCG gives",
    ),
    pytest.param(
        cpu("Nehalem", "require invtsc", attributes=PARTIAL),
        "deny: missing-feature invtsc",
        id="the silicon has it, TCG has not",
    ),
    pytest.param(
        "<cpu check='partial'><model>Nehalem</model><vendor>Intel</vendor>"
        "<feature name='avx'/></cpu>",
        "deny: vendor-mismatch Intel",
        id="libvirt's comparison takes TCG for an AMD CPU",
    ),
    pytest.param(
        "<cpu check='full'><model>Nehalem</model><vendor>Intel</vendor></cpu>",
        "allow",
        id="in force: under TCG a guest can have any vendor",
    ),
    pytest.param(
        cpu("Haswell", attributes=FULL), "deny: missing-feature hle rtm", id="in force: features"
    ),
    pytest.param(mode("maximum"), "allow", id="maximum"),
    pytest.param(mode("host-model"), "allow", id="host-model"),
]


@pytest.mark.parametrize(("asked", "expected"), TCG_ROWS)
def test_tcg(asked: str, expected: str) -> None:
    """Virt type "qemu": QEMU's own features count, not the host's."""
    assert expected == told(judged(HASWELL, domain(asked, virt="qemu")))


BLOCKER_ROWS = [
    pytest.param(cpu("Haswell-v2"), "allow", id="usable"),
    pytest.param(
        cpu("Skylake-Server-v1"),
        "deny: missing-feature avx512bw avx512cd avx512f hle rtm",
        id="what blocks it, in QEMU's order",
    ),
    pytest.param(cpu("Skylake-Server-v1", *OFF), "allow", id="all blockers disabled"),
    pytest.param(
        cpu("Skylake-Server-v1", *OFF[1:]), "deny: missing-feature hle", id="all but one disabled"
    ),
    pytest.param(
        cpu("Skylake-Server-v1", *OFF[1:], "optional hle"),
        "deny: missing-feature hle",
        id="a blocker must be disabled: optional does not do",
    ),
    pytest.param(
        cpu("Skylake-Server-v1", *OFF, "require svm", "require x2apic"),
        "deny: missing-feature svm",
        id="required besides the model",
    ),
    pytest.param(
        cpu("Skylake-Server-v1", *OFF[1:], "require hle"),
        "deny: missing-feature hle",
        id="a blocker that is required is named once",
    ),
    pytest.param(
        "<cpu match='strict'><model>Skylake-Server-v1</model><vendor>AMD</vendor>"
        + "".join(f"<feature policy='disable' name='{o.split()[1]}'/>" for o in OFF)
        + "</cpu>",
        "allow",
        id="neither vendor nor strict are looked at",
    ),
    pytest.param(
        cpu("Skylake-Server"),
        "deny: missing-feature hle rtm avx512f avx512cd avx512bw",
        id="a model that the map says to compare: map order",
    ),
    pytest.param(
        cpu("Nehalem", attributes=NONE),
        "allow",
        id="usable says that pni is there, though host-model has it not",
    ),
    pytest.param(
        cpu("Haswell", attributes=NONE),
        "warn: silent-downgrade hle rtm",
        id="nor does pni block this one",
    ),
    pytest.param(
        cpu("Haswell-v2", "require pni", attributes=FULL),
        "allow",
        id="in force: as part of a usable model it is there",
    ),
    pytest.param(
        mode("host-model", "require pni", attributes=FULL),
        "deny: missing-feature pni",
        id="in force: without the model only host-model tells",
    ),
]


@pytest.mark.parametrize(("asked", "expected"), BLOCKER_ROWS)
def test_blockers(asked: str, expected: str) -> None:
    """libvirt 11 goes by what QEMU says blocks a model, where the map does not say to compare."""
    assert expected == told(judged(HASWELL_11, domain(asked)))


UNTOLD_ROWS = [
    pytest.param(NAMELESS, "x86_64", "", "allow", id="nothing is asked"),
    pytest.param(NAMELESS, "x86_64", mode("host-passthrough"), "allow", id="nothing to compare"),
    pytest.param(NEOVERSE, "aarch64", "", "allow", id="no driver, but nothing is asked"),
    pytest.param(
        NEOVERSE,
        "aarch64",
        mode("host-passthrough"),
        "allow",
        id="whatever the host is, there is nothing to compare",
    ),
    pytest.param(
        NEOVERSE,
        "aarch64",
        cpu("cortex-a57"),
        "cannot-tell: unchecked aarch64",
        id="no driver, a model that QEMU has",
    ),
    pytest.param(
        NEOVERSE,
        "aarch64",
        mode("host-model"),
        "deny: unsupported-mode host-model",
        id="no driver, but what QEMU does not offer is known",
    ),
]


@pytest.mark.parametrize(("host", "arch", "asked", "expected"), UNTOLD_ROWS)
def test_cannot_tell(host: HostSnapshot, arch: str, asked: str, expected: str) -> None:
    """What cannot be told is said, and is no refusal by itself."""
    assert expected == told(judged(host, domain(asked, arch=arch)))


def test_i686_guests_are_x86_guests() -> None:
    """libvirt compares both with one driver; the nearest hypervisor is that of x86_64."""
    assert "deny: missing-feature hle rtm" == told(
        judged(HASWELL, domain(cpu("Haswell"), arch="i686"))
    )


def test_sentence_and_hint_name_the_feature_and_the_host() -> None:
    """The function that decides is the one that explains."""
    (finding, _) = judged(HASWELL, domain(cpu("Haswell"))).findings

    assert finding.sentence == (
        "the guest requires hle, which this host (Haswell-noTSX, KVM) does not give"
    )
    assert "policy='disable'" in finding.hint
