"""The whole way from a request to a verdict: doubts, modes, exceptions, which host is known."""

from types import MappingProxyType

import pytest

from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef
from guardd.facts.domain import POLICY_NAMESPACE
from guardd.facts.domcaps import HypervisorKey
from guardd.facts.snapshot import HostSnapshot, Origin
from guardd.judge import judge, judge_failed
from guardd.judge.finding import CheckRequest, Code, Decision, Enforcement, Operation
from guardd.judge.policy import Policy
from tests.judge import (
    test_ceiling,
    test_compatibility,
    test_limits,
    test_pool,
    test_power,
    test_revert,
    test_stamp,
    test_support,
)
from tests.judge.table import (
    HASWELL,
    OWN_MAP,
    UUID,
    cpu,
    domain,
    judged,
    mode,
    policy_of,
    stamped,
    told,
)
from tests.recordings import recorded_host

GOOD, BAD, DROPPED = cpu("Nehalem"), cpu("Haswell"), cpu("qemu64", attributes="check='none'")
STALE = HASWELL._replace(origin=Origin.STALE)
STRICT = 'on_cannot_tell = "deny"'
HONOUR = 'guest_metadata = "honour"'


def test_every_code_has_a_row() -> None:
    """A code that no table reaches is a promise to scripts that nobody tests."""
    rows = [
        *test_compatibility.PARTIAL_ROWS,
        *test_compatibility.NONE_ROWS,
        *test_compatibility.UNTOLD_ROWS,
        *test_power.ROWS,
        *test_support.ROWS,
        *test_ceiling.X86_ROWS,
        *test_limits.SEEN_ROWS,
        *test_limits.TSC_ROWS,
        *test_limits.INVTSC_ROWS,
        *test_pool.X86_ROWS,
        *test_revert.ROWS,
        *test_stamp.OPEN_ROWS,
        *test_stamp.ARM_ROWS,
    ]
    words = {word for row in rows for word in str(row.values[-1]).replace(";", "").split()}
    # below, by name
    here = {Code.UNREADABLE_GUEST, Code.UNKNOWN_HOST, Code.UNKNOWN_HYPERVISOR, Code.INTERNAL}
    # of libvirt's comparison with a *host* definition, which no domain has
    unreachable = {Code.ARCH_MISMATCH}

    # said of definitions only, not of a start or an arrival
    advice = {Code.NEVER_MIGRATES, Code.NO_CHECK, Code.DEFAULT_CPU}

    assert set(Code) - here - unreachable - advice == {code for code in Code if code in words}


DOUBT_ROWS = [
    pytest.param(HASWELL, "", "cannot-tell: unreadable-guest malformed-xml", id="nothing"),
    pytest.param(
        HASWELL, domain(GOOD)[:-9], "cannot-tell: unreadable-guest malformed-xml", id="truncated"
    ),
    pytest.param(
        HASWELL, "<pool/>", "cannot-tell: unreadable-guest invalid-domain", id="not a domain"
    ),
    pytest.param(
        HASWELL,
        domain("<cpu mode='best'/>"),
        "cannot-tell: unreadable-guest invalid-cpu",
        id="a cpu of a newer libvirt",
    ),
    pytest.param(None, domain(GOOD), "cannot-tell: unknown-host web1", id="nothing is known"),
    pytest.param(
        HASWELL,
        domain(GOOD, arch="ppc64le"),
        "cannot-tell: unknown-hypervisor ppc64le",
        id="nothing is known of this architecture",
    ),
    pytest.param(
        HASWELL,
        domain(GOOD, virt="hvf"),
        "cannot-tell: unknown-hypervisor x86_64",
        id="nothing is known of this accelerator",
    ),
    pytest.param(
        HASWELL._replace(hypervisors=()),
        domain(GOOD),
        "cannot-tell: unknown-hypervisor x86_64",
        id="libvirt told nothing yet",
    ),
]


@pytest.mark.parametrize(("host", "xml", "expected"), DOUBT_ROWS)
def test_doubts(host: HostSnapshot | None, xml: str, expected: str) -> None:
    """Whatever cannot be told is allowed by default, and never silently."""
    assert expected == told(judged(host, xml))


