"""Varlink as bytes: what other programs read and write must not change by accident."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from varlink.scanner import Interface

from guardd import wire
from guardd.cpu.definition import Arch
from guardd.errors import BadRequest
from guardd.facts.domcaps import HypervisorKey
from guardd.judge.finding import (
    CheckRequest,
    Code,
    Decision,
    Enforcement,
    Finding,
    Operation,
    Verdict,
)
from guardd.xmldoc import MAX_XML
from tests.strategies import values

TEXT = st.text()
FINDINGS = st.builds(Finding, st.sampled_from(Code), TEXT, TEXT, TEXT, st.sampled_from(Enforcement))
VERDICTS = values(
    Verdict,
    domain=TEXT,
    uuid=TEXT,
    operation=st.sampled_from(Operation),
    decision=st.sampled_from(Decision),
    refused=st.booleans(),
    findings=st.lists(FINDINGS, max_size=4).map(tuple),
    guest_cpu=TEXT,
    host_cpu=TEXT,
    source=TEXT,
)
REQUESTS = values(CheckRequest, domain=TEXT, operation=st.sampled_from(Operation), xml=TEXT)
CHECK = {"domain": "web1", "operation": "prepare", "xml": "<domain/>"}
VERDICT = Verdict(
    domain="web1",
    uuid="7d0a5d4e-30d5-4a4b-9a5f-9d3c8f6c2f0e",
    operation=Operation.PREPARE,
    decision=Decision.DENY,
    refused=True,
    findings=(Finding(Code.MISSING_FEATURE, "avx", "it lacks avx", "disable avx"),),
    guest_cpu="Haswell",
    host_cpu="Nehalem, KVM",
    source="libvirt",
)


def sent(frame: bytes) -> bytes:
    """Take the NUL off that ends every message, and that stands nowhere else."""
    assert frame.endswith(b"\0")
    assert 1 == frame.count(b"\0")
    return frame[:-1]


def test_a_call_in_bytes() -> None:
    """What the hook sends; it writes these bytes itself."""
    frame = b'{"method":"io.cpuguardd.Guard.Check","parameters":{"domain":"a"}}\0'

    assert frame == wire.format_call("io.cpuguardd.Guard.Check", {"domain": "a"})
    assert wire.Call("io.cpuguardd.Guard.Check", {"domain": "a"}) == wire.parse_call(sent(frame))


def test_a_reply_in_bytes() -> None:
    """The hook looks for these very bytes: `refused` must stay the first key, without blanks."""
    frame = wire.format_reply({"refused": False, "line": "é"})

    assert b'{"parameters":{"refused":false,"line":"\\u00e9"}}\0' == frame


def test_an_error_in_bytes() -> None:
    """An error without parameters still has an object of them: varlinkctl wants one."""
    assert b'{"error":"a.B","parameters":{}}\0' == wire.format_error("a.B")
    assert b'{"error":"a.B","parameters":{"c":1}}\0' == wire.format_error("a.B", {"c": 1})


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ('{"method":"a.B"}', wire.Call("a.B", {})),
        ('{"method":"a.B","parameters":{}}', wire.Call("a.B", {})),
        ('{"method":"a.B","oneway":true}', wire.Call("a.B", {}, oneway=True)),
        ('{"method":"a.B","oneway":false}', wire.Call("a.B", {})),
        ('{"method":"a.B","more":true,"upgrade":false}', wire.Call("a.B", {})),
        (' {"parameters": {"x": [1]}, "method": "a.B"}\n', wire.Call("a.B", {"x": [1]})),
    ],
)
def test_calls(frame: str, expected: wire.Call) -> None:
    """As other clients write them."""
    assert expected == wire.parse_call(frame.encode())


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        b"null",
        b"7",
        b'"method"',
        b"[]",
        b"{}",
        b'{"method":7}',
        b'{"method":null}',
        b'{"method":["a.B"]}',
        b'{"method":"a.B","parameters":[]}',
        b'{"method":"a.B","parameters":"x"}',
        b'{"method":"a.B"}{"method":"a.B"}',
        b'{"method":"a.B",}',
        b"[" * 100_000,
        b'{"method":' + b"9" * 5000 + b"}",
    ],
)
def test_bad_calls(frame: bytes) -> None:
    """Not JSON, not an object, not a call: one error."""
    with pytest.raises(BadRequest):
        wire.parse_call(frame)


FRAME = sent(wire.format_call("io.cpuguardd.Guard.Check", {**CHECK, "xml": "<domain>é\n</domain>"}))


@pytest.mark.parametrize("size", range(len(FRAME)))
def test_every_prefix_of_a_call(size: int) -> None:
    """A message that was cut off is never taken for a shorter one."""
    with pytest.raises(BadRequest):
        wire.parse_call(FRAME[:size])


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    """Whatever arrives, it is a call or a BadRequest."""
    try:
        call = wire.parse_call(data)
    except BadRequest:
        return

    assert isinstance(call.method, str)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [(b'{"parameters":{"a":1}}', {"a": 1}), (b"{}", {}), (b'{"parameters":{}}', {})],
)
def test_replies(frame: bytes, expected: object) -> None:
    """A reply without parameters is one with none."""
    assert expected == wire.parse_reply(frame)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (b'{"error":"a.B"}', "a.B {}"),
        (b'{"error":"a.B","parameters":{"c":1}}', 'a.B {"c": 1}'),
        (b'{"parameters":[]}', "'parameters' must be an object"),
        (b"[]", "not a JSON object"),
        (b"x", "not JSON"),
    ],
)
def test_bad_replies(frame: bytes, problem: str) -> None:
    """An error's name reaches the person."""
    with pytest.raises(BadRequest) as caught:
        wire.parse_reply(frame)

    assert problem in str(caught.value)


