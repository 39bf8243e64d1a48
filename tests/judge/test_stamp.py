"""What a guest has seen since it booted, by its stamp, against a host that it comes to."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardd import cpu as cpus
from guardd.cpu import CPUMap
from guardd.cpu.arm.host import ArmHost
from guardd.cpu.arm.midr import MIDR
from guardd.cpu.definition import Arch, Check, CPUDef, Fallback, FeaturePolicy, Mode
from guardd.cpu.xml import format_cpu
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.stamp import Stamp
from guardd.judge.finding import Code, Finding
from tests.judge.table import (
    HASWELL,
    HASWELL_11,
    NAMELESS,
    NEOVERSE,
    OWN_MAP,
    POWER9,
    POWER11,
    UUID,
    born,
    cpu,
    domain,
    judged,
    mode,
    stamped,
    told,
)
from tests.recordings import recorded, recorded_host

OPEN = domain(mode("host-passthrough"))
MAXIMUM = domain(mode("maximum"))
SEEN = born(HASWELL, OPEN)


def less(host: HostSnapshot, *names: str) -> HostSnapshot:
    """Give *host* as it would be after an update that takes features away from its guests."""
    off = dict.fromkeys(names, FeaturePolicy.DISABLE)
    hypervisors = tuple(
        h
        if h.host_model is None
        else h._replace(
            host_model=h.host_model._replace(
                features=MappingProxyType({**h.host_model.features, **off})
            ),
            models=MappingProxyType({}),
        )
        for h in host.hypervisors
    )
    return host._replace(hypervisors=hypervisors)


def amd(host: HostSnapshot) -> HostSnapshot:
    """Give *host* with silicon of another vendor that has the same features."""
    assert host.host_cpu is not None
    return host._replace(host_cpu=host.host_cpu._replace(vendor="AMD"))


def test_the_stamp_of_the_recorded_host() -> None:
    """Without what does not migrate: that mode leaves it out."""
    assert {"fpu", "avx2", "hypervisor", "tsc_adjust"} <= SEEN.features
    assert "invtsc" not in SEEN.features
    assert ("Intel", "Haswell-noTSX", 2593906000) == (SEEN.vendor, SEEN.model, SEEN.tsc)


SVM = SEEN._replace(features=SEEN.features | {"svm"})
NEWER = SEEN._replace(features=SEEN.features | {"amx-2040", "frob"})
OLDER = SEEN._replace(features=SEEN.features - {"avx2"})
OTHER_LIBVIRT = SEEN._replace(versions=MappingProxyType({"libvirt": "8.0.0"}))

OPEN_ROWS = [
    pytest.param(HASWELL, OPEN, SEEN, "allow", id="the same host"),
    pytest.param(HASWELL, OPEN, None, "cannot-tell: unstamped host-passthrough", id="no stamp"),
    pytest.param(HASWELL, MAXIMUM, None, "cannot-tell: unstamped maximum", id="maximum"),
    pytest.param(HASWELL, MAXIMUM, SEEN, "allow", id="maximum, with a stamp"),
    pytest.param(HASWELL, OPEN, SVM, "deny: lost-feature svm", id="it has seen more"),
    pytest.param(HASWELL, MAXIMUM, SVM, "deny: lost-feature svm", id="so has maximum"),
    pytest.param(
        less(HASWELL, "avx2", "aes"),
        OPEN,
        SEEN,
        "deny: lost-feature aes avx2",
        id="this host has lost some",
    ),
    pytest.param(HASWELL, OPEN, OLDER, "warn: new-feature avx2", id="this host has more"),
    pytest.param(
        HASWELL,
        OPEN,
        SVM._replace(features=SVM.features - {"avx2"}),
        "deny: lost-feature svm; new-feature avx2",
        id="more and less",
    ),
    pytest.param(
        HASWELL, OPEN, NEWER, "cannot-tell: unchecked amx-2040", id="names of a newer libvirt"
    ),
    pytest.param(
        HASWELL,
        OPEN,
        NEWER._replace(features=NEWER.features | {"svm"}),
        "deny: lost-feature svm; unchecked amx-2040",
        id="names of a newer libvirt do not hide what is known",
    ),
    pytest.param(
        HASWELL,
        OPEN,
        SEEN._replace(features=SEEN.features | {"cmt", "osxsave", "topoext", "ht"}),
        "allow",
        id="what libvirt takes out, or QEMU gives only by name",
    ),
    pytest.param(HASWELL, OPEN, OTHER_LIBVIRT, "allow", id="another libvirt that saw the same"),
    pytest.param(
        HASWELL._replace(
            hypervisors=tuple(h._replace(host_model=None) for h in HASWELL.hypervisors)
        ),
        OPEN,
        SEEN,
        "cannot-tell: unchecked x86_64",
        id="libvirt does not tell what its hypervisor gives",
    ),
    pytest.param(
        HASWELL,
        OPEN,
        SEEN._replace(features=frozenset()),
        "cannot-tell: unchecked x86_64",
        id="a stamp without features",
    ),
    pytest.param(
        HASWELL,
        domain(mode("host-passthrough", "disable avx2")),
        OLDER,
        "allow",
        id="a feature that the guest itself does without",
    ),
    pytest.param(
        HASWELL,
        OPEN,
        born(HASWELL, domain(mode("host-passthrough", "disable avx2"))),
        "warn: new-feature avx2",
        id="a definition that was changed since",
    ),
    pytest.param(
        HASWELL_11,
        OPEN,
        SEEN,
        "allow",
        id="pni: this host's own CPU lacks it by name only, a usable model has it",
    ),
    pytest.param(amd(HASWELL), OPEN, SEEN, "deny: vendor-crossing Intel", id="another vendor"),
    pytest.param(
        amd(HASWELL),
        OPEN,
        SVM,
        "deny: vendor-crossing Intel; lost-feature svm",
        id="another vendor, and less",
    ),
]


@pytest.mark.parametrize("operation", ["migrate", "restore"])
@pytest.mark.parametrize(("host", "xml", "stamp", "expected"), OPEN_ROWS)
def test_open_modes(
    host: HostSnapshot, xml: str, stamp: Stamp | None, expected: str, operation: str
) -> None:
    """libvirt compares nothing there: the stamp tells what must not be lost."""
    given_xml = xml if stamp is None else stamped(xml, stamp)

    assert expected == told(judged(host, given_xml, operation=operation))


@pytest.mark.parametrize(("host", "xml", "stamp", "expected"), OPEN_ROWS)
def test_open_modes_at_the_last_step(
    host: HostSnapshot, xml: str, stamp: Stamp | None, expected: str
) -> None:
    """An arrival's `prepare` says the same: a restored guest is judged there alone."""
    given_xml = xml if stamp is None else stamped(xml, stamp)

    assert expected == told(judged(host, given_xml, arrives=True))


