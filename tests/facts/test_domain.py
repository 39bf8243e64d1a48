"""Domain XML as the hook gets it, and as it should never be."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guardd.cpu.definition import Arch, Check, FeaturePolicy
from guardd.errors import GuardError, InvalidCPU, InvalidDomain, MalformedXML
from guardd.facts.domain import Guest, parse_domain, rewrite_cpu, trim_domain
from guardd.facts.stamp import NAMESPACE
from guardd.xmldoc import escape
from tests.judge.table import cpu, domain
from tests.recordings import recorded

IN_FORCE = ("x86_64-guest-haswell-in-force-kvm", "x86_64-guest-skylake-in-force-tcg")
OS = "<os><type arch='x86_64' machine='q35'>hvm</type></os>"

SECRETS = """<domain type='kvm'>
  <name>web1</name>
  <uuid>7d0a5d4e-30d5-4a4b-9a5f-9d3c8f6c2f0e</uuid>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu mode='host-passthrough'/>
  <launchSecurity type='sev'><dhCert>sekrit-cert</dhCert><session>sekrit-session</session>
  </launchSecurity>
  <metadata><app:x xmlns:app='http://example.org/app'>sekrit-token</app:x></metadata>
  <devices>
    <graphics type='vnc' port='-1' passwd='sekrit-vnc'/>
    <disk type='network'><auth username='u'><secret type='ceph' usage='sekrit-usage'/></auth></disk>
  </devices>
  <qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
    <qemu:env name='PASSWORD' value='sekrit-env'/>
  </qemu:commandline>
</domain>"""


def test_all_pieces() -> None:
    """What libvirt writes for a running guest, recorded on a host of libvirt 9.0.0."""
    guest = parse_domain(recorded("x86_64-guest-haswell-in-force-kvm"))

    assert ("web1", "7d0a5d4e-30d5-4a4b-9a5f-9d3c8f6c2f0e") == (guest.name, guest.uuid)
    assert ("kvm", Arch.X86_64) == (guest.virt_type, guest.arch)
    assert ("pc-q35-7.2", "/usr/bin/qemu-system-x86_64") == (guest.machine, guest.emulator)
    assert guest.cpu is not None
    assert ("Haswell-noTSX", Check.FULL) == (guest.cpu.model, guest.cpu.check)
    assert FeaturePolicy.REQUIRE is guest.cpu.features["vme"]
    assert FeaturePolicy.DISABLE is guest.cpu.features["avx2"]


def test_only_what_must_be_there() -> None:
    """A file given to cpu-guardctl may lack all that libvirt fills in."""
    text = "<domain type='qemu'><name>a</name><os><type arch='ppc64le'>hvm</type></os></domain>"

    assert Guest(name="a", uuid=None, virt_type="qemu", arch=Arch.PPC64LE) == parse_domain(text)


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        pytest.param("", MalformedXML, "not well-formed", id="nothing"),
        pytest.param("<capabilities/>", InvalidDomain, "root element is 'capabilities'", id="root"),
        pytest.param(
            "<domain xmlns='http://example.org'/>", InvalidDomain, "root element", id="namespace"
        ),
        pytest.param(f"<domain><name>a</name>{OS}</domain>", InvalidDomain, "no type", id="type"),
        pytest.param(
            f"<domain type=''><name>a</name>{OS}</domain>", InvalidDomain, "no type", id="no type"
        ),
        pytest.param(f"<domain type='kvm'>{OS}</domain>", InvalidDomain, "no name", id="name"),
        pytest.param(
            f"<domain type='kvm'><name/>{OS}</domain>", InvalidDomain, "no name", id="empty name"
        ),
        pytest.param(
            "<domain type='kvm'><name>a</name></domain>", InvalidDomain, "os/type/@arch", id="os"
        ),
        pytest.param(
            "<domain type='kvm'><name>a</name><os><type>hvm</type></os></domain>",
            InvalidDomain,
            "os/type/@arch",
            id="arch",
        ),
        pytest.param(
            "<domain type='kvm'><name>a</name><os><type arch='pdp11'>hvm</type></os></domain>",
            InvalidDomain,
            "unknown architecture 'pdp11'",
            id="unknown arch",
        ),
        pytest.param(
            f"<domain type='kvm'><name>a</name>{OS}<cpu mode='best'/></domain>",
            InvalidCPU,
            "mode",
            id="mode",
        ),
        pytest.param(
            f"<domain type='kvm'><name>a</name>{OS}<cpu><feature name='avx'/></cpu></domain>",
            InvalidCPU,
            "without CPU model",
            id="features without a model",
        ),
    ],
)
def test_refused(text: str, error: type[GuardError], problem: str) -> None:
    """Each says what is wrong, so that a doubt can be explained."""
    with pytest.raises(error) as caught:
        parse_domain(text)

    assert problem in str(caught.value)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1))
def test_any_name(name: str) -> None:
    """libvirt lets a name be any UTF-8 but '/' and control characters."""
    # XML 1.0 has no place for these two
    name = name.replace("\ufffe", "").replace("\uffff", "") or "a"
    text = f"<domain type='kvm'><name>{escape(name)}</name>{OS}</domain>"

    assert name == parse_domain(text).name


def test_the_first_of_two_counts() -> None:
    """libvirt takes the first <cpu>; the guard must look at the same one."""
    text = f"<domain type='kvm'><name>a</name>{OS}<cpu><model>Nehalem</model></cpu>"
    guest = parse_domain(text + "<cpu><model>EPYC</model></cpu></domain>")

    assert guest.cpu is not None
    assert "Nehalem" == guest.cpu.model


def test_secrets_do_not_leave_the_file() -> None:
    """On migrate and restore the XML carries passwords; a Guest is printed in tracebacks."""
    assert "sekrit" in SECRETS

    assert "sekrit" not in repr(parse_domain(SECRETS))


@pytest.mark.parametrize("broken", ["type='kvm'", "<name>web1</name>", "arch='x86_64'"])
def test_secrets_do_not_leave_in_errors(broken: str) -> None:
    """The sentence of a doubt is shown on stderr and kept in the journal."""
    with pytest.raises(InvalidDomain) as caught:
        parse_domain(SECRETS.replace(broken, ""))

    assert "sekrit" not in str(caught.value)


@pytest.mark.parametrize("size", range(0, len(SECRETS), 41))
def test_secrets_do_not_leave_when_truncated(size: int) -> None:
    """libxml2's messages quote names of elements, never their text."""
    with pytest.raises(MalformedXML) as caught:
        parse_domain(SECRETS[:size])

    assert "sekrit" not in str(caught.value)


