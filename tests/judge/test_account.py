"""Where what a guest asks for comes from, and how it came about that a host does not give it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from guardd.facts.domain import Guest, parse_domain
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.account import asked_by, reasons
from guardd.judge.finding import Finding
from guardd.render.explain import Where, asked_lines, reason_lines, step_lines, steps
from tests.judge.table import HASWELL, OWN_MAP, born, cpu, domain, judged, mode, stamped
from tests.recordings import without

SKYLAKE = cpu("Skylake-Server", "require svm", attributes="check='partial'")
HERE = Where(name="web 1", uuid="", is_here=True, runs=False)


def found(host: HostSnapshot, xml: str, **how: bool) -> tuple[tuple[Finding, ...], Guest]:
    """Judge a guest; give what is found, and the guest."""
    operation = "migrate" if how.get("arrives") else "prepare"
    verdict = judged(host, xml, operation=operation, arrives=how.get("arrives", False))
    return verdict.findings, parse_domain(xml)


def told(host: HostSnapshot, xml: str, previous: HostSnapshot | None = None) -> list[str]:
    """Say how it came about."""
    findings, guest = found(host, xml)
    return list(reason_lines(reasons(findings, guest, host, previous, OWN_MAP)))


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        pytest.param(
            domain(SKYLAKE),
            [
                "<feature> elements in its <cpu>: svm",
                "its model, Skylake-Server: all else",
            ],
            id="as written",
        ),
        pytest.param(
            domain(cpu("Skylake-Server", "require svm", attributes="check='full'")),
            [
                "the CPU that it got when it started: svm",
                "its model, Skylake-Server: all else",
            ],
            id="in force",
        ),
        pytest.param(
            domain(mode("host-model", "require avx512f")),
            ["<feature> elements in its <cpu>: avx512f"],
            id="host-model",
        ),
        pytest.param(
            domain(cpu("Nothing", attributes="check='partial'", fallback="forbid")),
            ["<model> in its definition: Nothing"],
            id="model",
        ),
        pytest.param(domain(""), [], id="nothing"),
    ],
)
def test_asked_by(xml: str, expected: list[str]) -> None:
    """The model, an element of its own, or what it got when it started."""
    findings, guest = found(HASWELL, xml)
    lines = list(asked_lines(asked_by(findings, guest, OWN_MAP)))

    assert expected == lines


def test_stamp() -> None:
    """What it has seen since it booted, and the versions there."""
    xml = domain(mode("host-passthrough"))
    stamp = born(HASWELL, xml)._replace(host="hosta")
    stamp = stamp._replace(versions=MappingProxyType({"libvirt": "9.0.0", "kernel": "6.9.0"}))
    poorer = without(HASWELL, "avx2")
    findings, guest = found(poorer, stamped(xml, stamp), arrives=True)

    assert ["what it has seen since it booted, on hosta: avx2"] == list(
        asked_lines(asked_by(findings, guest, OWN_MAP))
    )
    [hardware, versions] = reason_lines(reasons(findings, guest, poorer, None, OWN_MAP))
    assert hardware == "this host's processor (Nehalem) does not have them: avx2"
    assert versions == (
        "the guest booted on hosta, 2026-11-23T00:00:00Z, under other versions than here: kernel"
        " 6.1.0 (was 6.9.0)"
    )


def test_layers() -> None:
    """What the processor lacks, and what it has and guests do not get."""
    kept_back = HASWELL._replace(hypervisors=without(HASWELL, "avx2").hypervisors)

    assert [
        "this host's processor (Haswell-noTSX) does not have them: hle, rtm",
        "this host's processor (Haswell-noTSX) has them, and KVM or QEMU does not give them: avx2",
    ] == told(kept_back, domain(cpu("Haswell", attributes="check='full'")))


def test_drift() -> None:
    """What an update took away, with the update."""
    before = HASWELL._replace(taken="2026-11-01T00:00:00Z", qemu="7.2.0", fingerprint={})
    now = without(HASWELL, "avx2")._replace(qemu="7.2.9")
    lines = told(now, domain(cpu("Haswell", attributes="check='partial'")), before)

    assert (
        "this host had them until it changed, after 2026-11-01T00:00:00Z: QEMU 7.2.9 (was 7.2.0),"
        " host CPU Nehalem (was Haswell-noTSX): avx2"
    ) in lines


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (
            cpu("Nehalem", "require tsc_deadline", attributes="check='partial'"),
            "may be meant for tsc-deadline, or be of a newer one: tsc_deadline",
        ),
        (
            cpu("Haswel", attributes="check='partial'"),
            "may be meant for Haswell, or be of a newer one: Haswel",
        ),
        (
            cpu("Nehalem", "require frob", attributes="check='partial'"),
            "may be of a newer one: frob",
        ),
    ],
)
def test_unknown_names(element: str, expected: str) -> None:
    """A typing error, another spelling, or a newer libvirt's."""
    [line] = told(HASWELL, domain(element))

    assert line.startswith("a name that this host's libvirt does not know ")
    assert expected in line


def test_nothing_to_say() -> None:
    """Of a guest that fits."""
    assert [] == told(HASWELL, domain(cpu("Nehalem")), HASWELL)


def test_emulated() -> None:
    """No processor explains it."""
    assert ["TCG emulates the guest's CPU, and does not have them: all of it"] == told(
        HASWELL, domain(SKYLAKE, virt="qemu"), HASWELL
    )


def test_steps() -> None:
    """Commands that can be pasted, the best way first; names are quoted."""
    findings, guest = found(HASWELL, domain(cpu("Haswell", attributes="check='partial'")))
    lines = list(step_lines(steps(findings, HERE, (), is_held=True)))

    assert [
        "    cpu-guardctl fix 'web 1'",
        "    <feature policy='disable' name='hle'/>",
        "    <feature policy='disable' name='rtm'/>",
        "    cpu-guardctl check 'web 1' --on qemu+ssh://OTHERHOST/system",
        "    [guests]",
        '    "web 1" = "warn"',
    ] == [line for line in lines if line.startswith("    ")]

    away = replace(HERE, is_here=False)
    assert not any("fix" in line for line in step_lines(steps(findings, away, (), is_held=True)))
    assert [] == steps((), HERE, (), is_held=False)
    assert guest.name == "web1"


@pytest.mark.parametrize(
    ("host", "xml", "operation", "expected"),
    [
        (None, domain(""), "prepare", "    cpu-guardctl status"),
        (HASWELL, "<domain/>", "prepare", "    virsh dumpxml --inactive 'web 1'"),
        (HASWELL, domain(mode("host-passthrough")), "migrate", "    virsh start 'web 1'"),
    ],
)
def test_steps_in_doubt(
    host: HostSnapshot | None,
    xml: str,
    operation: str,
    expected: str,
) -> None:
    """What would make it known."""
    verdict = judged(host, xml, operation=operation, arrives=operation == "migrate")

    assert expected in list(step_lines(steps(verdict.findings, HERE, (), is_held=False)))
