"""cpu-guardctl check --on: where a guest can go, by other hosts' guards, libvirts and snapshots."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from pathlib import Path

import pytest

from guardd import files
from guardd.probe.cpu_map import DIRECTORY
from tests.ctl.commands import Done, capabilities, domain, domcaps, keep_snapshot, run, write
from tests.recordings import ROOT, recorded, recorded_host

CONSOLE = "<graphics type='vnc' passwd='sekrit'/>"
OLD = "<cpu check='partial'><model>Old</model></cpu>"
MID = "<cpu check='partial'><model>Mid</model></cpu>"
HOST_MODEL = "<model fallback='forbid'>{}</model><vendor>Intel</vendor>"

# What a shell does with the words after "--": ssh(1) hands them to the user's own
SSH = """#!/bin/sh
printf '%s\\n' "$@" >> {folder}/words
while [ "$1" != -- ]; do shift; done
if [ ! -e {folder}/"$2" ]; then
    echo "ssh: connect to host $2 port 22: No route to host" >&2
    exit 255
fi
tee -a {folder}/sent | PATH={folder}/"$2" /bin/sh -c "$3"
"""
GUARDCTL = """#!/bin/sh
exec env -C {root} {python} -m guardd.ctl "$@" --state {state} --config {etc} --cpu-map {map}
"""


class Lab:
    """Hosts that ssh gets to, each with a guard or without, and snapshots copied from hosts."""

    def __init__(self, folder: Path, map_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._map = folder, map_folder
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        self.ssh = write(bin_folder / "ssh", SSH.format(folder=folder))
        self.ssh.chmod(0o755)
        monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")

    def snapshot(self, name: str, model: str) -> Path:
        """Write what the daemon on a host of *model* keeps; give the file."""
        gives = domcaps(HOST_MODEL.format(model), "Old", "plain", *([model] * (model != "Old")))
        return keep_snapshot(self.folder / name, capabilities(model), gives) / files.SNAPSHOT

    def guard(self, name: str, model: str, config: str = "") -> None:
        """Make the host *name* of *model* one with a guard that ssh gets to."""
        state, etc = self.snapshot(f"{name}-state", model).parent, self.folder / f"{name}-etc"
        etc.mkdir()
        write(etc / files.CONFIG, config)
        paths = {"state": state, "etc": etc, "map": self._map, "root": ROOT}
        quoted = {key: shlex.quote(str(path)) for key, path in paths.items()}
        self.command(name, GUARDCTL.format(python=shlex.quote(sys.executable), **quoted))

    def command(self, name: str, script: str) -> None:
        """Make the host *name* one on which cpu-guardctl is *script*."""
        (self.folder / name).mkdir()
        program = write(self.folder / name / "cpu-guardctl", script)
        program.chmod(0o755)
        (self.folder / name / "env").symlink_to("/usr/bin/env")

    def check(self, *destinations: str | Path, text: str, options: tuple[str, ...] = ()) -> Done:
        """Run check --on for the guest in *text*."""
        on = [word for destination in destinations for word in ("--on", str(destination))]
        return run("check", "--cpu-map", self._map, *options, *on, "-", stdin=text)

    def read(self, name: str) -> str:
        """Read what the stand-in for ssh wrote down."""
        return (self.folder / name).read_text()


@pytest.fixture
def lab(tmp_path: Path, map_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Give a place for hosts."""
    return Lab(tmp_path, map_folder, monkeypatch)


def rows(done: Done) -> list[tuple[str, str, str]]:
    """Give host, answer and who was asked, of JSON output."""
    return [(each["host"], each["can_go"], each["asked"]) for each in done.json["hosts"]]


def test_snapshots(lab: Lab) -> None:
    """A table with a line for each host, in the order of the command line."""
    paths = [lab.snapshot("a", "Mid"), lab.snapshot("b", "Old")]
    done = lab.check(*paths, text=domain(MID))
    title, *lines = done.out.splitlines()

    assert (1, "") == (done.status, done.err)
    assert ["HOST", "CAN", "GO", "ASKED", "WHY"] == title.split()
    assert [str(paths[0]), "yes", "file", "fits", "(Mid,", "KVM)"] == lines[0].split()
    assert lines[1].split()[1:3] == ["no", "file"]
    assert lines[1].endswith("needs sse2, hle (+2) from Mid; that host (Old, KVM) lacks them")


@pytest.mark.parametrize(
    ("models", "status"), [(["Mid", "Mid"], 0), (["Mid", "Old"], 1), (["Old", "Old"], 1)]
)
def test_exit_status(lab: Lab, models: list[str], status: int) -> None:
    """Zero says that every host asked would take it."""
    paths = [lab.snapshot(f"s{index}", model) for index, model in enumerate(models)]

    assert status == lab.check(*paths, text=domain(MID)).status


def test_guard_over_ssh(lab: Lab) -> None:
    """The guard there answers by the rules there, and is told no secret."""
    lab.guard("hostb", "Old")
    lab.guard("hostc", "Old", 'mode = "warn"')
    lab.guard("hostd", "Mid")
    text = domain(MID).replace("</domain>", f"<devices>{CONSOLE}</devices></domain>")
    uris = [f"qemu+ssh://{name}/system" for name in ("hostb", "hostc", "hostd")]
    done = lab.check(*uris, text=text, options=("--json",))

    assert 1 == done.status
    answers = ["no", "with-warnings", "yes"]
    assert [(u, a, "guard") for u, a in zip(uris, answers, strict=True)] == rows(done)
    assert {"prepare"} == {each["verdict"]["operation"] for each in done.json["hosts"]}
    assert "<domain" in lab.read("sent")
    assert "sekrit" not in lab.read("sent")


