"""<cpu> text: libvirt's defaults, its order of mistakes, and its formatting."""

from __future__ import annotations

import pytest
from hypothesis import given

from guardd.cpu.definition import (
    Arch,
    CPUDef,
    CPUType,
    Fallback,
    FeaturePolicy,
    Match,
    Mode,
    Topology,
)
from guardd.cpu.xml import format_cpu, parse_cpu
from guardd.errors import InvalidCPU, MalformedXML
from tests.cpu.definitions import GUESTS, HOSTS, OPEN_GUESTS


@given(GUESTS)
def test_guest_comes_back(definition: CPUDef) -> None:
    """What is kept as text (a snapshot, a stamp) must be read back as it was."""
    assert definition == parse_cpu(format_cpu(definition))


@given(OPEN_GUESTS)
def test_open_mode_comes_back(definition: CPUDef) -> None:
    """Modes without a model keep their own attributes."""
    assert definition == parse_cpu(format_cpu(definition))


@given(HOSTS)
def test_host_comes_back(definition: CPUDef) -> None:
    """A decoded host has mode custom; one that was parsed has none, as in libvirt."""
    parsed = parse_cpu(format_cpu(definition))
    assert definition == parsed._replace(mode=Mode.CUSTOM)


def test_parsed_host_loses_its_model() -> None:
    """A quirk of libvirt: a host without mode is formatted without model and vendor."""
    text = "<cpu><arch>x86_64</arch><model>Old</model><feature name='vmx'/></cpu>"
    assert format_cpu(parse_cpu(text)) == (
        "<cpu>\n  <arch>x86_64</arch>\n  <feature name='vmx'/>\n</cpu>"
    )


def test_guest_defaults() -> None:
    """What a guest's definition does not say is libvirt's default, not ours."""
    assert parse_cpu("<cpu><model>Old</model></cpu>") == CPUDef(
        type=CPUType.GUEST,
        mode=Mode.CUSTOM,
        match=Match.EXACT,
        check=None,
        fallback=Fallback.ALLOW,
        model="Old",
    )


def test_host_is_told_by_its_arch() -> None:
    """Only <arch> makes a host; a policy inside it is not looked at."""
    parsed = parse_cpu(
        "<cpu><arch>ppc64le</arch><model>POWER9</model><feature name='x' policy='bogus'/></cpu>"
    )
    assert (parsed.type, parsed.mode, parsed.arch) == (CPUType.HOST, None, Arch.PPC64LE)
    assert dict(parsed.features) == {"x": None}


def test_empty_vendor_id() -> None:
    """An empty attribute counts as absent here, and in `fallback`."""
    parsed = parse_cpu("<cpu><model vendor_id='' fallback=''>Old</model></cpu>")
    assert parsed == CPUDef(model="Old")


def test_format_in_libvirts_order() -> None:
    """Byte for byte what libvirt prints, whatever the order of the input."""
    text = (
        "<cpu check='partial' match='minimum' mode='custom'><feature name='b' policy='force'/>"
        "<cache mode='passthrough' level='3'/><feature name='a'/>"
        "<topology threads='2' cores='4' sockets='1'/><vendor>Intel</vendor>"
        "<maxphysaddr mode='emulate' bits='42'/><model vendor_id='KVMKVMKVMKVM'>Old</model></cpu>"
    )
    expected = """\
<cpu mode='custom' match='minimum' check='partial'>
  <model fallback='allow' vendor_id='KVMKVMKVMKVM'>Old</model>
  <vendor>Intel</vendor>
  <topology sockets='1' dies='1' clusters='1' cores='4' threads='2'/>
  <cache level='3' mode='passthrough'/>
  <maxphysaddr mode='emulate' bits='42'/>
  <feature policy='force' name='b'/>
  <feature policy='require' name='a'/>
</cpu>"""
    assert expected == format_cpu(parse_cpu(text))


