"""cpu-guardctl explain: a verdict in a recorded journal, and the guest and the host as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardd import files
from guardd.facts.domcaps import Hypervisor
from guardd.probe.fingerprint import read_fingerprint
from tests.ctl.commands import Done, run, write
from tests.ctl.guests import OFF, guests_uri
from tests.ctl.test_drift import NOBODY_THERE
from tests.ctl.test_replay import recorded_journal
from tests.recordings import DATA, recorded_host

__all__ = ["recorded_journal"]

SKYLAKE = "<cpu mode='custom' check='partial'><model>Skylake-Server</model></cpu>"


class Host:
    """A Haswell, and the journal with its verdicts."""

    def __init__(self, folder: Path, recorded: Path) -> None:
        self.folder = folder
        host = recorded_host("haswell")
        # what libvirt's test driver runs is neither kvm nor qemu
        hypervisors = tuple(each._replace(virt_type="test") for each in host.hypervisors[:1])
        fingerprint = read_fingerprint(each.emulator for each in hypervisors)
        self.now = host._replace(hypervisors=hypervisors, fingerprint=fingerprint)
        files.keep_snapshot(self.now, folder)
        self._words = ("--directory", recorded, "--config", folder, "--state", folder)

    def explain(self, *words: str, cpu_map: Path = DATA / "cpu_map") -> Done:
        """Run explain."""
        return run("explain", *self._words, "--cpu-map", cpu_map, *words)


@pytest.fixture
def host(tmp_path: Path, recorded_journal: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Give the host, with a guest in its libvirt."""
    uri = guests_uri(tmp_path / "guests.xml", {"web1": (SKYLAKE, OFF)})
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", uri)
    return Host(tmp_path, recorded_journal)


def test_in_full(host: Host) -> None:
    """Then, where it comes from, now, and what to do."""
    done = host.explain("web1")
    lines = done.out.splitlines()

    assert (0, "") == (done.status, done.err)
    assert "web1: migrate allowed (warn)" == lines[1]
    at = lines.index("What it asks for comes from:")
    assert "  its model, Skylake-Server: avx512f, avx512bw" == lines[at + 1]
    at = lines.index("Now:")
    assert lines[at + 1].startswith("  a start would be refused (deny): web1 needs hle, rtm (+3)")
    at = lines.index("What to do:")
    assert [
        "  The smallest change to its <cpu> with which it fits:",
        "      cpu-guardctl fix web1",
    ] == lines[at + 1 : at + 3]


def test_last(host: Host) -> None:
    """The newest refusal; one with words of a later version is told as it stands there."""
    done = host.explain("last")

    assert (0, "later12: prepare refused (deny)") == (done.status, done.out.splitlines()[1])
    assert [] == host.explain("last", "--json").json["steps"]


def test_json(host: Host) -> None:
    """Groups that a program can read."""
    document = host.explain("--json", "web1").json

    assert ["missing-feature:avx512f", "missing-feature:avx512bw"] == document["then"]["findings"]
    assert [
        {
            "code": "missing-feature",
            "meaning": "AVX-512 and AVX10",
            "names": ["avx512f", "avx512bw"],
        }
    ] == document["groups"]
    assert [("model", ["avx512f", "avx512bw"])] == [
        (each["origin"], each["names"]) for each in document["asked_by"]
    ]
    assert "deny" == document["now"]["decision"]
    assert document["is_same"] is None  # it was a migration then
    assert "cpu-guardctl fix web1" in document["steps"][0]["lines"]


def test_drift(host: Host) -> None:
    """What the host had before its last update, and the update."""
    richer = host.now._replace(qemu="7.2.0", hypervisors=_with_avx512(host))
    files.keep_previous(richer, host.folder)
    files.keep_snapshot(host.now._replace(qemu="7.2.9"), host.folder)

    causes = host.explain("--json", "web1").json["causes"]
    assert [("drift", ["avx512f", "avx512bw"])] == [(c["cause"], c["names"]) for c in causes]
    assert "QEMU 7.2.9 (was 7.2.0)" in causes[0]["sentence"]
    assert "      cpu-guardctl drift" in host.explain("web1").out.splitlines()


def _with_avx512(host: Host) -> tuple[Hypervisor, ...]:
    [hypervisor] = host.now.hypervisors
    assert hypervisor.host_model is not None
    richer = hypervisor.host_model._replace(model="Skylake-Server")
    return (hypervisor._replace(host_model=richer),)


@pytest.mark.parametrize(
    ("trouble", "note"),
    [("libvirt", ""), ("config", "unknown key"), ("state", "cannot be read")],
)
def test_trouble(host: Host, trouble: str, note: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said then is told all the same."""
    match trouble:
        case "libvirt":
            monkeypatch.setenv("LIBVIRT_DEFAULT_URI", NOBODY_THERE)
        case "config":
            write(host.folder / "guardd.toml", "moode = 1")
        case _:
            write(host.folder / files.SNAPSHOT, "{}")
    done = host.explain("web1")

    assert (0, True) == (done.status, note in done.err)
    assert "missing-feature" in done.out
    assert host.explain("--json", "web1").json["now"] is None


def test_no_map(host: Host) -> None:
    """Nothing can be told of now, and that is said."""
    files.keep_previous(host.now._replace(qemu="7.2.0"), host.folder)
    done = host.explain("--json", "web1", cpu_map=host.folder)

    assert (0, "cannot-tell") == (done.status, done.json["now"]["decision"])
    assert [] == done.json["causes"]


def test_nobody(host: Host) -> None:
    """A guest that was never judged."""
    done = host.explain("nobody")

    assert (3, True) == (done.status, "error: no verdict on 'nobody'" in done.err)
