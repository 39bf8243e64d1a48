"""Verdicts that were wrong once, each with what was wrong about it."""

import pytest

from guardd.facts.snapshot import HostSnapshot
from guardd.probe.cpu_map import DIRECTORY, read_cpu_map
from tests.judge.table import (
    HASWELL,
    HASWELL_11,
    NAMELESS,
    NEOVERSE,
    POWER11,
    UUID,
    cpu,
    domain,
    judged,
    mode,
    told,
)
from tests.recordings import recorded, recorded_host

NEHALEM = '[ceiling]\nx86_64 = "Nehalem"'
HASWELL_CEILING = '[ceiling]\nx86_64 = "Haswell-noTSX"'
FULL = "check='full'"
OFF = [f"disable {name}" for name in ("hle", "rtm", "avx512f", "avx512cd", "avx512bw")]
NEWER = [f"disable {name}" for name in ("aes", "avx", "avx2", "invtsc")]
HIDDEN = domain(cpu("Haswell")).replace(
    "<os>", "<metadata><a xmlns='u:x'><![CDATA[<!DOCTYPE html>]]></a></metadata><os>"
)

ROWS = [
    pytest.param(
        HASWELL,
        domain(cpu("Haswell-noTSX", "require vme", "require hypervisor", attributes=FULL)),
        HASWELL_CEILING,
        "allow",
        id="the ceiling's own model, with what QEMU adds to it",
    ),
    pytest.param(
        HASWELL,
        domain(mode("host-model", *NEWER)),
        NEHALEM,
        "allow",
        id="host-model without what is above",
    ),
    pytest.param(
        HASWELL,
        domain(mode("host-passthrough", *NEWER)),
        NEHALEM,
        "allow",
        id="host-passthrough without what is above",
    ),
    pytest.param(
        HASWELL,
        domain(cpu("Nehalem", attributes="match='minimum'")),
        NEHALEM,
        "deny: above-ceiling aes avx avx2",
        id="match minimum gets the whole host",
    ),
    pytest.param(
        HASWELL,
        domain(cpu("Nehalem", "optional avx2")),
        NEHALEM,
        "deny: above-ceiling avx2",
        id="an optional feature that the host has",
    ),
    pytest.param(
        HASWELL,
        domain(mode("host-model", "require invtsc")),
        HASWELL_CEILING,
        "deny: above-ceiling invtsc; invtsc invtsc",
        id="host-model and a feature more",
    ),
    pytest.param(
        HASWELL,
        domain(mode("host-passthrough", "require avx512f", attributes="check='partial'")),
        "",
        "warn: silent-downgrade avx512f",
        id="host-passthrough is never compared",
    ),
    pytest.param(
        HASWELL,
        domain(cpu("Haswell-v2", fallback="forbid"), emulator="/opt/qemu-10"),
        "",
        "warn: unsupported-model Haswell-v2",
        id="another emulator's models are a guess, and refuse nobody",
    ),
    pytest.param(
        NAMELESS,
        domain(cpu("Nehalem", attributes="check='none'")),
        "",
        "cannot-tell: unchecked x86_64",
        id="nothing to compare with is no yes",
    ),
    pytest.param(
        NAMELESS,
        domain(cpu("Nehalem", attributes=FULL)),
        "",
        "cannot-tell: unchecked x86_64",
        id="nor is it for a guest in force",
    ),
    pytest.param(
        POWER11,
        domain(cpu("POWER9"), arch="ppc64le"),
        "",
        "cannot-tell: unchecked ppc64le",
        id="KVM on a POWER that libvirt cannot name",
    ),
    pytest.param(
        POWER11,
        domain(mode("host-passthrough"), arch="ppc64le"),
        "",
        "allow",
        id="there host-passthrough has nothing to be compared",
    ),
    pytest.param(
        NEOVERSE,
        domain(mode("host-passthrough"), arch="aarch64"),
        "",
        "allow",
        id="nor on arm, where KVM has no other mode",
    ),
    pytest.param(
        HASWELL_11,
        domain(cpu("Skylake-Server-v1", *OFF, "forbid x2apic")),
        "",
        "deny: forbidden-feature x2apic",
        id="forbid, where libvirt goes by QEMU's blockers",
    ),
    pytest.param(
        HASWELL, HIDDEN, "", "deny: missing-feature hle rtm", id="a DTD's text within metadata"
    ),
    pytest.param(
        HASWELL,
        domain(cpu("Haswell")),
        f'[guests]\n"{UUID.upper()}" = "observe"',
        "allow: missing-feature hle rtm",
        id="a UUID in capitals",
    ),
]


@pytest.mark.parametrize(("host", "xml", "toml", "expected"), ROWS)
def test_verdict(host: HostSnapshot, xml: str, toml: str, expected: str) -> None:
    """Each stays right."""
    assert expected == told(judged(host, xml, toml=toml))


def test_recorded_guest_under_its_own_ceiling() -> None:
    """A guest of Haswell-noTSX as it really ran under KVM, below a ceiling of that model."""
    if not DIRECTORY.is_dir():
        pytest.skip(f"no CPU map in {DIRECTORY}")
    guest = recorded("x86_64-guest-haswell-in-force-kvm")
    host = recorded_host("epyc-libvirt9")
    verdict = judged(host, guest, toml=HASWELL_CEILING, cpu_map=read_cpu_map())

    assert "allow" == told(verdict)
