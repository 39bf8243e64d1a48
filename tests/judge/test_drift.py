"""Which guests a changed host would refuse: each state, by what the hook would be asked."""

import pytest

from guardd.facts.snapshot import HostSnapshot
from guardd.facts.states import GuestState, Standing
from guardd.judge.drift import Effect, Judged, judge_all
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
