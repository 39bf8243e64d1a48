"""The stamp: written, carried by libvirt, read back; and all that may happen to it on the way."""

import re
from collections.abc import Callable
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.cpu.definition import Arch, Signature
from guardd.errors import BadStamp
from guardd.facts.domain import Guest, parse_domain
from guardd.facts.stamp import (
    MAX_FEATURES,
    NAMESPACE,
    VERSIONS,
    Stamp,
    format_stamp,
    parse_stamp,
)
from guardd.judge.finding import Code
from guardd.render import hook_line, report
from tests.judge.table import (
    HASWELL,
    UUID,
    domain,
    judged,
    mode,
    stamp_element,
    stamped,
)
from tests.recordings import DATA
from tests.strategies import values

STAMP = Stamp(
    uuid=UUID,
    taken="2026-11-23T00:00:00Z",
    host="hosta",
    virt_type="kvm",
    arch=Arch.X86_64,
    model="Haswell-noTSX",
    vendor="Intel",
    signature=Signature(family=6, model=60, stepping=3),
    features=frozenset({"fpu", "sse2", "avx"}),
    phys_bits=46,
    tsc=2593906000,
    page_size=4096,
    cores=frozenset({0x410FD0C1, 0x410FD0C2}),
    versions=MappingProxyType({"libvirt": "9.0.0", "kernel": "6.1.0"}),
)
TEXT = format_stamp(STAMP)

# what libvirt gives back as it was: no control character, no blank that XML would make another
WORD = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["Cs"]))
WORDS = WORD.filter(lambda word: not re.search(r"\s", word) and len(word) < 200)
NUMBERS = st.none() | st.integers(0, 2**64)
STAMPS = values(
    Stamp,
    uuid=WORDS.filter(bool),
    taken=WORDS.filter(bool),
    host=WORDS.filter(bool),
    virt_type=WORDS.filter(bool),
    arch=st.sampled_from(Arch),
    model=WORDS,
    vendor=WORDS,
    signature=st.none()
    | st.builds(
        Signature,
        family=st.integers(0, 999),
        model=st.integers(0, 999),
        stepping=st.integers(0, 99),
    ),
    compat=WORDS,
    features=st.frozensets(WORDS.filter(bool)),
    phys_bits=NUMBERS,
    tsc=NUMBERS,
    page_size=NUMBERS,
    cores=st.frozensets(st.integers(0, 2**32), max_size=8),
    versions=st.dictionaries(st.sampled_from(VERSIONS), WORDS.filter(bool)).map(MappingProxyType),
)


def guest_with(inner: str, *, cpu_xml: str = "") -> Guest:
    """Read a domain that has *inner* below its root."""
    return parse_domain(domain(cpu_xml).replace("</domain>", f"{inner}</domain>"))


def stamp_in(guest: Guest) -> Stamp | None:
    """Give its stamp; where there is none because it is bad, a sentence says why."""
    assert guest.stamp is None or guest.stamp_problem == ""
    return guest.stamp


@given(STAMPS)
def test_round_trip(stamp: Stamp) -> None:
    """What is written is read, whatever the names are."""
    assert stamp == parse_stamp(format_stamp(stamp))


@given(STAMPS)
def test_round_trip_through_a_domain(stamp: Stamp) -> None:
    """With libvirt's prefix, in the place where libvirt puts it."""
    guest = guest_with(f"<metadata>{stamp_element(stamp)}</metadata>")

    assert (stamp, "") == (guest.stamp, guest.stamp_problem)


def test_no_stamp() -> None:
    """Not a word of it: neither a stamp nor a problem."""
    for inner in ("", "<metadata/>", "<metadata><a xmlns='urn:a'/></metadata>"):
        assert (None, "") == ((guest := guest_with(inner)).stamp, guest.stamp_problem)


def test_that_of_the_first_version() -> None:
    """Guests carry it for as long as they run, over upgrades of every host they pass."""
    guest = parse_domain((DATA / "old/stamped-guest.xml").read_bytes())

    assert "" == guest.stamp_problem
    assert guest.stamp is not None
    assert ("hosta", "EPYC") == (guest.stamp.host, guest.stamp.model)
    assert {"sse4.2", "avx2", "svm"} <= guest.stamp.features
    assert {"libvirt": "9.0.0", "qemu": "7.2.22"}.items() <= guest.stamp.versions.items()


@pytest.mark.parametrize("length", range(len(TEXT)))
def test_every_truncation(length: int) -> None:
    """Cut anywhere it is no stamp."""
    with pytest.raises(BadStamp):
        parse_stamp(TEXT[:length])


FEATURES = TEXT.index("features='") + len("features='")


@pytest.mark.parametrize("length", range(FEATURES, TEXT.index("'", FEATURES)))
def test_features_cut_short(length: int) -> None:
    """A list that was cut and closed again is noticed."""
    cut = TEXT[:length] + TEXT[TEXT.index("'", FEATURES) :]

    with pytest.raises(BadStamp, match="digest"):
        parse_stamp(cut)


ATTRIBUTES = re.findall(r" ([a-z]+)='([^']*)'", TEXT)


def test_all_attributes_are_there() -> None:
    """The tests below change each."""
    assert len(ATTRIBUTES) == 17


@pytest.mark.parametrize(("name", "text"), ATTRIBUTES)
def test_an_attribute_removed(name: str, text: str) -> None:
    """Whichever it is, it is missed."""
    with pytest.raises(BadStamp):
        parse_stamp(TEXT.replace(f" {name}='{text}'", ""))