def test_format_before_clusters() -> None:
    """Before 10.1.0 libvirt prints no clusters."""
    definition = CPUDef(model="Old", topology=Topology(sockets=1, cores=2, threads=1))
    assert "<topology sockets='1' dies='1' cores='2' threads='1'/>" in format_cpu(
        definition, clusters=False
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<cpu/>", ""),
        ("<cpu match='strict'/>", ""),
        ("<cpu mode='host-model'/>", "<cpu mode='host-model'/>"),
        (
            "<cpu mode='host-passthrough' migratable='off'/>",
            "<cpu mode='host-passthrough' migratable='off'/>",
        ),
    ],
)
def test_format_little(text: str, expected: str) -> None:
    """Attributes of a custom CPU are printed only with a model; nothing at all is nothing."""
    assert expected == format_cpu(parse_cpu(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<domain/>", "expected 'cpu' element"),
        ("<cpu match='exact'><arch>i686</arch><model>m</model></cpu>", "'match' attribute"),
        ("<cpu mode='x'><arch>i686</arch><model>m</model></cpu>", "only allowed for guest"),
        ("<cpu mode='hostmodel'/>", "Invalid mode attribute 'hostmodel'"),
        ("<cpu migratable='on'/>", "migratable is only allowed"),
        ("<cpu mode='maximum' migratable='yes'/>", "Invalid value for attribute 'migratable'"),
        ("<cpu match='any'/>", "Invalid value for attribute 'match'"),
        ("<cpu check='some'/>", "Invalid value for attribute 'check'"),
        ("<cpu><arch/><model>m</model></cpu>", "Missing CPU architecture"),
        ("<cpu><arch>z80</arch><model>m</model></cpu>", "Unknown architecture z80"),
        ("<cpu><arch>i686</arch></cpu>", "Missing CPU model name"),
        ("<cpu><model fallback='no'>m</model></cpu>", "Invalid fallback attribute"),
        ("<cpu><model vendor_id='short'>m</model></cpu>", "exactly 12 characters"),
        ("<cpu><model vendor_id='twelve,bytes'>m</model></cpu>", "vendor id is invalid"),
        ("<cpu><vendor>Intel</vendor></cpu>", "vendor specified without CPU model"),
        ("<cpu><topology sockets='0' cores='1' threads='1'/></cpu>", "'sockets'"),
        ("<cpu><topology sockets='1' cores='1'/></cpu>", "'threads'"),
        ("<cpu><feature name='x'/></cpu>", "feature list specified without CPU model"),
        ("<cpu><model>m</model><feature name='x' policy='on'/></cpu>", "Invalid CPU feature pol"),
        ("<cpu><model>m</model><feature policy='force'/></cpu>", "Invalid CPU feature name"),
        ("<cpu mode='maximum'><feature name='x'/><feature name='x'/></cpu>", "more than once"),
        ("<cpu><cache mode='emulate'/><cache mode='emulate'/></cpu>", "at most one"),
        ("<cpu><cache mode='emulate' level='4'/></cpu>", "must be in range"),
        ("<cpu><cache/></cpu>", "Missing required attribute 'mode'"),
        ("<cpu><maxphysaddr mode='emulate' limit='40'/></cpu>", "only supported for"),
        ("<cpu><maxphysaddr mode='emulate' bits='-1'/></cpu>", "'bits'"),
    ],
)
def test_mistakes(text: str, problem: str) -> None:
    """What libvirt refuses is refused here, and the message names the thing."""
    with pytest.raises(InvalidCPU, match=problem):
        parse_cpu(text)


def test_first_mistake_wins() -> None:
    """The mode comes before the features, as in libvirt, to give the same message."""
    with pytest.raises(InvalidCPU, match="Invalid mode"):
        parse_cpu("<cpu mode='bad'><feature/><cache level='9'/></cpu>")


def test_not_xml() -> None:
    """Broken text is another error than a broken definition."""
    with pytest.raises(MalformedXML, match="CPU definition"):
        parse_cpu("<cpu><model></cpu>")


@pytest.mark.parametrize(
    "definition",
    [
        CPUDef(features={"vmx": FeaturePolicy.REQUIRE}),
        CPUDef(model="Old", features={"vmx": None}),
    ],
)
def test_cannot_be_formatted(definition: CPUDef) -> None:
    """A definition that libvirt could not read back must not be written."""
    with pytest.raises(InvalidCPU):
        format_cpu(definition)
