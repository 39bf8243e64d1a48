"""Domain capabilities as libvirt 9.0.0 and 11.3.0 write them."""

import pytest

from guardd.cpu.definition import Arch, CPUType, FeaturePolicy, Mode, PhysAddrMode
from guardd.errors import GuardError, InvalidCapabilities, InvalidCPU, MalformedXML
from guardd.facts.domcaps import Hypervisor, HypervisorKey, ModelSupport, Usable, parse_domcaps
from tests.recordings import recorded

ALL_MODES = frozenset(Mode)
QEMU = "/usr/bin/qemu-system-x86_64"


def tiny(cpu: str) -> Hypervisor:
    """Read a document with only *cpu* in it."""
    return parse_domcaps(
        "<domainCapabilities><path>/q</path><domain>kvm</domain><machine>pc</machine>"
        f"<arch>x86_64</arch><cpu>{cpu}</cpu></domainCapabilities>"
    )


@pytest.mark.parametrize(
    ("name", "key", "modes", "host_model"),
    [
        (
            "x86_64-epyc-libvirt9-kvm",
            HypervisorKey("kvm", Arch.X86_64, "pc-q35-7.2", QEMU),
            ALL_MODES,
            "kvm64",
        ),
        (
            "x86_64-epyc-libvirt9-tcg",
            HypervisorKey("qemu", Arch.X86_64, "pc-q35-7.2", QEMU),
            ALL_MODES - {Mode.HOST_PASSTHROUGH},
            "EPYC",
        ),
        (
            "x86_64-epyc-libvirt11-kvm",
            HypervisorKey("kvm", Arch.X86_64, "pc-q35-10.0", QEMU),
            ALL_MODES,
            "EPYC-Genoa",
        ),
        (
            "ppc64le-epyc-libvirt11-tcg",
            HypervisorKey("qemu", Arch.PPC64LE, "pseries-10.0", "/usr/bin/qemu-system-ppc64le"),
            {Mode.CUSTOM},
            None,
        ),
    ],
)
def test_recordings(
    name: str, key: HypervisorKey, modes: frozenset[Mode], host_model: str | None
) -> None:
    """What each of them says of itself, and which CPU host-model stands for."""
    found = parse_domcaps(recorded(name))

    assert key == found.key
    assert modes == found.modes
    assert host_model == (found.host_model.model if found.host_model else None)


def test_the_host_model_is_a_guest_definition() -> None:
    """It is what a guest with mode host-model would become: policies on every feature."""
    found = parse_domcaps(recorded("x86_64-epyc-libvirt11-kvm")).host_model

    assert found is not None
    assert (CPUType.GUEST, Mode.CUSTOM, "AMD") == (found.type, found.mode, found.vendor)
    assert FeaturePolicy.REQUIRE is found.features["x2apic"]
    assert FeaturePolicy.DISABLE is found.features["pni"]
    assert found.maxphysaddr is not None
    assert (PhysAddrMode.PASSTHROUGH, 48) == (found.maxphysaddr.mode, found.maxphysaddr.limit)


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        # 9.0.0 tells that a model is unusable, not why: None
        ("x86_64-epyc-libvirt9-kvm", "pentium3", ModelSupport(usable=Usable.YES, blockers=())),
        ("x86_64-epyc-libvirt9-kvm", "qemu64", ModelSupport(usable=Usable.NO)),
        ("x86_64-epyc-libvirt11-kvm", "486-v1", ModelSupport(usable=Usable.YES, blockers=())),
        (
            "x86_64-haswell11-kvm",
            "Haswell",
            ModelSupport(usable=Usable.NO, blockers=("hle", "rtm")),
        ),
        ("ppc64le-epyc-libvirt9-tcg", "POWER9", ModelSupport(usable=Usable.UNKNOWN)),
    ],
)
def test_models(name: str, model: str, expected: ModelSupport) -> None:
    """yes, no with or without reasons, and unknown stay four different things."""
    assert expected == parse_domcaps(recorded(name)).models[model]


def test_every_unusable_model_of_libvirt_11_has_its_blockers() -> None:
    """The blockers are an element beside the model, not inside it."""
    models = parse_domcaps(recorded("x86_64-epyc-libvirt11-kvm")).models
    unusable = [m for m in models.values() if m.usable is Usable.NO]

    assert len(unusable) > 100
    assert [] == [m for m in unusable if not m.blockers]
    assert "rdtscp" in (models["Broadwell"].blockers or ())


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        pytest.param("", frozenset(), id="no modes at all"),
        pytest.param("<mode name='custom' supported='no'/>", frozenset(), id="unsupported"),
        pytest.param("<mode name='custom'/>", frozenset(), id="does not say"),
        pytest.param("<mode name='quantum' supported='yes'/>", frozenset(), id="unknown mode"),
        pytest.param("<mode supported='yes'/>", frozenset(), id="no name"),
        pytest.param("<mode name='maximum' supported='yes'/>", {Mode.MAXIMUM}, id="supported"),
    ],
)
def test_modes(cpu: str, expected: frozenset[Mode]) -> None:
    """A mode counts only where libvirt says yes; one that is newer than we are is left out."""
    assert expected == tiny(cpu).modes


def test_a_word_of_usable_that_nobody_knows() -> None:
    """It is unknown, never yes."""
    found = tiny("<mode name='custom' supported='yes'><model usable='maybe'>A</model></mode>")

    assert ModelSupport(usable=Usable.UNKNOWN) == found.models["A"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("", MalformedXML, id="nothing"),
        pytest.param("<domain/>", InvalidCapabilities, id="a domain"),
        pytest.param("<domainCapabilities/>", InvalidCapabilities, id="empty"),
        pytest.param(
            "<domainCapabilities><domain>kvm</domain><arch>pdp11</arch></domainCapabilities>",
            InvalidCapabilities,
            id="unknown arch",
        ),
        pytest.param(
            "<domainCapabilities><arch>x86_64</arch></domainCapabilities>",
            InvalidCapabilities,
            id="no virt type",
        ),
        pytest.param(
            "<domainCapabilities><domain>kvm</domain><arch>x86_64</arch><cpu>"
            "<mode name='host-model' supported='yes'><model>A</model>"
            "<feature policy='perhaps' name='b'/></mode></cpu></domainCapabilities>",
            InvalidCPU,
            id="host model with a policy that nobody knows",
        ),
    ],
)
def test_refused(text: str, error: type[GuardError]) -> None:
    """What cannot be read is an error for the watcher to tell, not half a hypervisor."""
    with pytest.raises(error):
        parse_domcaps(text)
