"""What is fuzzed: for each input, what must hold whatever the bytes are."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType

from guardd import cpu, files, wire
from guardd.config import parse_config
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch
from guardd.cpu.xml import format_cpu, parse_cpu
from guardd.daemon import Daemon
from guardd.errors import BadConfig, BadRequest, BadSnapshot, GuardError, MalformedXML
from guardd.facts.capabilities import parse_capabilities
from guardd.facts.cpus import parse_cpus
from guardd.facts.domain import Guest, parse_domain, trim_domain
from guardd.facts.domcaps import parse_domcaps
from guardd.facts.snapshot import snapshot_from_json, snapshot_to_json
from guardd.facts.states import defined_state, snapshot_state
from guardd.journal.owed import Owed
from guardd.journal.writer import JournalWriter
from guardd.judge.finding import CheckRequest, Code, Decision, Operation, Verdict
from guardd.judge.replay import decide_anew, past_verdict
from guardd.render import hook_line, journal_fields
from guardd.server import Method, Peer, Server
from guardd.state import State
from guardd.xmldoc import format_xml, parse_xml
from tests.fuzz.mutations import Mutation, mutate_json, mutate_text, mutate_xml
from tests.judge.table import (
    HASWELL,
    NEOVERSE,
    POWER9,
    born,
    domain,
    judged,
    mode,
    policy_of,
    stamp_element,
    stamped,
)
from tests.judge.table import cpu as custom
from tests.recordings import DATA, ROOT, recorded, small_map

ROOT_PEER = Peer(pid=1, uid=0, gid=0)
OTHER_PEER = Peer(pid=1, uid=1000, gid=1000)
FIELD = re.compile(r"[A-Z][A-Z0-9_]*")
MANY_LINES = {"GUARDD_REPORT"}
STRICT = """
on_cannot_tell = "deny"
guest_metadata = "honour"
[ceiling]
x86_64 = "Haswell-noTSX"
ppc64le = "POWER8"
"""
OWN_MAP = small_map()


def is_line(text: str) -> bool:
    """Whether a terminal shows *text* as one line and does nothing else."""
    return text.isprintable()


def check_record(fields: Mapping[str, str]) -> None:
    """A record of the journal: no field can be taken for two, no line for another's."""
    for name, value in fields.items():
        assert FIELD.fullmatch(name), name
        lines = value.split("\n") if name in MANY_LINES else [value]
        assert all(map(is_line, lines)), (name, value)


class Checked(JournalWriter):
    """Takes records as the journal does, and looks at each."""

    def __init__(self) -> None:
        super().__init__(lambda _fields: None, lambda _fields: False)

    def write(self, fields: Mapping[str, str]) -> None:
        """Look at one record."""
        check_record(fields)


class Complaint(logging.Handler):
    """Makes of an error that is logged one that is raised: a bug is logged, and does no harm."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise what was logged."""
        error = record.exc_info[1] if record.exc_info else None
        raise AssertionError(record.getMessage()) from error


@contextmanager
def complaining() -> Iterator[None]:
    """Let no error be logged meanwhile."""
    complaint = Complaint(logging.ERROR)
    logging.getLogger().addHandler(complaint)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(complaint)


class Desk:
    """A daemon without its socket: what stands between a caller's bytes and the reply's."""

    def __init__(self, state: State, folder: Path) -> None:
        daemon = Daemon(state, folder, folder, Checked(), Owed(folder / "owed"))
        methods = {
            "Check": Method(daemon.check, is_privileged=True, missed=daemon.missed),
            "GetStatus": Method(daemon.status, is_privileged=False),
            "GetMetrics": Method(daemon.metrics, is_privileged=False),
        }
        self._server = Server(methods, ROOT_PEER.uid)

    def ask(self, frame: bytes, peer: Peer = ROOT_PEER) -> dict[str, object] | None:
        """Give the reply to *frame*, which must be one, and no confession of a bug."""
        with complaining():
            reply = self._server.reply_to(frame, peer)
        if reply is None:
            return None
        assert reply.endswith(b"\0")
        assert 1 == reply.count(b"\0")
        document = json.loads(reply[:-1])
        assert isinstance(document, dict)
        assert document.get("error") != f"{wire.INTERFACE}.Internal"
        if "line" in document.get("parameters", {}):
            self._look(reply, document["parameters"])
        return document

    def miss(self, frame: bytes) -> None:
        """Hand in a frame whose caller has left."""
        with complaining():
            self._server.note_missed(frame, ROOT_PEER)

    @staticmethod
    def _look(reply: bytes, parameters: Mapping[str, object]) -> None:
        line, document = parameters["line"], parameters["verdict"]
        assert isinstance(line, str)
        assert isinstance(document, dict)
        assert is_line(line)
        verdict = wire.verdict_from_dict(document)
        # the very bytes that the hook goes by
        assert reply.startswith(b'{"parameters":{"refused":false,') is not verdict.refused
        if verdict.decision is Decision.DENY:
            assert verdict.refused
        assert Code.INTERNAL not in {finding.code for finding in verdict.findings}