@pytest.mark.parametrize(("host", "xml", "expected"), DOUBT_ROWS)
def test_doubts_denied(host: HostSnapshot | None, xml: str, expected: str) -> None:
    """An administrator who would rather stop a guest than not know can have that."""
    assert expected.replace("cannot-tell", "cannot-tell, refused") == told(
        judged(host, xml, toml=STRICT)
    )


def test_a_map_that_does_not_fit_the_host() -> None:
    """libvirt was updated, and names a CPU that the map read at start does not have."""
    verdict = judged(recorded_host("epyc-libvirt11"), domain(GOOD))

    assert "cannot-tell: unchecked x86_64" == told(verdict)
    assert "Unknown CPU" in verdict.findings[0].sentence


def test_a_broken_map() -> None:
    """No CPU map at all: the reason reaches the end."""

    def read(name: str) -> bytes:
        raise FileNotFoundError(2, "No such file or directory", name)

    verdict = judged(HASWELL, domain(GOOD), cpu_map=CPUMap(read))

    assert "cannot-tell: unchecked x86_64" == told(verdict)
    assert verdict.findings[0].sentence == (
        "cannot read CPU map 'index.xml': No such file or directory"
    )


def test_a_host_whose_cpu_has_no_model() -> None:
    """libvirt's own comparison says "unknown host CPU" there."""
    kvm = HASWELL.hypervisors[0]._replace(host_model=CPUDef())
    host = HASWELL._replace(host_cpu=None, hypervisors=(kvm,))

    assert "cannot-tell: unknown-host Haswell-noTSX, KVM".replace(
        "Haswell-noTSX", "x86_64"
    ) == told(judged(host, domain(cpu("Haswell"))))


def test_a_bug_of_ours_is_a_doubt() -> None:
    """An exception in the judge must not stop a guest, unless that was asked for."""
    request = CheckRequest(domain="web1", operation=Operation.PREPARE, xml="")

    allowed = judge_failed(request, Policy())
    denied = judge_failed(request, policy_of(STRICT))

    assert "cannot-tell: internal web1" == told(allowed)
    assert "cannot-tell, refused: internal web1" == told(denied)


MODE_ROWS = [
    pytest.param('mode = "enforce"', BAD, "deny: missing-feature hle rtm"),
    pytest.param('mode = "warn"', BAD, "warn: missing-feature hle rtm"),
    pytest.param('mode = "observe"', BAD, "allow: missing-feature hle rtm"),
    pytest.param('mode = "enforce"', GOOD, "allow"),
    pytest.param('mode = "warn"', GOOD, "allow"),
    pytest.param('mode = "warn"', DROPPED, "warn: silent-downgrade svm"),
    pytest.param('mode = "observe"', DROPPED, "allow: silent-downgrade svm"),
    pytest.param('[rules]\nmissing-feature = "warn"', BAD, "warn: missing-feature hle rtm"),
    pytest.param('[rules]\nmissing-feature = "observe"', BAD, "allow: missing-feature hle rtm"),
    pytest.param('[rules]\nforbidden-feature = "warn"', BAD, "deny: missing-feature hle rtm"),
    pytest.param('[rules]\nsilent-downgrade = "observe"', DROPPED, "allow: silent-downgrade svm"),
    pytest.param('[rules]\nsilent-downgrade = "enforce"', DROPPED, "deny: silent-downgrade svm"),
    # the host's mode bounds every rule
    pytest.param(
        'mode = "warn"\n[rules]\nsilent-downgrade = "enforce"',
        DROPPED,
        "warn: silent-downgrade svm",
    ),
    pytest.param(
        'mode = "observe"\n[rules]\nmissing-feature = "warn"', BAD, "allow: missing-feature hle rtm"
    ),
    # a guest's own mode stands in the place of the host's, by name or by UUID
    pytest.param('[guests]\nweb1 = "warn"', BAD, "warn: missing-feature hle rtm"),
    pytest.param(f'[guests]\n{UUID} = "observe"', BAD, "allow: missing-feature hle rtm"),
    pytest.param('[guests]\nweb2 = "observe"', BAD, "deny: missing-feature hle rtm"),
    pytest.param(
        'mode = "observe"\n[guests]\nweb1 = "enforce"', BAD, "deny: missing-feature hle rtm"
    ),
    pytest.param(
        f'[guests]\nweb1 = "observe"\n{UUID} = "enforce"', BAD, "deny: missing-feature hle rtm"
    ),
    pytest.param(
        f'[guests]\nweb1 = "enforce"\n{UUID} = "warn"', BAD, "warn: missing-feature hle rtm"
    ),
    pytest.param(
        '[guests]\nweb1 = "enforce"\n[rules]\nmissing-feature = "warn"',
        BAD,
        "warn: missing-feature hle rtm",
    ),
]


