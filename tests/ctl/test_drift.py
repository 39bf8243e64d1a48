"""cpu-guardctl drift and preflight: two snapshots, and the guests of libvirt's test driver."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardd import files
from guardd.ctl import known
from guardd.errors import LibvirtFailed
from guardd.facts.snapshot import HostSnapshot
from tests.ctl.commands import Done, capabilities, domain, domcaps, keep_snapshot, run, write
from tests.ctl.guests import OFF, RUNNING, guests_uri

MODELS = ("plain", "Old")
TSX = domcaps("<model>Mid</model><vendor>Intel</vendor>", *MODELS, "Mid", virt_type="test")
NO_TSX = domcaps("<model>Mid-noTSX</model><vendor>Intel</vendor>", *MODELS, virt_type="test")
NOBODY_THERE = "qemu+unix:///system?socket=/nonexistent"


def cpu(model: str, check: str = "partial") -> str:
    """Write a <cpu>."""
    return f"<cpu mode='custom' check='{check}'><model>{model}</model></cpu>"


GUESTS = {
    "poor": (cpu("Old"), RUNNING),
    "rich": (cpu("Mid", "full"), RUNNING),
    "later": (cpu("Mid"), OFF),
    "never": (cpu("New"), OFF),
}


class Host:
    """A host that lost hle and rtm, with what its daemon keeps, and guests in libvirt."""

    def __init__(self, folder: Path, map_folder: Path) -> None:
        self.folder = folder
        self.state = keep_snapshot(folder / "state", capabilities("Mid-noTSX"), NO_TSX)
        before = keep_snapshot(folder / "before", capabilities("Mid"), TSX)
        self.before = before / files.SNAPSHOT
        self._map = map_folder

    def kept(self, path: Path) -> HostSnapshot:
        """Read a snapshot."""
        snapshot = files.read_snapshot(path)
        assert snapshot is not None
        return snapshot

    def changes(self) -> None:
        """Keep the host as it was, as the daemon does."""
        files.keep_previous(self.kept(self.before)._replace(qemu="7.2.0"), self.state)
        files.keep_snapshot(
            self.kept(self.state / files.SNAPSHOT)._replace(qemu="7.2.1"), self.state
        )

    def run(self, command: str, *words: str | Path) -> Done:
        """Run the command on this host."""
        folders = ("--config", self.folder, "--state", self.state, "--cpu-map", self._map)
        return run(command, *folders, *words)


@pytest.fixture
def host(tmp_path: Path, map_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Give such a host; libvirt answers on the URI that cpu-guardctl asks."""
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", guests_uri(tmp_path / "guests.xml", GUESTS))
    return Host(tmp_path, map_folder)


def test_drift(host: Host) -> None:
    """What changed, who is affected in which state and why, who was refused before already."""
    host.changes()
    done = host.run("drift")

    assert (1, "") == (done.status, done.err)
    before, _, after = done.out.partition("Guests that would be refused now:\n")
    assert "QEMU 7.2.1 (was 7.2.0)" in before.splitlines()
    assert "  lost: hle, rtm" in before.splitlines()
    affected, _, still = after.partition("Guests that would be refused now, and would have been")
    assert [
        "  later (defined)",
        "    later needs hle, rtm from Mid; this host (Mid-noTSX, test) lacks them",
        "  rich (defined, running)",
        "    rich needs hle, rtm from Mid; this host (Mid-noTSX, test) lacks them",
    ] == sorted(affected.splitlines(), key=lambda line: "rich" in line)
    assert "  never (defined)" in still.splitlines()
    assert "2 of 4 guests affected" == done.out.splitlines()[-1]


def test_json(host: Host) -> None:
    """The same for programs."""
    host.changes()
    done = host.run("drift", "--json")

    assert 1 == done.status
    assert ["hle", "rtm"] == done.json["hypervisors"][0]["features"]["lost"]
    found = {(g["name"], g["state"], g["effect"]) for g in done.json["guests"]}
    assert {
        ("rich", "defined", "affected"),
        ("rich", "running", "affected"),
        ("later", "defined", "affected"),
        ("never", "defined", "still-refused"),
    } == found
    assert 3 == done.json["effects"]["affected"]


def test_nothing_ever_changed(host: Host) -> None:
    """The daemon kept no earlier host."""
    done = host.run("drift")

    assert (0, "") == (done.status, done.err)
    assert done.out.startswith("This host has not changed")
    assert host.run("drift", "--json").json["before"] is None