def _desks() -> dict[str, Desk]:
    """Make a daemon on a host of each kind, and one that refuses whatever it can."""
    folder = Path(tempfile.gettempdir())
    strict = policy_of(STRICT)._replace(pool=(HASWELL,))
    states = {
        "ppc64": State(cpu_map=OWN_MAP, snapshot=POWER9),
        "aarch64": State(cpu_map=OWN_MAP, snapshot=NEOVERSE),
        "host-": State(cpu_map=OWN_MAP, snapshot=HASWELL),
        "": State(
            cpu_map=OWN_MAP, snapshot=HASWELL, config=parse_config([])._replace(policy=strict)
        ),
    }
    return {word: Desk(state, folder) for word, state in states.items()}


DESKS = _desks()


def desk_for(xml: bytes) -> Desk:
    """Choose the daemon by what the guest is made for."""
    return next(desk for word, desk in DESKS.items() if word.encode() in xml)


# -- the socket


def wire_bytes(data: bytes) -> None:
    """Any message, by anybody, or by somebody who has left."""
    for frame in data.split(b"\0")[:4]:
        desk = desk_for(frame)
        desk.ask(frame)
        other = desk.ask(frame, OTHER_PEER)
        assert other is None or "verdict" not in other.get("parameters", {})  # type: ignore[operator]
        desk.miss(frame)


def domain_xml(data: bytes) -> None:
    """Any bytes on the hook's stdin, as each of its calls."""
    xml = data.decode("utf-8", "surrogateescape")
    desk = desk_for(data)
    for operation in (Operation.PREPARE, Operation.MIGRATE):
        request = CheckRequest(domain="web1", operation=operation, xml=xml)
        parameters = wire.check_parameters(request)
        answer = desk.ask(wire.format_call(f"{wire.INTERFACE}.Check", parameters)[:-1])
        assert answer is not None
        assert "parameters" in answer
    short = read_domain(xml)
    whole = read_domain(f"{xml}<!-- -->")  # nothing of it is passed over
    assert whole is None or whole == short
    by_libxml2 = read_domain(f"{xml}<!--<!DOCTYPE-->")  # expat takes no such thing
    assert by_libxml2 is None or by_libxml2 == whole


def read_domain(xml: str) -> Guest | str | None:
    """Give the guest, or what is wrong with it; None for what is no well-formed document."""
    try:
        return parse_domain(xml)
    except MalformedXML:
        return None
    except GuardError as exc:
        return str(exc)


def reply_bytes(data: bytes) -> None:
    """Any reply that cpu-guardctl gets."""
    try:
        parameters = wire.parse_reply(data)
        wire.verdict_from_dict(parameters.get("verdict", {}))
    except BadRequest:
        return


# -- what travels with a guest


def stamp_xml(data: bytes) -> None:
    """Any element for a stamp: one that cannot be read is a doubt more and no finding less."""
    for bare, host in STAMPED:
        xml = stamped(bare, data.decode("utf-8", "surrogateescape"))
        for arrives in (True, False):
            with_one = judged(host, xml, toml=STRICT, arrives=arrives)
            without = judged(host, bare, toml=STRICT, arrives=arrives)
            check_verdict(with_one)
            codes = {finding.code for finding in with_one.findings}
            if codes & {Code.BAD_STAMP, Code.UNREADABLE_GUEST}:
                assert with_one.refused or not without.refused
            if Code.BAD_STAMP in codes:
                assert _certain(without) <= _certain(with_one)


def _certain(verdict: Verdict) -> set[tuple[str, str]]:
    return {(each.code, each.subject) for each in verdict.findings if not each.code.is_doubt}


def check_verdict(verdict: Verdict) -> None:
    """A verdict on a document that anybody wrote can be said."""
    assert is_line(hook_line(verdict))
    check_record(journal_fields(verdict, 1))
    document = json.loads(json.dumps(wire.verdict_to_dict(verdict)))
    assert verdict._replace(unseen=None, guest=None) == wire.verdict_from_dict(document)


