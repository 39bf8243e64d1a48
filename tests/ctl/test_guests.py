"""cpu-guardctl guests: what is said of each guest of libvirt's test driver, on one host."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from guardd import files
from guardd.ctl.guests import Row, StampState, look
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.states import GuestState, Standing
from guardd.judge.finding import Decision, Enforcement
from guardd.judge.policy import Policy, Whence
from tests.ctl.commands import Done, capabilities, domcaps, keep_snapshot, run, write
from tests.ctl.guests import OFF, RUNNING, guests_uri
from tests.judge.table import HASWELL, born, domain, mode, stamped
from tests.recordings import ROOT, small_map

GIVES = domcaps("<model>Old</model><vendor>Intel</vendor>", "Old", "plain", virt_type="test")
LONG_NAME = "a-guest-whose-name-is-as-long-as-people-make-them"


def cpu(model: str, check: str = "partial") -> str:
    """Write a <cpu>."""
    return f"<cpu mode='custom' check='{check}'><model>{model}</model></cpu>"


GUESTS = {
    "web1": (cpu("Old"), RUNNING),
    "poor": (cpu("Mid"), OFF),
    "Big": (cpu("Mid", "full"), RUNNING),
    "drops": (cpu("Mid", "none"), OFF),
}


class Host:
    """A host of model Old, its configuration, and guests in libvirt."""

    def __init__(self, folder: Path, map_folder: Path) -> None:
        self.folder = folder
        self.state = keep_snapshot(folder / "state", capabilities("Old"), GIVES)
        self.words = ("--config", folder, "--state", self.state, "--cpu-map", map_folder)

    def guests(self, *words: str) -> Done:
        """Run guests on this host."""
        return run("guests", *self.words, *words)

    def on_terminal(self, columns: int, *words: str, **environment: str) -> str:
        """Give what the command prints on a terminal of that many columns."""
        shown, terminal = pty.openpty()
        command = [sys.executable, "-m", "guardd.ctl", "guests", *map(str, self.words), *words]
        sizes = {"COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color", **environment}
        done = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **sizes},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)
        parts = []
        try:
            while part := os.read(shown, 65536):
                parts.append(part)
        except OSError:
            pass  # the other end is closed
        done.wait()
        os.close(shown)
        return b"".join(parts).decode()


@pytest.fixture
def host(tmp_path: Path, map_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Give such a host; libvirt answers on the URI that cpu-guardctl asks."""
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", guests_uri(tmp_path / "guests.xml", GUESTS))
    return Host(tmp_path, map_folder)


def test_pipe(host: Host) -> None:
    """By name, one line each, with the whole reason."""
    done = host.guests()
    lines = [re.split(r"  +", line) for line in done.out.splitlines()]

    assert (1, "") == (done.status, done.err)
    assert ["GUEST", "STATE", "VERDICT", "MODE", "STAMP", "REASON"] == lines[0]
    assert ["Big", "running", "deny", "enforce", "-"] == lines[1][:5]
    assert "Big needs sse2, hle (+2) from Mid; this host (Old, test) lacks them" == lines[1][5]
    assert [("Big", "deny"), ("drops", "warn"), ("poor", "deny"), ("web1", "allow")] == [
        (line[0], line[2]) for line in lines[1:]
    ]


def test_chosen(host: Host) -> None:
    """By name, by state, by whether there is anything to say; the status is of those judged."""

    def names(*words: str) -> list[str]:
        return [guest["name"] for guest in host.guests("--json", *words).json["guests"]]

    assert ["poor", "web1"] == names("web1", "poor")
    assert ["Big", "web1"] == names("--running")
    assert ["Big", "drops", "poor"] == names("--problems")
    assert (0, "nothing to say of 1 guest\n") == (
        (quiet := host.guests("--problems", "web1")).status,
        quiet.out,
    )
    missing = host.guests("web1", "nobody")
    assert (3, "error: no guest 'nobody' here") == (missing.status, missing.err.splitlines()[0])