def test_the_modes_of_new_features() -> None:
    """Policy: an administrator who wants every way back open can have that."""
    toml = '[rules]\nnew-feature = "enforce"'

    assert "deny: new-feature avx2" == told(
        judged(HASWELL, stamped(OPEN, OLDER), operation="migrate", toml=toml)
    )


def test_names_are_told() -> None:
    """The doubt names them, and a stamp of another libvirt is said to be one."""
    unknown = judged(HASWELL, stamped(OPEN, NEWER), operation="migrate").findings[0]
    older = OLDER._replace(versions=MappingProxyType({"libvirt": "8.0.0"}))
    new = judged(HASWELL, stamped(OPEN, older), operation="migrate").findings[0]

    assert unknown.sentence.endswith("does not know: amx-2040, frob")
    assert new.sentence.endswith("its libvirt was another and could not name it")


BAD_ROWS = [
    pytest.param(OPEN, SEEN._replace(uuid=UUID[::-1]), "of another guest", id="another guest"),
    pytest.param(OPEN, SEEN._replace(uuid=UUID.upper()), "of another guest", id="upper case"),
    pytest.param(OPEN, SEEN._replace(arch=Arch.I686), "a guest of i686 under kvm", id="arch"),
    pytest.param(OPEN, SEEN._replace(virt_type="qemu"), "x86_64 under qemu", id="virt type"),
    pytest.param(
        domain(mode("host-passthrough", "require svm")),
        SEEN,
        "lacks features that the definition has: svm",
        id="it lacks what is required",
    ),
    pytest.param(
        domain(mode("host-passthrough", "force svm")),
        SEEN,
        "lacks features that the definition has: svm",
        id="it lacks what is forced",
    ),
    pytest.param(
        domain(mode("host-passthrough", "disable avx2", "forbid aes")),
        SEEN,
        "has features that the definition takes away: aes, avx2",
        id="it has what is taken away",
    ),
    pytest.param(
        domain(cpu("Nehalem", "disable avx2", attributes="check='none'")),
        SEEN,
        "takes away: avx2",
        id="it has what a custom model goes without",
    ),
    pytest.param(
        domain(cpu("Nehalem", "require svm", "require hypervisor", attributes="check='full'")),
        SEEN,
        "lacks features that the definition has: svm",
        id="it lacks what is in force",
    ),
]


