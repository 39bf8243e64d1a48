"""PowerPC: no features, a model is the host's or it is not, and compatibility modes."""

import pytest

from guardd.facts.snapshot import HostSnapshot
from tests.judge.table import POWER9, POWER11, cpu, domain, judged, mode, told
from tests.recordings import recorded_host

ROWS = [
    pytest.param(POWER9, "", "allow", id="no cpu"),
    pytest.param(POWER9, cpu("POWER9"), "allow", id="the host's generation"),
    pytest.param(
        POWER9,
        cpu("POWER8"),
        "deny: model-mismatch POWER8",
        id="an older one is another: KVM cannot run it",
    ),
    pytest.param(POWER9, cpu("POWER10"), "deny: model-mismatch POWER10", id="a newer one"),
    pytest.param(
        POWER9,
        cpu("POWER8", attributes="match='minimum'"),
        "deny: model-mismatch POWER8",
        id="match is not looked at",
    ),
    pytest.param(
        POWER9,
        cpu("POWER8_v1.0"),
        "deny: model-mismatch POWER8",
        id="a legacy name is shown as what it is today",
    ),
    pytest.param(
        POWER9,
        "<cpu><model>POWER9</model><vendor>Freescale</vendor></cpu>",
        "deny: vendor-mismatch Freescale",
        id="vendor",
    ),
    pytest.param(
        POWER9,
        cpu("POWER8", attributes="check='none'"),
        "warn: silent-downgrade POWER8",
        id="check none: libvirt does not compare",
    ),
    pytest.param(POWER9, mode("host-passthrough"), "allow", id="host-passthrough"),
    pytest.param(POWER9, mode("host-model"), "allow", id="host-model"),
    pytest.param(POWER9, mode("host-model", model="power8"), "allow", id="an older compat mode"),
    pytest.param(POWER9, mode("host-model", model="power9"), "allow", id="its own compat mode"),
    pytest.param(
        POWER9,
        mode("host-model", model="power10"),
        "deny: compat-mode power10",
        id="a newer compat mode",
    ),
    pytest.param(
        POWER9,
        mode("host-model", model="power11"),
        "deny: compat-mode power11",
        id="a compat mode that does not exist",
    ),
    pytest.param(
        POWER9,
        mode("host-model", model="POWER9"),
        "deny: compat-mode POWER9",
        id="a compat mode in upper case is none",
    ),
    pytest.param(
        POWER9,
        cpu("POWER11"),
        "deny: unsupported-model POWER11",
        id="a libvirt name that this QEMU has not: only libvirt spells it so",
    ),
    pytest.param(
        POWER9, cpu("power9"), "cannot-tell: unchecked power9", id="a QEMU name: QEMU may have it"
    ),
    pytest.param(
        POWER9,
        cpu("POWER9_v2.0"),
        "deny: unsupported-model POWER9_v2.0",
        id="a libvirt name with a version: QEMU spells them in lower case",
    ),
    pytest.param(
        POWER9,
        cpu("power9_v2.0"),
        "cannot-tell: unchecked power9_v2.0",
        id="a QEMU name with its version",
    ),
    pytest.param(
        POWER9,
        cpu("POWER6"),
        "deny: unsupported-model POWER6",
        id="too old for this QEMU, fallback or not: there is no translation",
    ),
    pytest.param(
        POWER11,
        mode("host-model", model="power9"),
        "deny: unsupported-mode host-model",
        id="a host that libvirt cannot name has no host-model",
    ),
]


@pytest.mark.parametrize("arch", ["ppc64le", "ppc64"])
@pytest.mark.parametrize(("host", "asked", "expected"), ROWS)
def test_kvm(host: HostSnapshot, asked: str, expected: str, arch: str) -> None:
    """Both byte orders are one family: a guest of either runs on the same host."""
    told_of = told(judged(host, domain(asked, arch=arch)))

    assert expected.replace("ppc64le", arch) == told_of


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (cpu("POWER9", attributes="check='none'"), "allow"),
        (cpu("POWER8", attributes="check='none'"), "deny: model-mismatch POWER8"),
        (mode("host-model", model="power9"), "allow"),
        (mode("host-model", model="power10"), "deny: compat-mode power10"),
    ],
)
@pytest.mark.parametrize("operation", ["migrate", "restore"])
def test_arrival(asked: str, expected: str, operation: str) -> None:
    """No live update here: what was written is what the guest has, whatever its check says."""
    assert expected == told(judged(POWER9, domain(asked, arch="ppc64le"), operation=operation))


@pytest.mark.parametrize("asked", [mode("host-passthrough"), mode("maximum"), mode("host-model")])
def test_tcg_has_only_custom(asked: str) -> None:
    """libvirt offers no other mode for an emulated PowerPC."""
    verdict = judged(POWER9, domain(asked, arch="ppc64le", virt="qemu"))

    assert told(verdict).startswith("deny: unsupported-mode ")
    assert "supported are: custom" == verdict.findings[0].hint


TCG_ROWS = [
    pytest.param(cpu("POWER9"), "allow", id="a model that QEMU has"),
    pytest.param(cpu("POWER10"), "allow", id="whatever the silicon is"),
    pytest.param(
        cpu("POWER9", attributes="check='partial'"), "allow", id="there is nothing to compare with"
    ),
    pytest.param(cpu("POWER6"), "deny: unsupported-model POWER6", id="one that it has not"),
    pytest.param(cpu("power9"), "cannot-tell: unchecked power9", id="one that it may have"),
    pytest.param(
        cpu("POWER8_v1.0"),
        "deny: unsupported-model POWER8_v1.0",
        id="a legacy name: libvirt would ask the host's driver, and that is not of PowerPC",
    ),
]


@pytest.mark.parametrize("operation", ["prepare", "migrate", "restore"])
@pytest.mark.parametrize(("asked", "expected"), TCG_ROWS)
def test_tcg_on_another_architecture(asked: str, expected: str, operation: str) -> None:
    """An emulated PowerPC on an x86 host: QEMU's word is all there is."""
    xml = domain(asked, arch="ppc64le", virt="qemu")

    assert expected == told(judged(recorded_host("epyc-libvirt9"), xml, operation=operation))