def test_mode(host: Host) -> None:
    """The one in force, and who sets it."""
    write(host.folder / "guardd.toml", 'mode = "warn"\n[guests]\nBig = "observe"\n')
    done = host.guests("--json")
    found = {guest["name"]: guest for guest in done.json["guests"]}

    assert 0 == done.status
    assert ("observe", "guests", "allow") == (
        found["Big"]["mode"],
        found["Big"]["mode_from"],
        found["Big"]["verdict"]["decision"],
    )
    assert ("warn", "host", True) == (
        found["poor"]["mode"],
        found["poor"]["mode_from"],
        found["poor"]["verdict"]["would_refuse"],
    )
    assert "allow, would deny  observe (guests)  " in host.guests().out
    assert "Big" in host.guests("--problems").out  # a stricter mode would refuse it


def test_cannot_tell(host: Host) -> None:
    """Nobody is refused, and of somebody it is not known."""
    files.keep_snapshot(snapshot_of(host)._replace(hypervisors=()), host.state)
    done = host.guests()

    assert (3, 4) == (done.status, done.out.count("cannot-tell"))


def snapshot_of(host: Host) -> HostSnapshot:
    """Read what is kept."""
    kept = files.kept_snapshot(host.state)
    assert kept is not None
    return kept


def test_names(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are printed so that a terminal does nothing by them, and never shortened."""
    strange = {"\u001b[31mred\u202e": (cpu("Old"), OFF), LONG_NAME: (cpu("Mid"), OFF)}
    text = {name.replace("\u001b", "&#xE01B;"): value for name, value in strange.items()}
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", guests_uri(tmp_path / "strange.xml", text))

    assert r"\ue01b[31mred\u202e  " in host.guests().out
    shown = host.on_terminal(80, NO_COLOR="1")
    assert LONG_NAME in shown


def test_terminal(host: Host) -> None:
    """In 80 columns a guest is a line, and the reason is what is shortened."""
    plain = host.on_terminal(80, NO_COLOR="1")

    lines = [line.rstrip() for line in plain.splitlines()]
    assert "\x1b" not in "".join(lines[1:])
    assert 5 == len(lines)
    assert all(len(line) <= 80 for line in lines[1:])
    assert "Big    running   deny     enforce  -      missing-feature: sse2, hle (+2)" == lines[1]
    assert lines[1][:44] == host.on_terminal(50, NO_COLOR="1").splitlines()[1][:44]
    assert "\x1b[31mdeny" in host.on_terminal(80)


def test_no_guests(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said too."""
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", guests_uri(tmp_path / "none.xml", {}))

    assert (0, "no guests\n") == ((done := host.guests()).status, done.out)
    assert [] == host.guests("--json").json["guests"]


# -- stamps, which libvirt's test driver does not keep


def row(standing: Standing, xml: str) -> Row:
    """Judge a guest of the recorded host."""
    state = GuestState(name="web1", uuid="", standing=standing, xml=xml)
    return look(state, HASWELL, Policy(), small_map())


OPEN = domain(mode("host-passthrough"))
SEEN = born(HASWELL, OPEN)
STAMPED = stamped(OPEN, SEEN)


@pytest.mark.parametrize(
    ("standing", "xml", "expected"),
    [
        (Standing.RUNNING, STAMPED, (StampState.OK, Decision.ALLOW)),
        (Standing.RUNNING, OPEN, (StampState.NONE, Decision.CANNOT_TELL)),
        (Standing.SAVED, OPEN, (StampState.NONE, Decision.CANNOT_TELL)),
        (Standing.DEFINED, OPEN, (StampState.NOT_NEEDED, Decision.ALLOW)),
        (
            Standing.RUNNING,
            STAMPED.replace("Intel", "AMD"),
            (StampState.BAD, Decision.CANNOT_TELL),
        ),
        (Standing.RUNNING, "<domain/>", (StampState.NOT_NEEDED, Decision.CANNOT_TELL)),
    ],
)
def test_stamp(standing: Standing, xml: str, expected: tuple[StampState, Decision]) -> None:
    """A guest that takes its host's CPU needs one, unless it is off."""
    found = row(standing, xml)

    assert expected == (found.stamp, found.verdict.decision)
    assert (Enforcement.ENFORCE, Whence.HOST) == (found.mode, found.whence)
    assert found.is_plain is (expected[1] is Decision.ALLOW)
