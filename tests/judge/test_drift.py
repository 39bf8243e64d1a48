"""Which guests a changed host would refuse: each state, by what the hook would be asked."""

import pytest

from guardd.cpu.definition import Arch
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.stamp import NAMESPACE, Stamp, format_stamp
from guardd.facts.states import GuestState, Standing
from guardd.judge.drift import Effect, Judged, judge_all
from guardd.judge.finding import Code
from tests.judge.table import (
    HASWELL,
    NEOVERSE,
    OWN_MAP,
    POWER9,
    UUID,
    cpu,
    domain,
    mode,
    policy_of,
)
from tests.recordings import without

POORER = without(HASWELL, "avx2", "umip")
FULL = "check='full'"
NONE = "check='none'"


def judged(
    standing: str,
    xml: str,
    *,
    before: HostSnapshot = HASWELL,
    now: HostSnapshot = POORER,
    toml: str = "",
) -> Judged:
    """Judge one state by two hosts."""
    state = GuestState(name="web1", uuid=UUID, standing=Standing(standing), xml=xml)
    [found] = judge_all([state], before, now, policy_of(toml), OWN_MAP)
    return found


ROWS = [
    pytest.param("defined", domain(cpu("Nehalem")), "none", "", id="needs nothing special"),
    pytest.param(
        "defined", domain(cpu("Haswell-noTSX")), "affected", "missing-feature avx2", id="its model"
    ),
    pytest.param(
        "defined",
        domain(cpu("Nehalem", "require umip")),
        "affected",
        "missing-feature umip",
        id="its feature",
    ),
    pytest.param(
        "defined",
        domain(cpu("Haswell-noTSX", "disable avx2")),
        "none",
        "",
        id="without what was lost",
    ),
    pytest.param("defined", domain(mode("host-model")), "none", "", id="takes what there is"),
    pytest.param("defined", domain(mode("host-passthrough")), "none", "", id="a fresh start"),
    pytest.param("defined", domain(""), "none", "", id="no CPU"),
    pytest.param(
        "defined",
        domain(cpu("Haswell-noTSX", attributes=NONE)),
        "none",
        "silent-downgrade avx2",
        id="check='none' starts with less",
    ),
    pytest.param(
        "defined",
        domain(cpu("Skylake-Server")),
        "still-refused",
        "missing-feature avx512bw",
        id="was refused before",
    ),
    pytest.param("defined", "<domain", "doubtful", "unreadable-guest malformed-xml", id="broken"),
    pytest.param(
        "running",
        domain(cpu("Haswell-noTSX", attributes=FULL)),
        "affected",
        "missing-feature avx2",
        id="has it",
    ),
    pytest.param(
        "running",
        domain(cpu("Haswell-noTSX", "disable avx2", attributes=FULL)),
        "none",
        "",
        id="runs without",
    ),
    pytest.param(
        "running",
        domain(cpu("Haswell-noTSX", attributes=FULL), virt="qemu"),
        "affected",
        "missing-feature avx2",
        id="under TCG",
    ),
    pytest.param(
        "saved",
        domain(cpu("Haswell-noTSX")),
        "affected",
        "missing-feature avx2",
        id="as written, and had it",
    ),
    pytest.param(
        "saved",
        domain(cpu("Haswell-noTSX", attributes=NONE)),
        "affected",
        "missing-feature avx2",
        id="check='none' had it too",
    ),
    pytest.param(
        "saved",
        domain(cpu("Skylake-Server", attributes=NONE)),
        "affected",
        "missing-feature avx2",
        id="but not what the host never had",
    ),
    pytest.param("saved", domain(cpu("Nehalem", attributes=NONE)), "none", "", id="saved, poor"),
    pytest.param(
        "saved",
        domain(mode("host-model", attributes="check='partial'")),
        "affected",
        "missing-feature avx2 umip",
        id="as libvirt 11 shows it",
    ),
    pytest.param(
        "snapshot",
        domain(cpu("Haswell-noTSX")),
        "affected",
        "missing-feature avx2",
        id="a snapshot",
    ),
]


@pytest.mark.parametrize(("standing", "xml", "effect", "finding"), ROWS)
def test_states(standing: str, xml: str, effect: str, finding: str) -> None:
    """The effect, and the first reason with what is new in it."""
    found = judged(standing, xml)

    code, *names = finding.split() or ("",)
    subjects = {f.subject for f in found.now.findings if f.code == code}
    assert (effect, True) == (str(found.effect), set(names) <= subjects)
    assert bool(found.now.findings) is bool(finding)