@pytest.mark.parametrize("other", ["", "x", "0", "-1", "1" * 10_000, "\u202e", "a\nb", "&#10;"])
@pytest.mark.parametrize(("name", "text"), ATTRIBUTES)
def test_an_attribute_changed(name: str, text: str, other: str) -> None:
    """By hand, without the digest."""
    with pytest.raises(BadStamp):
        parse_stamp(TEXT.replace(f" {name}='{text}'", f" {name}='{other}'"))


@pytest.mark.parametrize("added", [" more='1'", " xmlns:a='urn:a' a:features='x'", " Version='1'"])
def test_an_attribute_added(added: str) -> None:
    """It may mean something to somebody: not to this version."""
    with pytest.raises(BadStamp):
        parse_stamp(TEXT.replace("<stamp", f"<stamp{added}"))


@pytest.mark.parametrize(
    ("version", "problem"),
    [("2", "version '2'"), ("", "version ''"), ("01", "version '01'"), ("1 ", "version '1 '")],
)
def test_a_newer_version(version: str, problem: str) -> None:
    """It is not guessed at."""
    with pytest.raises(BadStamp, match=re.escape(problem)):
        parse_stamp(TEXT.replace("version='1'", f"version='{version}'"))


def forged(change: Callable[[Stamp], Stamp]) -> str:
    """Write a stamp with a right digest and a wrong content."""
    return format_stamp(change(STAMP))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (forged(lambda s: s._replace(uuid="")), "guest"),
        (forged(lambda s: s._replace(host="")), "host"),
        (forged(lambda s: s._replace(model="x" * 257)), "'model' has 257 characters"),
        (
            forged(lambda s: s._replace(features=frozenset(map(str, range(100_000))))),
            "it has 100000 features",
        ),
        (
            forged(lambda s: s._replace(features=frozenset(map(str, range(MAX_FEATURES + 1))))),
            f"it has {MAX_FEATURES + 1} features",
        ),
        (forged(lambda s: s._replace(tsc=10**4000)), "'tsc' has"),
        (forged(lambda s: s._replace(phys_bits=-(10**300))), "'physbits' has 302"),
    ],
)
def test_forged(text: str, problem: str) -> None:
    """Whoever knows how the digest is made can write anything; it is refused or harmless."""
    with pytest.raises(BadStamp, match=re.escape(problem)):
        parse_stamp(text)


WHOLE = stamp_element(STAMP)
OTHER = stamp_element(STAMP._replace(host="hostb"))
DEVICE = "<devices><interface>{}</interface></devices>"


@pytest.mark.parametrize(
    ("inner", "problem"),
    [
        (f"<devices>{WHOLE}</devices>", "right below the domain's <metadata>"),
        (DEVICE.format(f"<metadata>{WHOLE}</metadata>"), "right below the domain's <metadata>"),
        (f"<metadata><a xmlns='urn:a'>{WHOLE}</a></metadata>", "right below"),
        (f"<metadata/>{WHOLE}", "right below"),
        (WHOLE, "right below"),
        (f"<metadata>{WHOLE}{OTHER}</metadata>", "2 stamps"),
        (f"<metadata>{WHOLE}{WHOLE}</metadata>", "2 stamps"),
        (f"<metadata>{WHOLE}</metadata><metadata>{OTHER}</metadata>", "2 stamps"),
        (f"<metadata>{WHOLE}</metadata>{OTHER}", "2 stamps"),
        (
            f"<metadata><g:other xmlns:g='{NAMESPACE}'/></metadata>",
            "right below the domain's <metadata>",
        ),
        (f"<metadata>{WHOLE.replace('/>', '>a<b/></guardd:stamp>')}</metadata>", "digest"),
        (f"<metadata>{WHOLE.replace('kvm', 'qemu', 1)}</metadata>", "digest"),
    ],
)
def test_a_wrong_place(inner: str, problem: str) -> None:
    """A copy elsewhere in the document is none, and makes the one in its place doubtful."""
    guest = guest_with(inner)

    assert stamp_in(guest) is None
    assert problem in guest.stamp_problem


@pytest.mark.parametrize("namespace", ["", "urn:a", NAMESPACE.upper(), NAMESPACE + "/2"])
def test_a_stamp_of_somebody_else(namespace: str) -> None:
    """Another namespace is another thing: it is not looked at."""
    guest = guest_with(f"<metadata>{WHOLE.replace(NAMESPACE, namespace or 'x')}</metadata>")

    assert (None, "") == (guest.stamp, guest.stamp_problem)


def test_what_a_stamp_says_does_not_reach_a_terminal() -> None:
    """Its texts are chosen by whoever wrote it; what libvirt would carry is shown escaped."""
    nasty = "\u202e\u2028\u200b\x9b"
    forged_stamp = STAMP._replace(
        features=frozenset({f"avx{nasty}", "fpu"}),
        vendor=f"Int{nasty}el",
        tsc=1,
        phys_bits=99,
    )
    for element in (
        stamp_element(forged_stamp),
        stamp_element(STAMP).replace("version='1'", f"version='{nasty}'"),
        stamp_element(STAMP).replace("host='hosta'", "host='a&#10;b'"),
    ):
        verdict = judged(
            HASWELL, stamped(domain(mode("host-passthrough")), element), operation="migrate"
        )
        assert verdict.findings
        assert hook_line(verdict).isprintable()
        assert [] == [line for line in report(verdict).split("\n") if not line.isprintable()]


def test_a_bad_stamp_is_a_doubt() -> None:
    """Whatever is wrong with it, it is said once."""
    xml = stamped(domain(mode("host-passthrough")), WHOLE.replace("hosta", "hostb"))
    verdict = judged(HASWELL, xml, operation="migrate")

    assert [Code.BAD_STAMP] == [finding.code for finding in verdict.findings]
