"""How the tables of this folder are written: a <cpu> goes in, one line of text comes out."""

from itertools import groupby

from guardd.config import parse_config
from guardd.cpu import CPUMap
from guardd.facts.domain import parse_domain
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.stamp import NAMESPACE as STAMP_NAMESPACE
from guardd.facts.stamp import PREFIX as STAMP_PREFIX
from guardd.facts.stamp import Stamp, format_stamp
from guardd.judge import judge
from guardd.judge.birth import birth_record
from guardd.judge.finding import CheckRequest, Operation, Verdict
from guardd.judge.policy import Policy
from guardd.xmldoc import escape
from tests.recordings import recorded_host, small_map, small_map_of_libvirt_9

OWN_MAP = small_map()
OLD_MAP = small_map_of_libvirt_9()
HASWELL = recorded_host("haswell")  # Intel, Haswell-noTSX: libvirt 9, usable without reasons
HASWELL_11 = recorded_host("haswell11")  # the same as libvirt 11 tells it: with blockers
POWER9 = recorded_host("power9")
POWER11 = recorded_host("power11")  # libvirt has no name for it
NEOVERSE = recorded_host("neoverse")  # of an architecture without a driver
NAMELESS = recorded_host("nameless")  # x86 that libvirt could not name

UUID = "7d0a5d4e-30d5-4a4b-9a5f-9d3c8f6c2f0e"
_MACHINES = {"x86_64": "q35", "i686": "pc", "ppc64le": "pseries", "ppc64": "pseries"}


def cpu(model: str, *features: str, attributes: str = "", fallback: str = "allow") -> str:
    """Write a <cpu> with mode custom; each of *features* is "POLICY NAME"."""
    words = [feature.split() for feature in features]
    return (
        f"<cpu mode='custom' {attributes}><model fallback='{fallback}'>{model}</model>"
        + "".join(f"<feature policy='{policy}' name='{name}'/>" for policy, name in words)
        + "</cpu>"
    )


def mode(word: str, *features: str, model: str = "", attributes: str = "") -> str:
    """Write a <cpu> with another mode."""
    words = [feature.split() for feature in features]
    return (
        f"<cpu mode='{word}' {attributes}>"
        + (f"<model>{model}</model>" if model else "")
        + "".join(f"<feature policy='{policy}' name='{name}'/>" for policy, name in words)
        + "</cpu>"
    )


def domain(
    cpu_xml: str, *, virt: str = "kvm", arch: str = "x86_64", machine: str = "", emulator: str = ""
) -> str:
    """Write the domain around a <cpu>, as short as the parser takes it."""
    machine = machine or _MACHINES.get(arch, "virt")
    devices = f"<devices><emulator>{escape(emulator)}</emulator></devices>" if emulator else ""
    return (
        f"<domain type='{virt}'><name>web1</name><uuid>{UUID}</uuid>"
        f"<os><type arch='{arch}' machine='{machine}'>hvm</type></os>{cpu_xml}{devices}</domain>"
    )


def stamp_element(stamp: Stamp) -> str:
    """Write a stamp as libvirt keeps it: with our prefix and its namespace."""
    return format_stamp(stamp).replace(
        "<stamp", f"<{STAMP_PREFIX}:stamp xmlns:{STAMP_PREFIX}='{STAMP_NAMESPACE}'"
    )


def stamped(xml: str, stamp: Stamp | str) -> str:
    """Put a stamp, or the element of one, into a domain."""
    element = stamp if isinstance(stamp, str) else stamp_element(stamp)
    return xml.replace("</name>", f"</name><metadata>{element}</metadata>", 1)


def born(host: HostSnapshot, xml: str, cpu_map: CPUMap = OWN_MAP) -> Stamp:
    """Give the stamp that a guest gets which runs on *host*, with its live *xml*."""
    return birth_record(parse_domain(xml), host, cpu_map, taken="2026-11-23T00:00:00Z")


def policy_of(toml: str) -> Policy:
    """Read *toml* as the text of guardd.toml."""
    return parse_config([("guardd.toml", toml.encode())]).policy


def judged(  # noqa: PLR0913 (what a verdict hangs on)
    host: HostSnapshot | None,
    xml: str,
    *,
    operation: str = "prepare",
    toml: str = "",
    cpu_map: CPUMap = OWN_MAP,
    arrives: bool | None = None,
    pool: tuple[HostSnapshot, ...] = (),
) -> Verdict:
    """Judge a domain on *host*."""
    request = CheckRequest(domain="web1", operation=Operation(operation), xml=xml, arrives=arrives)
    return judge(request, host, policy_of(toml)._replace(pool=pool), cpu_map)


def told(verdict: Verdict) -> str:
    """Give decision and findings as "DECISION: CODE SUBJECT SUBJECT; CODE SUBJECT"."""
    groups = groupby(verdict.findings, key=lambda finding: finding.code)
    reasons = [
        " ".join([code, *(finding.subject for finding in findings)]) for code, findings in groups
    ]
    decision = str(verdict.decision)
    if verdict.refused is not (decision == "deny"):
        decision += ", refused" if verdict.refused else ", not refused"
    return f"{decision}: {'; '.join(reasons)}" if reasons else decision