@pytest.mark.parametrize("operation", ["prepare", "migrate", "restore"])
@pytest.mark.parametrize(("xml", "stamp", "problem"), BAD_ROWS)
def test_stamps_that_do_not_fit(xml: str, stamp: Stamp, problem: str, operation: str) -> None:
    """They count for nothing, and it is said."""
    verdict = judged(HASWELL, stamped(xml, stamp), operation=operation)
    doubts = [finding for finding in verdict.findings if finding.code.is_doubt]

    assert [Code.BAD_STAMP] == [finding.code for finding in doubts]
    assert problem in doubts[0].sentence


FITTING_ROWS = [
    pytest.param(domain(mode("host-passthrough", "require cmt")), SEEN, id="taken out by libvirt"),
    pytest.param(
        domain(cpu("Nehalem", "require svm", attributes="check='none'")),
        SEEN,
        id="as written, QEMU may have dropped it",
    ),
    pytest.param(
        domain(cpu("Nehalem", "require svm", attributes="check='full'")),
        OTHER_LIBVIRT,
        id="in force, by the names of another libvirt",
    ),
]


@pytest.mark.parametrize(("xml", "stamp"), FITTING_ROWS)
def test_stamps_that_fit(xml: str, stamp: Stamp) -> None:
    """No doubt where there may be a good reason."""
    verdict = judged(HASWELL, stamped(xml, stamp), operation="migrate")

    assert Code.BAD_STAMP not in {finding.code for finding in verdict.findings}


DEFINITIONS = [
    OPEN,
    MAXIMUM,
    domain(cpu("Nehalem")),
    domain(cpu("Haswell")),
    domain(cpu("Haswell", attributes="check='none'")),
    domain(cpu("Haswell", "require hypervisor", attributes="check='full'")),
    domain(mode("host-model", "forbid avx2")),
    domain(cpu("Nehalem"), virt="qemu"),
    domain(""),
]
STAMPS = [
    SEEN,
    SVM,
    NEWER,
    OLDER,
    SEEN._replace(features=frozenset()),
    SEEN._replace(vendor="AMD"),
    SEEN._replace(model="Nehalem", features=frozenset({"fpu"})),
    SEEN._replace(model="", vendor="", tsc=None),
    SEEN._replace(uuid="x"),
]


@pytest.mark.parametrize("arrives", [None, True])
@pytest.mark.parametrize("operation", ["prepare", "migrate", "restore"])
@pytest.mark.parametrize("xml", DEFINITIONS)
@pytest.mark.parametrize("stamp", STAMPS)
def test_a_stamp_never_takes_a_finding_away(
    xml: str, stamp: Stamp, operation: str, *, arrives: bool | None
) -> None:
    """Whoever may change the XML may write one: it can only speak against the guest.

    Only that the guest has none is not said any more.
    """
    without = judged(HASWELL, xml, operation=operation, arrives=arrives)
    with_it = judged(HASWELL, stamped(xml, stamp), operation=operation, arrives=arrives)
    kept = {(f.code, f.subject) for f in without.findings if f.code is not Code.UNSTAMPED}

    assert kept <= {(f.code, f.subject) for f in with_it.findings}
    is_in_force = "check='full'" in xml and operation == "prepare" and arrives is None
    assert with_it.refused >= without.refused or is_in_force


@pytest.mark.parametrize(
    ("host", "xml"),
    [
        (NEOVERSE, domain(mode("host-passthrough"), arch="aarch64", virt="qemu")),
        (POWER9, domain(cpu("POWER9"), arch="ppc64le")),
        (HASWELL, domain(cpu("Nehalem"))),
        (HASWELL, domain(mode("host-model"))),
        (HASWELL, domain("")),
    ],
)
@pytest.mark.parametrize("operation", ["prepare", "migrate", "restore"])
def test_no_stamp_where_it_would_tell_nothing(host: HostSnapshot, xml: str, operation: str) -> None:
    """Its lack is no doubt then."""
    verdict = judged(host, xml, operation=operation)

    assert Code.UNSTAMPED not in {finding.code for finding in verdict.findings}


