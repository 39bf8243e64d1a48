"""What is said of a definition when it is written: one row a definition, as libvirt keeps it."""

from itertools import groupby
from types import MappingProxyType

import pytest

from guardd.facts.domain import parse_domain
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.stamp import NAMESPACE, Stamp, format_stamp
from guardd.judge import judge
from guardd.judge.advice import advise
from guardd.judge.finding import CheckRequest, Code, Enforcement, Finding, Operation
from guardd.render import advice_fields, advice_line, advice_lines
from tests.judge.table import (
    HASWELL,
    NEOVERSE,
    OWN_MAP,
    POWER9,
    UUID,
    cpu,
    domain,
    judged,
    mode,
    policy_of,
)

TIMER = "<clock offset='utc'><timer name='tsc' frequency='2593906000'/></clock>"
OFF, ON = "check='none' migratable='off'", "check='none' migratable='on'"
STAMP = Stamp(
    uuid=UUID, taken="2026-11-22T21:00:00Z", host="host1", virt_type="kvm", arch=HASWELL.arch
)
STAMPED = format_stamp(STAMP).replace("<stamp", f"<g:stamp xmlns:g='{NAMESPACE}'")
WHOLE, CUT = f"<metadata>{STAMPED}</metadata>", f"<metadata>{STAMPED[:-5]}'/></metadata>"


def advised(
    host: HostSnapshot, xml: str, toml: str = ""
) -> tuple[tuple[Finding, ...], CheckRequest]:
    """Give what is said of a definition on *host*."""
    request = CheckRequest(domain="web1", operation=Operation.PREPARE, xml=xml, arrives=False)
    verdict = judge(request, host, policy_of(toml), OWN_MAP)
    return advise(parse_domain(xml), verdict, host, policy_of(toml), OWN_MAP), request


def said(host: HostSnapshot, xml: str, toml: str = "") -> str:
    """Give it as "CODE SUBJECT SUBJECT; CODE SUBJECT"."""
    groups = groupby(advised(host, xml, toml)[0], key=lambda finding: finding.code)
    return "; ".join(" ".join([code, *(f.subject for f in found)]) for code, found in groups)


ROWS = [
    pytest.param(domain(cpu("Haswell-noTSX", attributes="check='partial'")), "", id="sound"),
    pytest.param(domain(mode("host-model", attributes="check='partial'")), "", id="host-model"),
    pytest.param(domain(mode("host-passthrough", attributes=ON)), "", id="host-passthrough"),
    pytest.param(
        domain(mode("host-passthrough", attributes=OFF)),
        "never-migrates migratable='off'",
        id="host-passthrough, not migratable",
    ),
    pytest.param(
        domain(mode("maximum", attributes=OFF)),
        "never-migrates migratable='off'",
        id="maximum, not migratable",
    ),
    pytest.param(
        domain(mode("host-passthrough", "disable invtsc", attributes=OFF)),
        "",
        id="not migratable but for that: QEMU migrates it",
    ),
    pytest.param(
        domain(mode("host-passthrough", attributes=OFF)).replace("<cpu", f"{TIMER}<cpu"),
        "",
        id="not migratable, at a fixed frequency: QEMU migrates it",
    ),
    pytest.param(
        domain(mode("maximum", attributes=OFF), virt="qemu"), "", id="TCG has nothing of the kind"
    ),
    pytest.param(
        domain(mode("host-passthrough", "require invtsc", attributes=ON)),
        "invtsc invtsc",
        id="invtsc asked for by name",
    ),
    pytest.param(
        domain(cpu("Haswell-noTSX", "require invtsc", attributes="check='partial'")),
        "invtsc invtsc",
        id="invtsc beside a model",
    ),
    pytest.param(
        domain(cpu("Haswell-noTSX", "force invtsc", attributes="check='partial'")),
        "invtsc invtsc",
        id="invtsc by force",
    ),
    pytest.param(
        domain(cpu("Haswell-noTSX", "optional invtsc", attributes="check='partial'")),
        "",
        id="invtsc where there is any",
    ),
    pytest.param(
        domain(cpu("Haswell-noTSX", "require invtsc", attributes="check='partial'")).replace(
            "<cpu", f"{TIMER}<cpu"
        ),
        "",
        id="invtsc at a fixed frequency",
    ),
    pytest.param(
        domain(cpu("Nehalem", attributes="check='none'")), "no-check Nehalem", id="no check on KVM"
    ),
    pytest.param(
        domain(cpu("Nehalem", attributes="check='none'"), virt="qemu"),
        "",
        id="no check is what libvirt writes for TCG",
    ),
    pytest.param(domain(""), "default-cpu qemu64", id="no cpu, in a file"),
    pytest.param(
        domain("<cpu><topology sockets='1' cores='2' threads='1'/></cpu>"),
        "default-cpu qemu64",
        id="only a topology, in a file",
    ),
    pytest.param(
        domain(cpu("qemu64", attributes="match='exact' check='none'", fallback="forbid")),
        "silent-downgrade svm; default-cpu qemu64",
        id="what libvirt writes for no cpu",
    ),
    pytest.param(
        domain(cpu("qemu64", attributes="check='none'")),
        "silent-downgrade svm; no-check qemu64",
        id="QEMU's default, chosen",
    ),
    pytest.param(domain("", virt="qemu"), "", id="no cpu under TCG"),
    pytest.param(
        domain(cpu("Skylake-Server", attributes="check='partial'")),
        "missing-feature hle rtm avx512f avx512cd avx512bw",
        id="could not start",
    ),
    pytest.param(
        domain(mode("host-model", attributes="check='partial'")).replace("<cpu", f"{WHOLE}<cpu"),
        "bad-stamp web1",
        id="a stamp, made from the XML of a running guest",
    ),
    pytest.param(
        domain(mode("host-model", attributes="check='partial'")).replace("<cpu", f"{CUT}<cpu"),
        "bad-stamp web1",
        id="a stamp, and not a good one",
    ),
    pytest.param(
        domain(cpu("Mystery", attributes="check='none'")),
        "unknown-model Mystery; no-check Mystery",
        id="nobody knows it",
    ),
]


