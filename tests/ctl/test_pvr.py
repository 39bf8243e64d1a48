"""pvr in guardd.toml: the key, the map and the host that verdicts go by, and what they say."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from guardd import files, wire
from guardd.config import Config, parse_config
from guardd.cpu import PVRMatch, match_pvr
from guardd.cpu.definition import Arch
from guardd.daemon import Daemon
from guardd.errors import BadConfig
from guardd.facts.snapshot import HostSnapshot, with_revision
from guardd.judge import judge
from guardd.judge.finding import CheckRequest, Operation
from guardd.judge.policy import Ceiling, Policy
from guardd.probe.revision import read_revision
from guardd.state import State
from tests.cpu.definitions import guest
from tests.cpu.maps import MAP
from tests.ctl.commands import capabilities, domain, domcaps, keep_snapshot, run, write

MODELS = ("POWER7", "POWER8", "POWER9", "POWER10")
DAMAGED = "guardd.toml:2: 'pvr' is 'full', must be one of \"family\", \"exact\""


def snapshot(folder: Path, model: str) -> HostSnapshot:
    """Give the snapshot of a PowerPC host with KVM."""
    keep_snapshot(
        folder,
        capabilities(f"<model>{model}</model><vendor>IBM</vendor>", arch="ppc64le"),
        domcaps("<!-- PowerPC has no model here -->", *MODELS, arch="ppc64le"),
    )
    kept = files.kept_snapshot(folder)
    assert kept is not None
    return kept


def codes(host: HostSnapshot, cpu: str, pvr: PVRMatch, policy: Policy | None = None) -> list[str]:
    """Judge a guest with <cpu> *cpu* and name the findings."""
    request = CheckRequest(
        domain="web1", operation=Operation.PREPARE, xml=domain(cpu, arch="ppc64le")
    )
    verdict = judge(request, host, policy or Policy(), match_pvr(MAP, pvr))
    return [finding.code.value for finding in verdict.findings]


def test_key() -> None:
    """By family unless it is asked for; a drop-in may take it back."""
    exact = ("a.toml", b'pvr = "exact"')

    assert PVRMatch.FAMILY is Config().pvr is parse_config([]).pvr
    assert PVRMatch.EXACT is parse_config([exact]).pvr
    assert PVRMatch.FAMILY is parse_config([exact, ("b.toml", b'pvr = "family"')]).pvr


def test_mistake() -> None:
    """With file, line and what would have been right."""
    with pytest.raises(BadConfig) as caught:
        parse_config([("guardd.toml", b'mode = "warn"\npvr = "full"')])

    assert DAMAGED == str(caught.value)


@pytest.mark.parametrize(
    ("host", "model", "revision", "expected"),
    [
        ("POWER9", "POWER9", "POWER9_v2.2", "POWER9_v2.2"),
        ("POWER7", "POWER7", "POWER7+_v2.1", "POWER7+_v2.1"),
        ("POWER9", "POWER9", None, "POWER9"),
        # a snapshot of another host
        ("POWER8", "POWER8", "POWER9_v2.2", "POWER8"),
        ("POWER8", None, "POWER8_v2.0", None),
    ],
)
def test_with_revision(
    tmp_path: Path, host: str, model: str | None, revision: str | None, expected: str | None
) -> None:
    """Only the name changes, and only within the family."""
    known = snapshot(tmp_path, host)
    if model is None:
        known = known._replace(host_cpu=None)
    named = with_revision(known, revision)

    assert expected == (named.host_cpu and named.host_cpu.model)
    if named.host_cpu is not None and known.host_cpu is not None:
        assert known.host_cpu == named.host_cpu._replace(model=known.host_cpu.model)


def custom(model: str) -> str:
    """Give a guest's <cpu> of mode custom."""
    return f"<cpu><model>{model}</model></cpu>"


def compat(mode: str) -> str:
    """Give a guest's <cpu> in a compatibility mode."""
    return f"<cpu mode='host-model'><model>{mode}</model></cpu>"