def mutate_stamp(data: bytes, random: Random) -> bytes:
    """Change a stamp, and half of the time its digest along with it, as who knows how may."""
    changed = mutate_xml(data, random)
    if random.random() < 0.5:
        return changed
    try:
        element = parse_xml(changed)
    except GuardError:
        return changed
    words = {str(key): str(word) for key, word in element.attrib.items()}
    words.pop("digest", None)
    element.set("version", str(words.pop("version", "1")))
    text = "\n".join(f"{name}={words[name]}" for name in sorted(words))
    element.set("digest", hashlib.sha256(text.encode()).hexdigest()[:16])
    return format_xml(element).encode()


# -- what the host says


def cpu_map_xml(data: bytes) -> None:
    """A file of the CPU map: it is broken, or it can be worked with."""
    index, _, rest = data.partition(b"<!--next-->")
    given = {"index.xml": index}

    def read(name: str) -> bytes:
        return given.get(name, rest)

    cpu_map = CPUMap(read).load()
    for arch in (Arch.X86_64, Arch.PPC64LE, Arch.AARCH64):
        try:
            for name in cpu.models(cpu_map, arch)[:4]:
                model = parse_cpu(f"<cpu match='exact'><model>{name}</model></cpu>")
                cpu.features(cpu_map, arch, model)
                cpu.compare(cpu_map, arch, model._replace(arch=arch), model)
        except GuardError:
            continue


def domcaps_xml(data: bytes) -> None:
    """Domain capabilities, of another host maybe, and guests judged by them."""
    try:
        hypervisor = parse_domcaps(data)
    except GuardError:
        return
    host = HASWELL._replace(hypervisors=(hypervisor,))
    for guest in GUESTS:
        check_verdict(judged(host, guest))


def capabilities_xml(data: bytes) -> None:
    """Capabilities of another host, and guests judged by its CPU."""
    try:
        supported = parse_capabilities(data)
    except GuardError:
        return
    host = HASWELL._replace(host_cpu=supported.host_cpu, arch=supported.arch)
    for guest in GUESTS:
        check_verdict(judged(host, guest))


def snapshot_json(data: bytes) -> None:
    """A kept snapshot, an older daemon's or another host's: guests are judged by what it says."""
    try:
        host = snapshot_from_json(data)
    except BadSnapshot:
        return
    again = snapshot_from_json(snapshot_to_json(host))
    assert again.hypervisors == host.hypervisors
    for guest in GUESTS:
        check_verdict(judged(host, guest))
        check_verdict(judged(HASWELL, guest, pool=(host,)))


# -- files that people write


def config_toml(data: bytes) -> None:
    """guardd.toml and a drop-in: a Config, or a mistake with a place."""
    first, _, second = data.partition(b"\0")
    problem = ""
    try:
        parse_config([("guardd.toml", first), ("10.toml", second)])
    except BadConfig as exc:
        problem = str(exc)
    assert not problem or problem.startswith(("guardd.toml", "10.toml"))


def config_kept(data: bytes) -> None:
    """What the daemon kept of its last good configuration."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / files.GOOD_CONFIG).write_bytes(data)
        files.kept_config(Path(folder))


def cpu_xml(data: bytes) -> None:
    """A file for compare, baseline and their like."""
    text = data.decode("utf-8", "surrogateescape")
    for read in (parse_cpus, parse_domain, trim_domain, defined_state):
        try:
            read(text)
        except GuardError:
            continue
    try:
        snapshot_state(text, name="a", uuid="b")
        found = [each.cpu for each in parse_cpus(text)]
    except GuardError:
        return
    for each in found[:3]:
        for work in (
            format_cpu,
            lambda one: cpu.compare(OWN_MAP, Arch.X86_64, HASWELL_CPU, one),
            lambda one: cpu.compare(OWN_MAP, Arch.X86_64, one, HASWELL_CPU),
            lambda one: cpu.baseline(OWN_MAP, Arch.X86_64, [one, HASWELL_CPU]),
            lambda one: cpu.features(OWN_MAP, Arch.X86_64, one),
        ):
            try:
                work(each)
            except GuardError:
                continue


def record_json(data: bytes) -> None:
    """A record of the journal that another version wrote, or somebody else: it is read or not."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(fields, dict):
        return
    past = past_verdict({str(name): str(value) for name, value in fields.items()})
    if past is not None:
        decide_anew(past, policy_of(STRICT))


# -- what they start from