STAMP = "<g:stamp xmlns:g='https://cpuguardd.io/xmlns/stamp' version='1' digest='x'/>"
POLICY = "<p:policy xmlns:p='https://cpuguardd.io/xmlns/policy' mode='warn'/>"
FOREIGN = "<app:x xmlns:app='http://example.org/app' a='sekrit-a'>sekrit-b{}sekrit-c</app:x>"
TIMERS = "<clock offset='variable'><timer name='tsc' frequency='5'/><timer name='rtc'/></clock>"


@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(recorded(name), id=name) for name in IN_FORCE),
        pytest.param(SECRETS, id="secrets"),
        pytest.param(SECRETS.replace("<metadata>", f"<metadata>{STAMP}{POLICY}"), id="ours"),
        pytest.param(
            SECRETS.replace("<metadata>", f"<metadata>{FOREIGN.format(STAMP + POLICY)}"),
            id="ours in another's",
        ),
        pytest.param(SECRETS.replace("<metadata>", f"{TIMERS}<metadata>"), id="timers"),
        pytest.param("<domain/>", id="empty"),
        pytest.param(f"<domain type='kvm'><name>ä&lt;</name>{OS}</domain>", id="little"),
    ],
)
def test_trimmed(text: str) -> None:
    """What goes to another host: the same to a verdict, and nothing else."""
    trimmed = trim_domain(text)

    assert parsed(text) == parsed(trimmed)
    assert "sekrit" not in trimmed
    assert not re.search(r"<disk|<graphics|'rtc'|<memory|offset=", trimmed)
    assert trim_domain(trimmed) == trimmed


def parsed(text: str) -> Guest | str:
    """Read *text*, or give what is wrong with it."""
    try:
        return parse_domain(text)
    except GuardError as exc:
        return str(exc)


def read_whole(text: str) -> Guest | str:
    """Read *text* with no part of it passed over: where there is a comment, all is parsed."""
    return parsed(text + "<!-- -->")


