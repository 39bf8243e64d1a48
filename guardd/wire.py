"""Varlink messages as bytes: frames, calls, replies, the interface; no socket.

Source: varlink.org, "Protocol" and "Method Call": JSON objects, each ended by a NUL byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from guardd import __version__
from guardd.errors import BadRequest
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

INTERFACE = "io.cpuguardd.Guard"
SERVICE = "org.varlink.service"
SOCKET_PATH = "/run/cpu-guardd/guard.sock"

# a domain XML at its limit, and as much again for what JSON makes of quotes and line ends
MAX_FRAME = 2 * MAX_XML

# of a guest: libvirt's files are called by it, so 250 bytes are the most; the daemon keeps 10,000
MAX_NAME = 1024

DESCRIPTION = """\
# Asks whether this host can honour a guest's CPU.
interface io.cpuguardd.Guard

# One reason; mode: enforce, warn or observe
type Finding (
  code: string,
  subject: string,
  sentence: string,
  hint: string,
  mode: string
)

# decision: allow, warn, deny or cannot-tell; refused: whether the hook must fail;
# would_refuse: whether it would have to, were it not for a mode less than enforce, or for what
# leniency says
type Verdict (
  domain: string,
  uuid: string,
  operation: string,
  decision: string,
  refused: bool,
  would_refuse: bool,
  leniency: string,
  findings: []Finding,
  guest_cpu: string,
  host_cpu: string,
  source: string
)

# Judges a domain XML as the hook gets it on stdin; operation: prepare, migrate or restore, which
# is only taken note of for the prepare that follows it.
# line is what a refusing hook prints. Root and the service's own user may call this.
method Check(domain: string, operation: string, xml: string) ->
  (refused: bool, line: string, verdict: Verdict)

# snapshot_taken is "" while nothing is known; verdicts counts by decision, and events other
# things that were noticed, since the start.
# Members of group libvirt may call this as well.
method GetStatus() -> (
  version: string,
  mode: string,
  libvirt_connected: bool,
  snapshot_taken: string,
  snapshot_origin: string,
  hypervisors: []string,
  verdicts: [string]int,
  events: [string]int,
  problems: []string
)

type VerdictCount (operation: string, decision: string, count: int)
type FindingCount (code: string, mode: string, count: int)
type DurationCount (below_usec: int, count: int)

# Numbers for metrics. Of now: mode, libvirt_connected, hypervisors, problems; start_time and
# snapshot_time, in seconds since the epoch, the latter 0 while nothing is known; snapshot_origin,
# libvirt and qemu, versions, "" then. Since the start: all else. findings counts a code once a
# verdict; refusals, by the code that decided, are all guests refused; withheld are those that a
# stricter mode would have refused. Each of durations counts those of the shorter ones too.
# Members of group libvirt may call this as well.
method GetMetrics() -> (
  version: string,
  libvirt: string,
  qemu: string,
  mode: string,
  start_time: float,
  libvirt_connected: bool,
  snapshot_time: float,
  snapshot_origin: string,
  hypervisors: int,
  problems: int,
  verdicts: []VerdictCount,
  findings: []FindingCount,
  refusals: [string]int,
  withheld: int,
  durations: []DurationCount,
  duration_count: int,
  duration_sum_usec: int,
  events: [string]int,
  journal_lost: int
)

# The caller's user may not do that.
error NotPermitted ()

# The message breaks the protocol or one of its limits.
error BadRequest (reason: string)

# A bug; the journal has it.
error Internal ()
"""

SERVICE_DESCRIPTION = """\
interface org.varlink.service
method GetInfo() -> (
  vendor: string, product: string, version: string, url: string, interfaces: []string
)
method GetInterfaceDescription(interface: string) -> (description: string)
error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
"""


_SHORT = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Call:
    """One method call; `oneway`: the caller wants no reply."""

    method: str
    parameters: Mapping[str, Any]
    oneway: bool = False


def parse_call(frame: bytes) -> Call:
    """Read one message, without its NUL; raises BadRequest."""
    message = _loads(frame)
    method = message.get("method")
    parameters = message.get("parameters", {})
    if not isinstance(method, str) or not isinstance(parameters, dict):
        raise BadRequest("attribute 'method' must be a string and 'parameters' an object")
    return Call(method, parameters, oneway=message.get("oneway") is True)


def parse_reply(frame: bytes) -> Mapping[str, Any]:
    """Read a reply's parameters; raises BadRequest where it is an error or no reply at all."""
    message = _loads(frame)
    if "error" in message:
        raise BadRequest(f"{message['error']} {json.dumps(message.get('parameters', {}))}")
    parameters = message.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequest("attribute 'parameters' must be an object")
    return parameters