def test_two_files(host: Host) -> None:
    """Any two snapshots can be compared; the other way round is no loss."""
    now = host.state / files.SNAPSHOT
    assert 1 == host.run("drift", "--from", host.before).status

    back = host.run("drift", "--from", now, "--to", host.before)
    assert (0, True) == (back.status, "  gained: hle, rtm" in back.out.splitlines())
    assert "Guests that would have been refused before, and would not be now:" in back.out

    same = host.run("drift", "--from", now, "--to", now)
    assert (0, True) == (same.status, "Nothing changed" in same.out)


def test_preflight(host: Host) -> None:
    """The other host's snapshot beside this one's, whatever that host is called."""
    host.state, here = host.folder / "before", host.state
    other = host.kept(here / files.SNAPSHOT)._replace(hostname="host2")
    files.keep_snapshot(other, host.folder)
    done = host.run("preflight", "--with", host.folder / files.SNAPSHOT)

    assert (1, "") == (done.status, done.err)
    assert "There:   host2, 2026-11-22T21:00:00Z" in done.out.splitlines()
    assert "that host (Mid-noTSX, test) lacks them" in done.out
    assert "this host" not in done.out
    assert "Guests that would be refused there, and not here:" in done.out
    assert "2 of 4 guests affected" in done.out
    document = host.run("preflight", "--with", host.folder / files.SNAPSHOT, "--json").json
    assert ("host2", 3) == (document["now"]["hostname"], document["effects"]["affected"])
    assert 0 == host.run("preflight", "--with", host.before).status


def test_without_libvirt(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drift is shown all the same; nobody can say whom it matters to."""
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", NOBODY_THERE)
    host.changes()

    with pytest.raises(LibvirtFailed, match=r"nowhere cannot be read"):
        known.guest_states(tmp_path / "nowhere")
    folder = tmp_path / "qemu"
    (folder / "networks").mkdir(parents=True)
    write(folder / "web1.xml", "<!--\nnot to be edited\n-->\n" + domain(cpu("Mid")))
    write(folder / "broken.xml", "<domain")
    states, missing = known.guest_states(folder)
    assert [("web1", "defined")] == [(state.name, state.words) for state in states]
    assert "only the definitions below" in missing


def test_an_unknown_model(host: Host) -> None:
    """The other host's libvirt knows a model that this one's map lacks: say what helps."""
    text = host.before.read_text(encoding="utf-8").replace("Mid", "Next")
    done = host.run("preflight", "--with", write(host.folder / "next.json", text))

    assert 3 == done.status
    assert "Unknown CPU model Next" in done.err
    assert "give that with --cpu-map" in done.err


def test_an_unknown_feature(host: Host) -> None:
    """It is left out, and said: no guest here can ask for it."""
    text = host.before.read_text(encoding="utf-8").replace(
        "<vendor>Intel</vendor>", "<vendor>Intel</vendor><feature policy='require' name='amx'/>"
    )
    done = host.run("preflight", "--with", write(host.folder / "next.json", text))

    assert 0 == done.status
    assert "features of host1 that are not known here were left out: amx" in done.err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "cannot be read"),
        ("{}", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": 99}', "this program reads 1"),
    ],
)
def test_bad_files(host: Host, text: str, problem: str) -> None:
    """Another file than a snapshot."""
    path = write(host.folder / "file.json", text)

    for words in (("preflight", "--with"), ("drift", "--from")):
        done = host.run(*words, path)
        assert (3, True) == (done.status, problem in done.err)


def test_usage(host: Host) -> None:
    """What is wrong on the command line."""
    assert 2 == host.run("preflight").status
    assert 2 == host.run("preflight", "--with", host.folder / "missing").status
    assert 2 == host.run("drift", "--from", host.folder).status

    write(host.folder / "guardd.toml", "moode = 1")
    done = host.run("preflight", "--with", host.before)
    assert (3, True) == (done.status, "unknown key" in done.err)


def test_another_architecture(host: Host) -> None:
    """Nothing of what is here can run there."""
    document = json.loads(host.before.read_text(encoding="utf-8"))
    document |= {"arch": "aarch64", "host_cpu": None, "hypervisors": []}
    path = write(host.folder / "arm.json", json.dumps(document))
    done = host.run("preflight", "--with", path)

    assert (3, True) == (done.status, "no test x86_64 any more" in done.out)
    assert "Guests of which it cannot be told:" in done.out