@pytest.mark.parametrize(("toml", "asked", "expected"), MODE_ROWS)
def test_modes(toml: str, asked: str, expected: str) -> None:
    """enforce, warn, observe: for the whole host, for one rule, for one guest."""
    assert expected == told(judged(HASWELL, domain(asked), toml=toml))


@pytest.mark.parametrize(
    ("toml", "word", "expected"),
    [
        ("", "observe", "deny: missing-feature hle rtm"),
        (HONOUR, "observe", "allow: missing-feature hle rtm"),
        (HONOUR, "warn", "warn: missing-feature hle rtm"),
        (HONOUR, "off", "deny: missing-feature hle rtm"),
        (HONOUR, "", "deny: missing-feature hle rtm"),
        (HONOUR, "\u202e" * 1000, "deny: missing-feature hle rtm"),
        (f'{HONOUR}\nmode = "warn"', "enforce", "deny: missing-feature hle rtm"),
        (f'{HONOUR}\n[guests]\nweb1 = "enforce"', "warn", "deny: missing-feature hle rtm"),
    ],
)
def test_a_guest_that_says_its_mode(toml: str, word: str, expected: str) -> None:
    """In its metadata, as `virsh metadata` puts it there; any other word counts for nothing."""
    policy = f"<guardd:policy xmlns:guardd='{POLICY_NAMESPACE}' mode='{word}'/>"
    xml = stamped(domain(BAD), policy)

    assert expected == told(judged(HASWELL, xml, toml=toml))


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("", "cannot-tell: unknown-host web1"),
        (STRICT, "cannot-tell, refused: unknown-host web1"),
        (f'{STRICT}\nmode = "warn"', "cannot-tell: unknown-host web1"),
        (f'{STRICT}\n[guests]\nweb1 = "warn"', "cannot-tell: unknown-host web1"),
        (f'{STRICT}\n[guests]\nweb2 = "warn"', "cannot-tell, refused: unknown-host web1"),
        (
            f'{STRICT}\nmode = "warn"\n[guests]\nweb1 = "enforce"',
            "cannot-tell, refused: unknown-host web1",
        ),
    ],
)
def test_on_cannot_tell(toml: str, expected: str) -> None:
    """It denies only where the host and the guest are in mode enforce."""
    assert expected == told(judged(None, domain(GOOD), toml=toml))


def test_incompatible_beats_doubt() -> None:
    """A guest that cannot run here is refused, even if something else could not be told."""
    toml = '[ceiling]\nx86_64 = "Pentium9"'
    verdict = judged(HASWELL, domain(BAD), toml=toml)

    assert "deny: missing-feature hle rtm; unchecked Pentium9" == told(verdict)


@pytest.mark.parametrize(
    ("asked", "toml", "expected"),
    [
        (GOOD, "", "allow"),
        (BAD, "", "warn: missing-feature hle rtm"),
        (BAD, 'mode = "observe"', "allow: missing-feature hle rtm"),
        (BAD, '[guests]\nweb1 = "enforce"', "warn: missing-feature hle rtm"),
        (BAD, HONOUR, "warn: missing-feature hle rtm"),
        (BAD, STRICT, "warn: missing-feature hle rtm"),
        (GOOD, '[ceiling]\nx86_64 = "qemu64"', "warn: above-ceiling sse4.2"),
    ],
)
def test_an_outdated_snapshot_refuses_nobody(asked: str, toml: str, expected: str) -> None:
    """Kept from before a change of kernel, microcode or QEMU: it may be wrong, so it warns."""
    assert expected == told(judged(STALE, domain(asked), toml=toml))


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (Origin.LIBVIRT, "libvirt at 2026-11-22T21:00:00Z: "),
        (Origin.KEPT, "snapshot kept since 2026-11-22T21:00:00Z: "),
        (Origin.STALE, "outdated snapshot of 2026-11-22T21:00:00Z: "),
    ],
)
def test_the_source_is_said(origin: Origin, expected: str) -> None:
    """A verdict says what it was judged by."""
    verdict = judged(HASWELL._replace(origin=origin), domain(GOOD))

    assert verdict.source == (
        expected + "domain capabilities of /usr/bin/qemu-system-x86_64 pc-q35-7.2"
    )