GUESTS = (
    domain(custom("Haswell-noTSX", "require avx2")),
    domain(mode("host-model")),
    domain(mode("host-passthrough")),
    domain(custom("Skylake-Server"), virt="qemu"),
)
assert HASWELL.host_cpu is not None
HASWELL_CPU = HASWELL.host_cpu
_PASSTHROUGH = domain(mode("host-passthrough", "require avx2"))
_CUSTOM = domain(custom("Haswell-noTSX", "require svm", attributes="check='full'"))
_POWER = domain(mode("host-passthrough"), arch="ppc64le")
STAMPED = ((_PASSTHROUGH, HASWELL), (_CUSTOM, HASWELL), (_POWER, POWER9))
_STAMP_SEEDS = [stamp_element(born(host, xml)).encode() for xml, host in STAMPED]
_DOMAIN_SEEDS = [
    *(path.read_bytes() for path in sorted(DATA.glob("*-guest-*.xml"))),
    *(stamped(bare, stamp.decode()).encode() for (bare, _), stamp in zip(
        STAMPED, _STAMP_SEEDS, strict=True)),
    *(text.encode() for text in GUESTS),
    domain(custom("POWER8"), arch="ppc64le").encode(),
    domain(mode("host-passthrough"), arch="aarch64").encode(),
    domain(mode("maximum"), arch="aarch64", virt="qemu").encode(),
    domain(custom("Haswell", "force avx", "forbid avx2", attributes="match='strict'")).encode(),
    domain(mode("host-model", "disable avx") + "<clock><timer name='tsc' frequency='1'/></clock>")
    .encode(),
    domain("<cpu mode='host-passthrough'><maxphysaddr mode='emulate' bits='52'/></cpu>").encode(),
]  # fmt: skip
_CHECKS = [
    wire.format_call(
        f"{wire.INTERFACE}.Check",
        {"domain": "web1", "operation": operation, "xml": xml.decode()},
    )[:-1]
    for operation in ("prepare", "migrate", "restore")
    for xml in _DOMAIN_SEEDS[:6]
]
_CALLS = [
    wire.format_call(method, {"interface": wire.INTERFACE})[:-1]
    for method in (
        f"{wire.INTERFACE}.GetStatus",
        f"{wire.INTERFACE}.GetMetrics",
        f"{wire.SERVICE}.GetInfo",
        f"{wire.SERVICE}.GetInterfaceDescription",
    )
]
_VERDICTS = [
    wire.format_reply(
        {"refused": verdict.refused, "line": "x", "verdict": wire.verdict_to_dict(verdict)}
    )[:-1]
    for verdict in (judged(HASWELL, guest) for guest in GUESTS)
]
_MAP = [
    (DATA / "cpu_map" / "index.xml").read_bytes() + b"<!--next-->" + path.read_bytes()
    for path in sorted((DATA / "cpu_map").glob("[!i]*.xml"))
]


def _records() -> list[bytes]:
    verdicts = [judged(HASWELL, guest) for guest in GUESTS]
    return [json.dumps(journal_fields(verdict, 1)).encode() for verdict in verdicts]


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of input: what is done with it, how it is changed, what it starts from."""

    run: Callable[[bytes], None]
    mutate: Mutation
    seeds: list[bytes]


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "wire": Target(wire_bytes, mutate_json, [*_CHECKS, *_CALLS]),
        "domain": Target(domain_xml, mutate_xml, _DOMAIN_SEEDS),
        "reply": Target(reply_bytes, mutate_json, _VERDICTS),
        "stamp": Target(stamp_xml, mutate_stamp, _STAMP_SEEDS),
        "cpu-map": Target(cpu_map_xml, mutate_xml, _MAP),
        "domcaps": Target(
            domcaps_xml, mutate_xml, [recorded("x86_64-haswell11-kvm").encode()]
        ),
        "capabilities": Target(
            capabilities_xml, mutate_xml, [recorded("x86_64-haswell-capabilities").encode()]
        ),
        "snapshot": Target(
            snapshot_json,
            mutate_json,
            [snapshot_to_json(host).encode() for host in (HASWELL, POWER9, NEOVERSE)],
        ),
        "config": Target(
            config_toml,
            mutate_text,
            [
                STRICT.encode() + b"\0" + b"[rules]\nmissing-feature = 'warn'\n",
                (ROOT / "etc/cpu-guardd/guardd.toml").read_bytes().replace(b"\n#", b"\n"),
                b"pvr = 'exact'\n[ceiling]\nx86_64 = '<cpu><model>a</model></cpu>'\n",
            ],
        ),
        "config-kept": Target(
            config_kept, mutate_json, [json.dumps([["guardd.toml", STRICT]]).encode()]
        ),
        "cpu": Target(
            cpu_xml,
            mutate_xml,
            [*_DOMAIN_SEEDS[:3], recorded("x86_64-haswell-capabilities").encode()],
        ),
        "record": Target(record_json, mutate_json, _records()),
    }
)  # fmt: skip