def stamped(xml: str, *features: str, uuid: str = UUID) -> str:
    """Put a stamp into a domain: it booted with these features."""
    stamp = format_stamp(
        Stamp(
            uuid=uuid,
            taken="2026-11-01T00:00:00Z",
            host="haswell",
            virt_type="kvm",
            arch=Arch.X86_64,
            model="Nehalem",
            features=frozenset(features),
        )
    )
    element = stamp.replace("<stamp", f"<g:stamp xmlns:g='{NAMESPACE}'", 1)
    return xml.replace("<os>", f"<metadata>{element}</metadata><os>", 1)


OPEN = domain(mode("host-passthrough"))
# all that Haswell gives under KVM
SEEN = "aes arat avx avx2 fpu hypervisor lm pni sse2 sse4.2 tsc-deadline tsc_adjust umip vme x2apic"
POOR = [name for name in SEEN.split() if name not in ("avx2", "umip")]

STAMPED = [
    pytest.param("running", OPEN, SEEN.split(), "affected", "avx2 umip", id="runs, has seen it"),
    pytest.param("saved", OPEN, SEEN.split(), "affected", "avx2 umip", id="saved"),
    pytest.param("snapshot", OPEN, SEEN.split(), "affected", "avx2 umip", id="snapshot"),
    pytest.param("running", OPEN, POOR, "none", "", id="has not seen it"),
    pytest.param(
        "saved",
        domain(cpu("Nehalem", attributes=NONE)),
        [*POOR, "umip"],
        "affected",
        "umip",
        id="had more than was written",
    ),
    pytest.param(
        "saved",
        domain(cpu("Haswell-noTSX", attributes=NONE)),
        POOR,
        "none",
        "",
        id="had less than was written",
    ),
]


@pytest.mark.parametrize(("standing", "xml", "features", "effect", "lost"), STAMPED)
def test_stamps(standing: str, xml: str, features: list[str], effect: str, lost: str) -> None:
    """What a guest has seen since it booted counts, whatever its definition says."""
    found = judged(standing, stamped(xml, *features))

    assert effect == found.effect
    codes = {Code.LOST_FEATURE, Code.MISSING_FEATURE}
    assert lost.split() == sorted(f.subject for f in found.now.findings if f.code in codes)


def test_stamps_that_cannot_be_relied_on() -> None:
    """Neither one of another guest nor none at all is a guess at what it had."""
    foreign = stamped(OPEN, *SEEN.split(), uuid=UUID.replace("7", "8"))

    assert Effect.DOUBTFUL is judged("running", foreign).effect
    assert Effect.DOUBTFUL is judged("saved", OPEN).effect
    # of a CPU that is written out, the definition still tells
    saved = stamped(domain(cpu("Haswell-noTSX")), *SEEN.split(), uuid=UUID.replace("7", "8"))
    assert Effect.AFFECTED is judged("saved", saved).effect


def test_what_comes_back() -> None:
    """The other way round it is good news."""
    found = judged("defined", domain(cpu("Haswell-noTSX")), before=POORER, now=HASWELL)

    assert Effect.FREED is found.effect


@pytest.mark.parametrize(
    "toml", ['mode = "warn"', 'mode = "observe"', '[rules]\nmissing-feature = "warn"']
)
def test_modes_do_not_hide_it(toml: str) -> None:
    """What would be refused but for a mode is named: the mode may be stricter tomorrow."""
    assert Effect.AFFECTED is judged("defined", domain(cpu("Haswell-noTSX")), toml=toml).effect


def test_strict_rules_count() -> None:
    """A rule that the administrator made stricter refuses here as well."""
    xml = domain(cpu("Haswell-noTSX", attributes=NONE))

    strict = judged("defined", xml, toml='[rules]\nsilent-downgrade = "enforce"')

    assert Effect.AFFECTED is strict.effect


def test_doubts_refuse_where_they_shall() -> None:
    """on_cannot_tell = "deny": what cannot be told is refused."""
    xml = domain(cpu("Nehalem"), virt="xen")

    assert Effect.DOUBTFUL is judged("defined", xml).effect
    assert Effect.STILL_REFUSED is judged("defined", xml, toml='on_cannot_tell = "deny"').effect


def test_other_architectures() -> None:
    """PowerPC by its model; one without a driver cannot be told."""
    xml = domain(cpu("POWER9"), arch="ppc64le")

    assert Effect.NONE is judged("saved", xml, before=POWER9, now=POWER9).effect
    assert Effect.DOUBTFUL is judged("saved", xml, before=POWER9, now=NEOVERSE).effect