def test_no_stamp_denied() -> None:
    """on_cannot_tell decides."""
    verdict = judged(HASWELL, OPEN, operation="migrate", toml='on_cannot_tell = "deny"')

    assert "cannot-tell, refused: unstamped host-passthrough" == told(verdict)


# -- vendors


VENDOR_ROWS = [
    pytest.param(OPEN, "deny: vendor-crossing Intel", id="host-passthrough"),
    pytest.param(
        domain(cpu("Nehalem")), "deny: vendor-crossing Intel", id="a model without <vendor>"
    ),
    pytest.param(domain(""), "deny: vendor-crossing Intel", id="no cpu at all"),
    pytest.param(
        domain("<cpu><topology sockets='1' cores='1' threads='1'/></cpu>"),
        "deny: vendor-crossing Intel",
        id="a topology",
    ),
    pytest.param(
        domain("<cpu><model>Nehalem</model><vendor>Intel</vendor></cpu>"),
        "deny: vendor-mismatch Intel",
        id="a model with <vendor>: once is enough",
    ),
    pytest.param(
        domain(mode("host-model")), "deny: vendor-mismatch Intel", id="host-model brings it along"
    ),
]


@pytest.mark.parametrize(("xml", "expected"), VENDOR_ROWS)
def test_vendors(xml: str, expected: str) -> None:
    """A KVM guest is shown the vendor of its host's CPU, whatever its model is."""
    custom = SEEN._replace(
        model="Nehalem", features=cpus.features(OWN_MAP, Arch.X86_64, CPUDef(model="Nehalem"))
    )
    stamp = SEEN if xml == OPEN else custom
    host = amd(HASWELL)

    assert expected == told(judged(host, stamped(xml, stamp), operation="migrate"))
    assert "allow" == told(judged(HASWELL, stamped(xml, stamp), operation="migrate"))


def test_vendors_under_tcg() -> None:
    """QEMU shows the model's own there."""
    xml = domain(mode("maximum"), virt="qemu")
    stamp = born(HASWELL, xml)._replace(vendor="AMD")

    assert "allow" == told(judged(HASWELL, stamped(xml, stamp), operation="migrate"))


@pytest.mark.parametrize("vendor", ["", "AMD"])
def test_vendors_that_are_not_known(vendor: str) -> None:
    """Nothing is said where one of them is not."""
    stamp = SEEN._replace(vendor=vendor)
    host = HASWELL if not vendor else HASWELL._replace(host_cpu=None)

    assert Code.VENDOR_CROSSING not in {
        f.code for f in judged(host, stamped(OPEN, stamp), operation="migrate").findings
    }


# -- an arriving guest with a model, as its administrator wrote it


IN_FORCE = recorded("x86_64-guest-haswell-in-force-kvm")
IN_FORCE_TCG = recorded("x86_64-guest-skylake-in-force-tcg")
AS_WRITTEN = [cpu("Haswell-noTSX", attributes="check='none'"), mode("host-model")]
EPYC = recorded_host("epyc-libvirt9")


def as_written(xml: str, asked: str) -> str:
    """Put another <cpu> in the place of the one in force."""
    before, _, rest = xml.partition("<cpu ")
    return before + asked + rest.partition("</cpu>")[2]


@pytest.mark.parametrize("lost", [(), ("vme",), ("vme", "fpu"), ("hypervisor",)])
@pytest.mark.parametrize("xml", [IN_FORCE, IN_FORCE_TCG])
@pytest.mark.parametrize("asked", AS_WRITTEN)
def test_recorded_guests_as_written(
    xml: str, asked: str, lost: tuple[str, ...], cpu_map: CPUMap
) -> None:
    """`migrate` says what `prepare` would, with the CPU in force that only the stamp tells."""
    stamp, host = born(EPYC, xml, cpu_map), less(EPYC, *lost)
    early = judged(
        host, stamped(as_written(xml, asked), stamp), operation="migrate", cpu_map=cpu_map
    )
    late = judged(host, stamped(xml, stamp), arrives=True, cpu_map=cpu_map)

    assert [_told(f) for f in late.findings] == [_told(f) for f in early.findings]
    has_lost = bool(lost) and not (lost == ("vme",) and xml == IN_FORCE_TCG)  # TCG never gave it
    assert early.refused is has_lost