# children of <domain> and of <devices> that may be taken for the ends of another element
_PIECES = st.recursive(
    st.sampled_from(
        [
            "<emulator>/usr/bin/one</emulator>",
            "<emulator>/usr/bin/two</emulator >",
            "<emulator/>",
            "<emulator arch='x'>/usr/bin/three</emulator>",
            "<devices/>",
            "<devicesx/>",
            "<x:devices xmlns:x='urn:x'/>",
            "<disk file='&lt;devices>'>&lt;/devices></disk>",
            "<cpu><model>Nehalem</model></cpu>",
            "<cpu><model>Haswell</model></cpu>",
            "<uuid>7d0a5d4e-30d5-4a4b-9a5f-9d3c8f6c2f0e</uuid>",
            f"<metadata><s:stamp xmlns:s='{NAMESPACE}'/></metadata>",
            "\n  ",
            "text",
        ]
    ),
    lambda inner: st.builds(
        "{0}{1}{2}".format,
        st.sampled_from(["<devices>", "<devices >", "<devices a='>'>", "<devices\n>"]),
        st.lists(inner, max_size=4).map("".join),
        st.sampled_from(["</devices>", "</devices >"]),
    ),
    max_leaves=8,
)


@given(st.lists(_PIECES, max_size=6).map("".join))
@example("<devices></devices ><cpu><model>Nehalem</model></cpu><devices ></devices>")
@example("<devices ><devices></devices ><emulator>/a</emulator><devices ></devices></devices >")
@example("<x><devices><emulator>/a</emulator></devices></x><cpu/>")
@example(f"<devices><s:stamp xmlns:s='{NAMESPACE}'/></devices>")
@example("<devices><disk/><emulator>/a</emulator></devices>")
@example("<devices>\n<emulator>/a</emulator><emulator>/b</emulator></devices>")
def test_what_is_passed_over_makes_no_difference(pieces: str) -> None:
    """Not to what is read of a document that is well formed."""
    text = (
        "<domain type='kvm'><name>web1</name><os><type arch='x86_64'>hvm</type></os>"
        f"{pieces}</domain>"
    )
    assert read_whole(text) == parsed(text)


@pytest.mark.parametrize("name", IN_FORCE)
def test_what_is_passed_over_of_a_recorded_guest(name: str) -> None:
    """The same for what libvirt wrote: and there something is passed over."""
    text = recorded(name)
    assert isinstance(guest := parsed(text), Guest)
    assert read_whole(text) == guest
    assert guest == parsed(text.replace("</devices>", "<a><b></a></b></devices>"))


def test_a_huge_guest_is_no_work() -> None:
    """Devices by the hundred thousand, more than is parsed of any other document."""
    disks = "<disk type='file'><source file='/x'/></disk>" * 300_000
    guest = parse_domain(
        domain(cpu("Nehalem")).replace("</domain>", f"<devices>{disks}</devices></domain>")
    )
    assert guest.cpu is not None
    assert "Nehalem" == guest.cpu.model


def test_another_cpu() -> None:
    """The <cpu> is another, and all else stays."""
    text = domain(cpu("Nehalem"))
    other = parse_domain(domain(cpu("Haswell"))).cpu
    rewritten = rewrite_cpu(text, other)

    assert parse_domain(domain(cpu("Haswell"))) == parse_domain(rewritten.domain)
    assert text.partition("<cpu")[0] == rewritten.domain.replace('"', "'").partition("<cpu")[0]
    assert text.partition("</cpu>")[2] == rewritten.domain.partition("</cpu>")[2]
    assert parse_domain(domain("")) == parse_domain(rewrite_cpu(text, None).domain)


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        ("5", 5),
        ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", None),
        ("9" * 5000, None),  # more than Python makes an int of
        ("-5", None),
        ("0x5", None),
        ("\u0665", None),
        ("1e400", None),
        ("", None),
    ],
)
def test_tsc_frequency(frequency: str, expected: int | None) -> None:
    """As libvirt reads it; what that would refuse is no frequency."""
    text = domain(cpu("Haswell")).replace("<cpu", f"{TIMERS.replace('5', frequency)}<cpu", 1)

    assert expected == parse_domain(text).tsc_frequency