@pytest.mark.parametrize(("xml", "expected"), ROWS)
def test_advise(xml: str, expected: str) -> None:
    """On an Intel host that has invtsc."""
    assert expected == said(HASWELL, xml)


@pytest.mark.parametrize(
    ("host", "xml"),
    [
        (POWER9, domain(mode("host-passthrough"), arch="ppc64le")),
        (POWER9, domain("", arch="ppc64le")),
        (NEOVERSE, domain(mode("host-passthrough"), arch="aarch64")),
        (NEOVERSE, domain(cpu("cortex-a57"), arch="aarch64")),
        (HASWELL, domain(mode("host-passthrough", attributes=OFF), arch="s390x")),
        (HASWELL._replace(hypervisors=()), domain(mode("host-passthrough", attributes=OFF))),
    ],
)
def test_nothing_can_be_told(host: HostSnapshot, xml: str) -> None:
    """Of other architectures, and where nothing is known of the hypervisor: no noise."""
    assert "" == said(host, xml)


def test_doubts_count_where_they_refuse() -> None:
    """With on_cannot_tell = "deny" it could not start, and that is said."""
    xml = domain(cpu("cortex-a57"), arch="aarch64")

    assert said(NEOVERSE, xml, 'on_cannot_tell = "deny"').startswith("unchecked ")


def test_modes() -> None:
    """What the administrator wants said louder; a guest's own mode bounds it."""
    xml = domain(cpu("Nehalem", attributes="check='none'"))
    [by_default] = advised(HASWELL, xml)[0]
    [louder] = advised(HASWELL, xml, '[rules]\nno-check = "warn"')[0]
    [bounded] = advised(HASWELL, xml, '[rules]\nno-check = "warn"\n[guests]\nweb1 = "observe"')[0]

    assert (Enforcement.OBSERVE, Enforcement.WARN, Enforcement.OBSERVE) == (
        by_default.mode,
        louder.mode,
        bounded.mode,
    )


def test_a_host_without_invtsc() -> None:
    """Where the hypervisor does not give it, nothing keeps the guest from migrating."""
    hypervisors = tuple(
        h._replace(host_model=h.host_model._replace(features=MappingProxyType({})))
        for h in HASWELL.hypervisors
        if h.host_model is not None
    )
    host = HASWELL._replace(host_cpu=None, hypervisors=hypervisors)

    assert "" == said(host, domain(mode("host-passthrough", attributes=OFF)))


@pytest.mark.parametrize(
    ("xml", "line"),
    [
        (
            domain(mode("host-passthrough", attributes=OFF)),
            (
                "cpu-guardd[never-migrates]: defined: web1 can never migrate or be saved,"
                " because of migratable='off'; see: cpu-guardctl check web1"
            ),
        ),
        (
            domain(cpu("Skylake-Server", "require invtsc", attributes="check='partial'")),
            (
                "cpu-guardd[missing-feature]: defined, but could not start here: web1 needs hle,"
                " rtm (+3) from Skylake-Server; this host (Haswell-noTSX, KVM) lacks them (also:"
                " invtsc); see: cpu-guardctl check web1"
            ),
        ),
        (
            domain(mode("host-model")).replace("<cpu", f"{WHOLE}<cpu"),
            (
                "cpu-guardd[bad-stamp]: defined: of web1: the definition holds the stamp of a guest"
                " that was running; see: cpu-guardctl check web1"
            ),
        ),
    ],
)
def test_line(xml: str, line: str) -> None:
    """The one line of the journal."""
    verdict = judged(HASWELL, xml)
    advice = advised(HASWELL, xml)[0]

    assert line == advice_line(verdict, advice)


def test_report() -> None:
    """At length: what, why, and the way out with the guest's name in it."""
    xml = domain(cpu("Nehalem", attributes="check='none'")).replace("<cpu", f"{WHOLE}<cpu")
    verdict = judged(HASWELL, xml)
    advice = advised(HASWELL, xml)[0]
    lines = advice_lines(verdict, advice)

    assert {Code.BAD_STAMP, Code.NO_CHECK} == {finding.code for finding in advice}
    assert any(f"virsh metadata 'web1' {NAMESPACE} --remove --config" in line for line in lines)
    assert {
        "GUARDD_DOMAIN": "web1",
        "GUARDD_DOMAIN_UUID": UUID,
        "GUARDD_FINDINGS": "bad-stamp:web1 no-check:Nehalem",
        "GUARDD_REPORT": "\n".join(["web1:", *lines]),
    } == advice_fields(verdict, advice)