def _told(finding: Finding) -> tuple[str, str, str]:
    return finding.code, finding.subject, finding.sentence


HOSTS: Mapping[str, HostSnapshot] = {
    "same": HASWELL,
    "less": less(HASWELL, "avx2", "aes"),
    "libvirt 11": HASWELL_11,
    "amd": amd(HASWELL),
    "nameless": NAMELESS,
}
CEILINGS = ["", '[ceiling]\nx86_64 = "Nehalem"', '[ceiling]\nx86_64 = "Haswell-noTSX"']


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_as_written_is_judged_as_in_force(data: st.DataObject) -> None:
    """No false veto, and no missed one: a table over whatever QEMU may have made of a model."""
    model = data.draw(st.sampled_from(cpus.models(OWN_MAP, Arch.X86_64)))
    of_model = cpus.features(OWN_MAP, Arch.X86_64, CPUDef(model=model))
    names = sorted(of_model | SEEN.features | {"svm", "avx512f", "hle"})
    on = data.draw(st.frozensets(st.sampled_from(names), min_size=1))
    forbidden = data.draw(st.frozensets(st.sampled_from(names), max_size=2)) - on
    vendor = data.draw(st.sampled_from([None, "Intel", "AMD"]))
    in_force = CPUDef(
        model=model,
        check=Check.FULL,
        fallback=Fallback.FORBID,
        vendor=vendor,
        features=MappingProxyType(
            {
                **dict.fromkeys(sorted(on), FeaturePolicy.REQUIRE),
                **dict.fromkeys(sorted(of_model - on - forbidden), FeaturePolicy.DISABLE),
                **dict.fromkeys(sorted(forbidden), FeaturePolicy.FORBID),
            }
        ),
    )
    written = in_force._replace(
        check=data.draw(st.sampled_from([Check.NONE, Check.PARTIAL, None])),
        fallback=data.draw(st.sampled_from(list(Fallback))),
        features=MappingProxyType(dict.fromkeys(sorted(forbidden), FeaturePolicy.FORBID)),
    )
    if data.draw(st.booleans()):
        written = written._replace(mode=Mode.HOST_MODEL, model=None, vendor=None)
        in_force = in_force._replace(vendor="Intel")
    host = HOSTS[data.draw(st.sampled_from(sorted(HOSTS)))]
    toml = data.draw(st.sampled_from(CEILINGS))
    live = domain(format_cpu(in_force))
    stamp = born(HASWELL, live)

    early = judged(
        host, stamped(domain(format_cpu(written)), stamp), operation="migrate", toml=toml
    )
    late = judged(host, stamped(live, stamp), toml=toml, arrives=True)

    assert [_told(f) for f in late.findings] == [_told(f) for f in early.findings]


def test_as_written_with_names_that_are_not_known() -> None:
    """Then it is judged when its CPU in force is shown, as without a stamp."""
    xml = domain(cpu("Haswell", attributes="check='none'"))
    for stamp in (NEWER, SEEN._replace(model="Haswell-2040"), SEEN._replace(features=frozenset())):
        assert "allow" == told(judged(HASWELL, stamped(xml, stamp), operation="migrate"))


# -- PowerPC


def power(host: HostSnapshot, model: str) -> HostSnapshot:
    """Give *host* with another processor."""
    assert host.host_cpu is not None
    return host._replace(host_cpu=host.host_cpu._replace(model=model))


POWER_OPEN = domain(mode("host-passthrough"), arch="ppc64le")
POWER_MODEL = domain(mode("host-model"), arch="ppc64le")
POWER_COMPAT = domain(mode("host-model", model="power8"), arch="ppc64le")