@pytest.mark.parametrize(
    ("host", "cpu", "family", "exact"),
    [
        ("POWER7_v2.3", custom("POWER7"), [], ["model-mismatch"]),
        ("POWER7_v2.3", custom("POWER7_v2.3"), [], []),
        ("POWER7_v2.3", custom("POWER7_v2.1"), [], ["model-mismatch"]),
        ("POWER8_v2.0", custom("POWER8"), [], []),
        ("POWER8", custom("POWER8_v1.0"), [], ["unchecked"]),
        ("POWER9_v2.2", custom("POWER8"), ["model-mismatch"], ["model-mismatch"]),
        ("POWER10_v2.0", compat("power6"), [], ["compat-mode"]),
        ("POWER10_v2.0", compat("power9"), [], []),
        ("POWER8_v2.0", compat("power9"), ["compat-mode"], ["compat-mode"]),
        ("POWER9_v2.2", "<cpu mode='host-passthrough'/>", [], []),
    ],
)
def test_verdicts(tmp_path: Path, host: str, cpu: str, family: list[str], exact: list[str]) -> None:
    """What libvirt says of a family, and what is true of the very processor."""
    known = snapshot(tmp_path, host.partition("_")[0])

    assert family == codes(known, cpu, PVRMatch.FAMILY)
    assert exact == codes(with_revision(known, host), cpu, PVRMatch.EXACT)


@pytest.mark.parametrize(("ceiling", "expected"), [("POWER8", ["above-ceiling"]), ("POWER9", [])])
@pytest.mark.parametrize("pvr", list(PVRMatch))
def test_ceiling(tmp_path: Path, pvr: PVRMatch, ceiling: str, expected: list[str]) -> None:
    """A revision is of its family's generation."""
    known = snapshot(tmp_path, "POWER9")
    if pvr is PVRMatch.EXACT:
        known = with_revision(known, "POWER9_v2.2")
    policy = Policy(ceilings=(Ceiling(arch=Arch.PPC64, cpu=guest(ceiling)),))

    assert expected == codes(known, "<cpu mode='host-passthrough'/>", pvr, policy)


def test_a_doubt_says_what_is_unknown(tmp_path: Path) -> None:
    """A host whose register could not be read."""
    text = domain(custom("POWER8_v1.0"), arch="ppc64le")
    request = CheckRequest(domain="web1", operation=Operation.PREPARE, xml=text)
    known = snapshot(tmp_path, "POWER8")
    (finding,) = judge(request, known, Policy(), match_pvr(MAP, PVRMatch.EXACT)).findings

    assert "only the family of this host's processor is known (POWER8, KVM), not its PVR" == (
        finding.sentence
    )


def refuses(daemon: Daemon) -> bool:
    """Ask the daemon about a guest for POWER7 of revision 2.1."""
    text = domain(custom("POWER7_v2.1"), arch="ppc64le")
    answer = daemon.check({"domain": "web1", "operation": "prepare", "xml": text})
    return bool(wire.parse_reply(answer[:-1])["refused"])


def test_daemon(tmp_path: Path) -> None:
    """A new configuration, a new snapshot and a new map are taken as they come, in any order."""
    known = snapshot(tmp_path, "POWER7")
    exact = Config(pvr=PVRMatch.EXACT)
    state = State(cpu_map=MAP, snapshot=known, config=exact, revision="POWER7_v2.3")
    daemon = Daemon(state, tmp_path, tmp_path)

    assert refuses(daemon)
    assert known == state.snapshot  # what is kept and shown is libvirt's

    daemon.take_snapshot(known._replace(taken="2026-11-22T22:00:00Z"), MAP)
    assert refuses(daemon)


@pytest.mark.parametrize("words", [("family", "exact"), ("exact", "family")])
def test_daemon_reload(tmp_path: Path, words: tuple[str, str]) -> None:
    """systemctl reload, with a map and a snapshot that stay."""
    known = snapshot(tmp_path, "POWER7")
    daemon = Daemon(State(cpu_map=MAP, snapshot=known, revision="POWER7_v2.3"), tmp_path, tmp_path)
    for word in words:
        write(tmp_path / "guardd.toml", f'pvr = "{word}"')
        asyncio.run(daemon.reload())
        assert (word == "exact") == refuses(daemon)


def test_check(tmp_path: Path, map_folder: Path) -> None:
    """cpu-guardctl check goes by the key as the daemon does."""
    snapshot(tmp_path, "POWER10")
    folders = ("--state", tmp_path, "--config", tmp_path, "--cpu-map", map_folder)
    text = domain(compat("power6"), arch="ppc64le")

    assert 0 == run("check", *folders, "-", stdin=text).status
    write(tmp_path / "guardd.toml", 'pvr = "exact"')
    done = run("check", *folders, "--json", "-", stdin=text)
    assert (1, "compat-mode") == (done.status, json.loads(done.out)["findings"][0]["code"])


def test_read_revision() -> None:
    """Nothing on a host that is no PowerPC, and no error anywhere."""
    assert read_revision(MAP) is None or "POWER" in (read_revision(MAP) or "")