def test_running_guest(lab: Lab) -> None:
    """It is judged as on arrival, twice; what it really has decides."""
    lab.guard("hostb", "Old")
    running = domain(MID.replace("partial", "full")).replace("<domain", "<domain id='7'")
    done = lab.check("qemu+ssh://hostb/system", text=running, options=("--json",))
    sent = lab.read("words")

    assert [("qemu+ssh://hostb/system", "no", "guard")] == rows(done)
    assert "--operation migrate" in sent


def test_ssh_words(lab: Lab) -> None:
    """The parameters of libvirt's URI are heeded, and nobody is asked for a password."""
    lab.guard("hostb", "Mid")
    command = lab.folder / "other" / "ssh+2"
    command.parent.mkdir()
    lab.ssh.rename(command)
    uri = f"qemu+ssh://me@hostb:2222/system?keyfile=/k&no_verify=1&command={command}"
    done = lab.check(uri, text=domain(OLD), options=("--json",))
    words = lab.read("words").split("\n")

    assert [(uri, "yes", "guard")] == rows(done)
    assert ["-T", "-e", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"] == words[:7]
    assert ["-p", "2222", "-l", "me", "-i", "/k"] == words[7:13]
    assert ["-o", "StrictHostKeyChecking=no", "--", "hostb"] == words[13:17]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param("echo error: the lid is shut >&2; exit 3", "the lid is shut", id="error"),
        pytest.param("echo Welcome", "its guard gives no verdict", id="banner"),
        pytest.param("echo '{}'", "not a verdict", id="another's JSON"),
        pytest.param("kill -9 $$", "its guard gives no verdict", id="killed"),
    ],
)
def test_guard_that_gives_no_verdict(lab: Lab, script: str, expected: str) -> None:
    """It cannot be told, and its own words say why."""
    lab.command("hostb", f"#!/bin/sh\n{script}\n")
    done = lab.check("qemu+ssh://hostb/system", text=domain(OLD), options=("--json",))

    assert (3, "cannot-tell") == (done.status, done.json["hosts"][0]["can_go"])
    assert expected in done.json["hosts"][0]["why"]


def test_unreachable(lab: Lab) -> None:
    """Each host that cannot be asked has its reason; none keeps the others from answering."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        free = busy.getsockname()[1]
    there = lab.snapshot("a", "Old")
    done = lab.check(
        "qemu+ssh://nowhere/system",
        f"qemu+tcp://127.0.0.1:{free}/system",
        "test:///default",
        "nonsense://host/",
        there,
        text=domain(OLD),
        options=("--json",),
    )
    why = [each["why"] for each in done.json["hosts"]]

    assert (3, "") == (done.status, done.err)
    assert ["cannot-tell"] * 4 + ["yes"] == [each["can_go"] for each in done.json["hosts"]]
    assert "ssh: connect to host nowhere port 22: No route to host" in why[0]
    assert "Connection refused" in why[1]
    assert "virConnectGetDomainCapabilities" in why[2]
    assert "nonsense://host/" in why[3]


def test_bad_snapshots(lab: Lab, tmp_path: Path) -> None:
    """A file that is none."""
    done = lab.check(write(tmp_path / "x.json", "{}"), text=domain(OLD))

    assert 3 == done.status
    assert "cannot tell" in done.out
    assert "kept snapshot cannot be read" in done.out


@pytest.mark.parametrize("word", ["qemu+ssh://hostb:port/system", "missing.json", "://x"])
def test_usage(lab: Lab, word: str) -> None:
    """What names no host."""
    assert (2, "") == (lab.check(word, text=domain(OLD)).status, "")


def test_unreadable_guest(lab: Lab) -> None:
    """What cannot be read here is not sent."""
    done = lab.check(lab.snapshot("a", "Old"), text="<domain/>")

    assert (3, "error: domain has no type\n") == (done.status, done.err)


@pytest.mark.skipif(not DIRECTORY.exists(), reason="no libvirt here")
@pytest.mark.parametrize(("name", "expected"), [("haswell", "yes"), ("power9", "cannot-tell")])
def test_recorded(tmp_path: Path, name: str, expected: str) -> None:
    """A guest as libvirt wrote it when it ran, on recorded hosts, by this machine's CPU map."""
    files.keep_snapshot(recorded_host(name), tmp_path)
    text = recorded("x86_64-guest-haswell-in-force-kvm")
    done = run("check", "--on", tmp_path / files.SNAPSHOT, "--json", "-", stdin=text)

    assert expected == done.json["hosts"][0]["can_go"]


def test_guest_by_name(lab: Lab, monkeypatch: pytest.MonkeyPatch, map_folder: Path) -> None:
    """A guest that runs, as libvirt gives it; its kind is one that no host here has."""
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "test:///default")
    there = lab.snapshot("a", "Old")
    done = run("check", "--cpu-map", map_folder, "test", "--on", there, "--json")
    (row,) = done.json["hosts"]

    assert (3, "cannot-tell", "prepare") == (
        done.status,
        row["can_go"],
        row["verdict"]["operation"],
    )
    assert ["unknown-hypervisor"] == [finding["code"] for finding in row["verdict"]["findings"]]