def _loads(frame: bytes) -> dict[str, Any]:
    try:
        # the hook passes on what a guest's XML holds, and that may be no UTF-8
        message = json.loads(frame.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as exc:
        raise BadRequest(f"message is not JSON: {exc}") from exc
    if not isinstance(message, dict):
        raise BadRequest("message is not a JSON object")
    return message


def format_call(method: str, parameters: Mapping[str, Any]) -> bytes:
    """Write a method call with its NUL."""
    return _dumps({"method": method, "parameters": parameters})


def format_reply(parameters: Mapping[str, Any]) -> bytes:
    """Write a reply with its NUL; the first key of *parameters* comes first in the bytes."""
    return _dumps({"parameters": parameters})


def format_error(name: str, parameters: Mapping[str, Any] | None = None) -> bytes:
    """Write an error reply with its NUL; *name* in full, with its interface."""
    return _dumps({"error": name, "parameters": parameters or {}})


def _dumps(message: Mapping[str, Any]) -> bytes:
    return _SHORT.encode(message).encode() + b"\0"


def request_from(parameters: Mapping[str, Any]) -> CheckRequest:
    """Read the parameters of Check; raises BadRequest that names the wrong one."""
    words = {}
    for name in ("domain", "operation", "xml"):
        value = parameters.get(name)
        if not isinstance(value, str):
            raise BadRequest(f"parameter '{name}' must be a string")
        words[name] = value
    if len(words["domain"]) > MAX_NAME:
        raise BadRequest(f"parameter 'domain' has more than {MAX_NAME} characters")
    try:
        operation = Operation(words["operation"])
    except ValueError:
        names = ", ".join(Operation)
        raise BadRequest(f"parameter 'operation' must be one of {names}") from None
    return CheckRequest(domain=words["domain"], operation=operation, xml=words["xml"])


def check_parameters(request: CheckRequest) -> dict[str, Any]:
    """Give *request* as parameters of Check."""
    return {"domain": request.domain, "operation": request.operation, "xml": request.xml}


def verdict_to_dict(verdict: Verdict) -> dict[str, Any]:
    """Give *verdict* as the JSON object that the interface describes."""
    return {  # but what is between the judge and the watcher only
        "domain": verdict.domain,
        "uuid": verdict.uuid,
        "operation": verdict.operation,
        "decision": verdict.decision,
        "refused": verdict.refused,
        "would_refuse": verdict.would_refuse,
        "leniency": verdict.leniency,
        "findings": [finding_to_dict(finding) for finding in verdict.findings],
        "guest_cpu": verdict.guest_cpu,
        "host_cpu": verdict.host_cpu,
        "source": verdict.source,
    }


def finding_to_dict(finding: Finding) -> dict[str, str]:
    """Give *finding* as the JSON object that the interface describes."""
    return {
        "code": finding.code,
        "subject": finding.subject,
        "sentence": finding.sentence,
        "hint": finding.hint,
        "mode": finding.mode,
    }


Kind = TypeVar("Kind")


def _typed(value: object, kind: type[Kind]) -> Kind:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def verdict_from_dict(document: Mapping[str, Any]) -> Verdict:
    """Read back what verdict_to_dict wrote; raises BadRequest."""
    try:
        findings = tuple(
            Finding(Code(f["code"]), f["subject"], f["sentence"], f["hint"], Enforcement(f["mode"]))
            for f in document["findings"]
        )
        return Verdict(
            operation=Operation(document["operation"]),
            decision=Decision(document["decision"]),
            refused=_typed(document["refused"], bool),
            would_refuse=_typed(document["would_refuse"], bool),
            leniency=_typed(document["leniency"], str),
            findings=findings,
            domain=_typed(document["domain"], str),
            uuid=_typed(document["uuid"], str),
            guest_cpu=_typed(document["guest_cpu"], str),
            host_cpu=_typed(document["host_cpu"], str),
            source=_typed(document["source"], str),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise BadRequest(f"not a verdict: {exc!r}") from exc


def service_info() -> dict[str, Any]:
    """Give the reply to org.varlink.service.GetInfo."""
    return {
        "vendor": "cpu-guardd",
        "product": "cpu-guardd",
        "version": __version__,
        "url": "",
        "interfaces": [SERVICE, INTERFACE],
    }
