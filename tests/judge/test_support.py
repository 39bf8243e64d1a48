"""Modes and models that QEMU does not offer: libvirt refuses them whatever the check says."""

import pytest

from tests.judge.table import HASWELL, cpu, domain, judged, mode, told

ROWS = [
    pytest.param(
        "qemu",
        mode("host-passthrough"),
        "deny: unsupported-mode host-passthrough",
        id="host-passthrough needs an accelerator",
    ),
    pytest.param(
        "qemu",
        mode("host-passthrough", "require frob"),
        "deny: unsupported-mode host-passthrough",
        id="nothing else is looked at then",
    ),
    pytest.param("kvm", mode("host-passthrough"), "allow", id="KVM has all four modes"),
    pytest.param(
        "kvm",
        cpu("Skylake-Server-v1", *[f"disable {n}" for n in ("hle", "rtm")], fallback="forbid"),
        "deny: unsupported-model Skylake-Server-v1",
        id="a model that the map has and QEMU has not",
    ),
    pytest.param(
        "kvm",
        cpu("Haswell-v2"),
        "allow",
        id="the same with fallback allow: libvirt translates it",
    ),
    pytest.param(
        "kvm",
        cpu("Skylake-Server-v1"),
        "deny: missing-feature hle rtm avx512f avx512cd avx512bw",
        id="translated or not, its features must be there",
    ),
    pytest.param(
        "kvm",
        cpu("Haswell-v2", fallback="forbid", attributes="check='none'"),
        "deny: unsupported-model Haswell-v2",
        id="check none does not help",
    ),
    pytest.param(
        "kvm",
        cpu("Haswell-v2", fallback="forbid", attributes="check='full'"),
        "deny: unsupported-model Haswell-v2",
        id="nor does it in force",
    ),
]


@pytest.mark.parametrize(("virt", "asked", "expected"), ROWS)
def test_support(virt: str, asked: str, expected: str) -> None:
    """libvirt's steps 3 and 6c before a start."""
    assert expected == told(judged(HASWELL, domain(asked, virt=virt)))


def test_the_hint_says_where_to_look() -> None:
    """What QEMU offers is one command away."""
    (finding,) = judged(HASWELL, domain(cpu("Haswell-v2", fallback="forbid"))).findings

    assert "see `virsh domcapabilities --arch x86_64` for the models it has" == finding.hint