def test_a_kept_snapshot_of_the_same_host_refuses() -> None:
    """Autostarted guests are judged at boot, before libvirtd answers anybody."""
    host = HASWELL._replace(origin=Origin.KEPT)

    assert "deny: missing-feature hle rtm" == told(judged(host, domain(BAD)))


@pytest.mark.parametrize(
    ("xml", "unseen"),
    [
        (domain(GOOD), None),
        (domain(GOOD, machine="pc-q35-7.2", emulator="/usr/bin/qemu-system-x86_64"), None),
        (
            domain(GOOD, machine="pc-i440fx-7.2"),
            HypervisorKey("kvm", Arch.X86_64, "pc-i440fx-7.2", None),
        ),
        (
            domain(GOOD, emulator="/opt/qemu"),
            HypervisorKey("kvm", Arch.X86_64, "q35", "/opt/qemu"),
        ),
        (domain(GOOD, arch="i686"), HypervisorKey("kvm", Arch.I686, "pc", None)),
        (domain(GOOD, virt="hvf"), HypervisorKey("hvf", Arch.X86_64, "q35", None)),
    ],
)
def test_an_unseen_hypervisor_is_asked_for(xml: str, unseen: HypervisorKey | None) -> None:
    """The watcher asks libvirt about it, so that the next verdict need not guess."""
    verdict = judged(HASWELL, xml)

    assert unseen == verdict.unseen
    assert (unseen is not None and verdict.source != "") == verdict.source.endswith(
        "the nearest known"
    )


@pytest.mark.parametrize(
    ("asked", "guest_cpu"),
    [
        ("", "QEMU's default CPU"),
        ("<cpu><topology sockets='1' cores='1' threads='1'/></cpu>", "QEMU's default CPU"),
        (GOOD, "Nehalem"),
        (mode("host-model"), "host-model"),
        (mode("host-passthrough"), "host-passthrough"),
    ],
)
def test_labels(asked: str, guest_cpu: str) -> None:
    """What was held against what, in words."""
    verdict = judged(HASWELL, domain(asked))

    assert (guest_cpu, "Haswell-noTSX, KVM") == (verdict.guest_cpu, verdict.host_cpu)
    assert ("web1", UUID, Operation.PREPARE) == (verdict.domain, verdict.uuid, verdict.operation)


def test_the_name_is_the_hooks_not_the_documents() -> None:
    """libvirt calls the hook with the name it means; exceptions go by that one."""
    request = CheckRequest(domain="web2", operation=Operation.PREPARE, xml=domain(BAD))
    policy = policy_of('[guests]\nweb2 = "warn"')

    verdict = judge(request, HASWELL, policy, OWN_MAP)

    assert ("web2", Decision.WARN) == (verdict.domain, verdict.decision)


def test_findings_carry_what_policy_made_of_them() -> None:
    """The journal says which finding decided."""
    toml = '[rules]\nsilent-downgrade = "observe"\n[ceiling]\nx86_64 = "Nehalem"'
    verdict = judged(HASWELL, domain(cpu("Haswell", attributes="check='none'")), toml=toml)

    assert {
        Code.SILENT_DOWNGRADE: Enforcement.OBSERVE,
        Code.ABOVE_CEILING: Enforcement.ENFORCE,
    } == {finding.code: finding.mode for finding in verdict.findings}


def test_nothing_is_remembered() -> None:
    """One request after another gives what each gives alone."""
    xmls = [domain(GOOD), domain(BAD), "", domain(DROPPED)]

    alone = [judged(HASWELL, xml) for xml in xmls]

    assert alone == [judged(HASWELL, xml) for xml in xmls]
    assert alone[::-1] == [judged(HASWELL, xml) for xml in xmls[::-1]]


def test_the_snapshot_is_not_touched() -> None:
    """It is shared with the watcher's thread."""
    before = repr(HASWELL)
    judged(HASWELL, domain(BAD))

    assert before == repr(HASWELL)
    assert isinstance(HASWELL.machines, MappingProxyType)