POWER_ROWS = [
    pytest.param(POWER9, POWER_OPEN, POWER9, "allow", id="the same"),
    pytest.param(power(POWER9, "POWER8"), POWER_OPEN, POWER9, "deny: compat-mode POWER9"),
    pytest.param(power(POWER9, "POWER8"), POWER_MODEL, POWER9, "deny: compat-mode POWER9"),
    pytest.param(
        power(POWER9, "POWER9_v2.2"),
        POWER_OPEN,
        power(POWER9, "POWER10_v2.0"),
        "deny: compat-mode POWER10_v2.0",
        id="exact names carry the revision",
    ),
    pytest.param(
        POWER9, POWER_OPEN, power(POWER9, "POWER9_v2.0"), "allow", id="a revision is no generation"
    ),
    pytest.param(
        power(POWER9, "POWER10"), POWER_OPEN, POWER9, "allow", id="an older guest is for QEMU"
    ),
    pytest.param(
        power(POWER9, "POWER7"),
        POWER_COMPAT,
        POWER9,
        "deny: compat-mode power8",
        id="a compat mode is compared as libvirt does, once",
    ),
    pytest.param(
        power(POWER9, "POWER8"), POWER_COMPAT, POWER9, "allow", id="a compat mode both have"
    ),
    pytest.param(POWER11, POWER_OPEN, POWER9, "cannot-tell: unchecked ppc64le", id="no name"),
]


@pytest.mark.parametrize(("host", "xml", "origin", "expected"), POWER_ROWS)
def test_power(host: HostSnapshot, xml: str, origin: HostSnapshot, expected: str) -> None:
    """Only that a guest is newer than the host is said; the rest QEMU knows by itself."""
    stamp = born(origin, xml)

    assert expected == told(judged(host, stamped(xml, stamp), operation="migrate"))


# -- aarch64


def arm_host(*cores: int, features: str = "fp asimd sve", page_size: int = 4096) -> HostSnapshot:
    """Give the recorded host with what its registers would say."""
    arm = ArmHost(
        cores=frozenset(map(MIDR.of, cores)),
        features=frozenset(features.split()),
        registers=MappingProxyType({"ID_AA64PFR0_EL1": 0x11}),
        page_size=page_size,
    )
    return NEOVERSE._replace(arm=arm)


N1, N1_R1, A72 = 0x413FD0C0, 0x413FD0C1, 0x410FD083
ARM_OPEN = domain(mode("host-passthrough"), arch="aarch64")
ORIGIN = arm_host(N1)

ARM_ROWS = [
    pytest.param(arm_host(N1), "allow", id="the same"),
    pytest.param(
        arm_host(A72), "deny: core-mismatch part 0xd0c variant 3", id="cores of another kind"
    ),
    pytest.param(
        arm_host(0x503FD0C0), "deny: core-mismatch implementer 0x41", id="cores of another maker"
    ),
    pytest.param(arm_host(N1, A72), "deny: core-mismatch part 0xd0c variant 3", id="big.LITTLE"),
    pytest.param(arm_host(N1, page_size=65536), "deny: page-size 4096 bytes", id="page size"),
    pytest.param(arm_host(N1, features="fp asimd"), "deny: lost-feature sve", id="less"),
    pytest.param(arm_host(N1, features="fp asimd sve sve2"), "warn: new-feature sve2", id="more"),
    pytest.param(arm_host(N1_R1), "cannot-tell: unchecked aarch64", id="another revision"),
    pytest.param(
        arm_host(N1_R1, features="fp asimd sve sve2"),
        "cannot-tell: new-feature sve2; unchecked aarch64",
        id="another revision, and more",
    ),
    pytest.param(NEOVERSE, "cannot-tell: unchecked aarch64", id="registers that cannot be read"),
]


@pytest.mark.parametrize(("host", "expected"), ARM_ROWS)
def test_arm(host: HostSnapshot, expected: str) -> None:
    """KVM shows the guest its host's cores, and libvirt compares nothing."""
    stamp = born(ORIGIN, ARM_OPEN)

    assert expected == told(judged(host, stamped(ARM_OPEN, stamp), operation="migrate"))


def test_arm_of_an_origin_that_is_not_known() -> None:
    """Its stamp tells nothing of cores."""
    stamp = born(NEOVERSE, ARM_OPEN)
    verdict = judged(ORIGIN, stamped(ARM_OPEN, stamp), operation="migrate")

    assert "cannot-tell: unchecked aarch64" == told(verdict)
    assert "where the guest booted" in verdict.findings[0].sentence


def test_arm_without_a_stamp() -> None:
    """It would tell: its lack is a doubt."""
    assert "cannot-tell: unstamped host-passthrough" == told(
        judged(ORIGIN, ARM_OPEN, operation="migrate")
    )