@given(REQUESTS)
def test_request_round_trip(request: CheckRequest) -> None:
    """Any name and any XML go through a frame unchanged, bytes that are not UTF-8 as well."""
    frame = wire.format_call("io.cpuguardd.Guard.Check", wire.check_parameters(request))

    assert request == wire.request_from(wire.parse_call(sent(frame)).parameters)


def test_bytes_that_are_not_utf8_go_through() -> None:
    """The hook hands over what it cannot decode as lone surrogates; the judge says so then."""
    request = CheckRequest(domain="a\udcff", operation=Operation.PREPARE, xml="<\udcff/>")
    frame = wire.format_call("io.cpuguardd.Guard.Check", wire.check_parameters(request))

    assert request == wire.request_from(wire.parse_call(sent(frame)).parameters)


@pytest.mark.parametrize("name", CHECK)
@pytest.mark.parametrize("value", [None, 7, True, [], {}, "missing"], ids=repr)
def test_bad_requests(name: str, value: object) -> None:
    """The error names the parameter."""
    parameters = {**CHECK, name: value}
    if value == "missing":
        del parameters[name]

    with pytest.raises(BadRequest, match=f"parameter '{name}' must be a string"):
        wire.request_from(parameters)


@pytest.mark.parametrize("operation", ["", "start", "Prepare", "prepare "])
def test_unknown_operations(operation: str) -> None:
    """Only what can be refused is judged."""
    with pytest.raises(BadRequest, match="must be one of prepare, migrate, restore"):
        wire.request_from({**CHECK, "operation": operation})


@given(VERDICTS)
def test_verdict_round_trip(verdict: Verdict) -> None:
    """What cpu-guardctl shows is what the daemon decided."""
    frame = wire.format_reply({"verdict": wire.verdict_to_dict(verdict)})

    assert verdict == wire.verdict_from_dict(wire.parse_reply(sent(frame))["verdict"])


def test_the_unseen_hypervisor_stays_inside() -> None:
    """It is between the judge and the watcher."""
    verdict = VERDICT._replace(unseen=HypervisorKey("kvm", Arch.X86_64))

    assert wire.verdict_to_dict(VERDICT) == wire.verdict_to_dict(verdict)


@pytest.mark.parametrize("key", wire.verdict_to_dict(VERDICT))
def test_a_verdict_that_lacks_something(key: str) -> None:
    """A daemon of another version is an error, not half a verdict."""
    document = wire.verdict_to_dict(VERDICT)
    del document[key]

    with pytest.raises(BadRequest):
        wire.verdict_from_dict(document)


@pytest.mark.parametrize(
    "change",
    [
        {"operation": "start"},
        {"decision": "maybe"},
        {"findings": 7},
        {"findings": ["avx"]},
        {"findings": [{}]},
        {"findings": [{**VERDICT.findings[0]._asdict(), "code": "bad-luck"}]},
        {"findings": [{**VERDICT.findings[0]._asdict(), "mode": "off"}]},
    ],
    ids=repr,
)
def test_a_verdict_of_other_words(change: dict[str, object]) -> None:
    """The same for words that this version does not know."""
    with pytest.raises(BadRequest):
        wire.verdict_from_dict({**wire.verdict_to_dict(VERDICT), **change})


def test_a_domain_at_its_limit_fits_a_frame() -> None:
    """libvirt's longest document, all of it line ends, which JSON writes as two characters."""
    frame = wire.format_call("io.cpuguardd.Guard.Check", {**CHECK, "xml": "\n" * (MAX_XML - 1000)})

    assert len(frame) <= wire.MAX_FRAME


def test_the_interface_description() -> None:
    """`varlinkctl introspect` shows it; every method and error that there is stands in it."""
    found = Interface(wire.DESCRIPTION)

    assert wire.INTERFACE == found.name
    assert {
        "Finding",
        "Verdict",
        "VerdictCount",
        "FindingCount",
        "DurationCount",
        "Check",
        "GetStatus",
        "GetMetrics",
        "NotPermitted",
        "BadRequest",
        "Internal",
    } == set(found.members)


def test_the_verdict_is_what_the_description_says() -> None:
    """Field by field, in its order."""
    members = Interface(wire.DESCRIPTION).members

    assert list(wire.verdict_to_dict(VERDICT)) == list(members["Verdict"].type.fields)
    assert list(VERDICT.findings[0]._asdict()) == list(members["Finding"].type.fields)
    assert list(CHECK) == list(members["Check"].in_type.fields)


def test_the_service_description() -> None:
    """Every Varlink service has it; the names are those of the specification."""
    found = Interface(wire.SERVICE_DESCRIPTION)

    assert wire.SERVICE == found.name
    assert list(wire.service_info()) == list(found.members["GetInfo"].out_type.fields)
    assert json.loads(json.dumps(wire.service_info()))["interfaces"] == [
        "org.varlink.service",
        "io.cpuguardd.Guard",
    ]


def test_a_name_too_long() -> None:
    """The names of many guests are kept, and nobody who may ask shall fill the memory with them."""
    name = "x" * wire.MAX_NAME

    assert name == wire.request_from({**CHECK, "domain": name}).domain
    with pytest.raises(BadRequest, match="parameter 'domain' has more than 1024 characters"):
        wire.request_from({**CHECK, "domain": name + "x"})
