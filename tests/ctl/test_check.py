"""cpu-guardctl check: a verdict by hand, on files and the kept snapshot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ctl.commands import Done, capabilities, domain, domcaps, keep_snapshot, run, write
from tests.recordings import ROOT

GIVES = "<model fallback='forbid'>Old</model><vendor>Intel</vendor>"
WANTS = "<cpu check='partial'><model>Mid</model></cpu>"

JOURNAL = ("explain", "events", "replay")


class Host:
    """A host with a snapshot, a configuration and a CPU map, below a folder."""

    def __init__(self, folder: Path, map_folder: Path) -> None:
        self.state = keep_snapshot(
            folder / "state", capabilities("Old"), domcaps(GIVES, "Old", "plain")
        )
        self.config = folder / "etc"
        self.config.mkdir()
        self._map = map_folder

    def check(self, *words: str | Path, stdin: str | bytes = "") -> Done:
        """Run check on this host."""
        return run("check", *self.folders, *words, stdin=stdin)

    @property
    def folders(self) -> tuple[str | Path, ...]:
        """The options that name this host."""
        return ("--config", self.config, "--state", self.state, "--cpu-map", self._map)


@pytest.fixture
def host(tmp_path: Path, map_folder: Path) -> Host:
    """Give a host of model Old."""
    return Host(tmp_path, map_folder)


def test_file(host: Host, tmp_path: Path) -> None:
    """The same verdict from a file and from standard input, all reasons on stdout."""
    path = write(tmp_path / "web1.xml", domain(WANTS))
    done = host.check(path)

    assert (1, "") == (done.status, done.err)
    assert done.out.startswith("web1: prepare refused (deny)\n")
    assert {"sse2", "hle", "avx2", "rtm"} <= set(done.out.replace(",", " ").split())
    assert done == host.check("-", stdin=domain(WANTS))


def test_loads_nothing_slow(host: Host, tmp_path: Path) -> None:
    """To load what is for other commands would take longer than to judge the guest."""
    path = write(tmp_path / "web1.xml", domain(WANTS))
    python = [sys.executable, "-X", "importtime", "-m", "guardd.ctl"]
    done = subprocess.run(
        [*python, "check", *host.folders, path],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    assert (1, True) == (done.returncode, "guardd.judge" in loaded)
    slow = {"dataclasses", "difflib", "hashlib", "libvirt", "lxml.etree", "rich", "tomllib"}
    slow |= {"guardd.cpu.arm.map", "guardd.cpu.ppc64.map"}
    assert set() == slow & loaded


def test_allowed(host: Host) -> None:
    """Nothing to say is said as well."""
    done = host.check("-", stdin=domain("<cpu check='partial'><model>Old</model></cpu>"))

    assert (0, True) == (done.status, "nothing stands against it" in done.out)


def test_advice(host: Host) -> None:
    """Below the verdict on a definition, what it will lead to; the exit status is the verdict's."""
    careless = domain("<cpu check='none'><model>Old</model></cpu>")
    done = host.check("-", stdin=careless)
    document = host.check("--json", "-", stdin=careless).json

    assert (0, "") == (done.status, done.err)
    assert "\nadvice:\n  no-check (observe):\n" in done.out
    assert [("no-check", "Old")] == [(f["code"], f["subject"]) for f in document["advice"]]
    assert [] == document["findings"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        pytest.param((), domain("<cpu check='partial'><model>Old</model></cpu>"), id="sound"),
        pytest.param(
            (),
            domain("<cpu check='none'><model>Old</model></cpu>").replace(
                "<domain", "<domain id='3'"
            ),
            id="running",
        ),
        pytest.param(
            ("--operation", "migrate"),
            domain("<cpu check='none'><model>Old</model></cpu>"),
            id="arriving",
        ),
        pytest.param((), "<domain/>", id="unreadable"),
    ],
)
def test_no_advice(host: Host, words: tuple[str, ...], text: str) -> None:
    """Where there is none to give, or it is no definition."""
    assert [] == host.check(*words, "--json", "-", stdin=text).json["advice"]
    assert "advice:" not in host.check(*words, "-", stdin=text).out


def test_configuration(host: Host) -> None:
    """What the daemon would do by the rules in force."""
    write(host.config / "guardd.toml", 'mode = "warn"')
    done = host.check("--json", "-", stdin=domain(WANTS))

    assert (0, "warn", False) == (done.status, done.json["decision"], done.json["refused"])


def test_operation(host: Host) -> None:
    """An arrival is judged by the CPU in force."""
    done = host.check("--operation", "migrate", "--json", "-", stdin=domain(WANTS))

    assert "migrate" == done.json["operation"]


IN_FORCE = domain(
    "<cpu match='exact' check='full'><model>Mid</model><feature name='hypervisor'/></cpu>"
)


def test_a_guest_that_runs(host: Host) -> None:
    """By the CPU that it has, as if it arrived; a definition with that CPU as it would start."""
    runs = host.check("--json", "-", stdin=IN_FORCE.replace("<domain ", "<domain id='7' "))
    defined = host.check("--json", "-", stdin=IN_FORCE)

    assert (1, "deny") == (runs.status, runs.json["decision"])
    assert ("warn", True) == (defined.json["decision"], defined.json["would_refuse"])


def test_pool(host: Host) -> None:
    """A definition is held against the other hosts of the pool, and so is what it leads to."""
    folder = host.config / "pool.d"
    folder.mkdir()
    snapshot = json.loads((host.state / "snapshot.json").read_text())
    snapshot |= {"hostname": "far", "hypervisors": []}
    write(folder / "far.json", json.dumps(snapshot))
    text = domain("<cpu check='partial'><model>Old</model></cpu>")
    done = host.check("-", stdin=text)

    assert 1 == done.status
    assert "kvm guests of x86_64: not on pool host far" in done.out

    write(folder / "far.json", "{}")
    assert (3, True) == ((bad := host.check("-", stdin=text)).status, "far.json: " in bad.err)


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        pytest.param("", 3, "unreadable-guest", id="empty"),
        pytest.param("<domain/>", 3, "unreadable-guest", id="no domain"),
        pytest.param(domain(WANTS).replace("Mid", "Mit"), 1, "unknown-model", id="model"),
        pytest.param(domain(WANTS, arch="s390x"), 3, "unknown-hypervisor", id="arch"),
    ],
)
def test_reasons(host: Host, text: str, status: int, expected: str) -> None:
    """Trouble with the guest is a finding, not an error."""
    done = host.check("--json", "-", stdin=text)

    assert [expected] == [finding["code"] for finding in done.json["findings"]]
    assert status == done.status


def test_not_utf_8(host: Host) -> None:
    """A definition that libvirt would not have written."""
    done = host.check("--json", "-", stdin=domain(WANTS).encode("utf-16"))

    assert (3, "unreadable-guest") == (done.status, done.json["findings"][0]["code"])


def test_trouble(host: Host, tmp_path: Path) -> None:
    """What is this host's own fault."""
    assert 2 == host.check(tmp_path / "missing.xml").status

    write(host.config / "guardd.toml", "moode = 1")
    bad_config = host.check("-", stdin=domain(WANTS))
    assert (3, True) == (bad_config.status, "guardd.toml:1: unknown key" in bad_config.err)

    (host.config / "guardd.toml").unlink()
    write(host.state / "snapshot.json", "{}")
    bad_snapshot = host.check("-", stdin=domain(WANTS))
    assert (3, True) == (bad_snapshot.status, "kept snapshot cannot be read" in bad_snapshot.err)


@pytest.mark.parametrize(
    "words",
    [
        *(("check", "\udcff"), ("fix", "\udcff"), ("guests", "\udcff"), ("explain", "\udcff")),
        *(("events", "\udcff"), ("replay", "\udcff"), ("events", "\x9b\u202e")),
        *(("check", "9" * 30), ("check", "9" * 5000), ("check", "a\x1b[2Jb")),
    ],
    ids=lambda words: ascii(" ".join(words))[:40],
)
def test_names_that_no_guest_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Not UTF-8, larger than libvirt's numbers, on its way to the terminal: there is no such guest.

    A shell completes file names, which may be any bytes.
    """
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "test:///default")
    (tmp_path / "journal").mkdir()
    words += ("--directory", str(tmp_path / "journal")) * (words[0] in JOURNAL)
    done = run(*words)

    assert done.status in (2, 3)
    assert done.err.startswith(("error: ", "Usage: "))
    assert all(line.isprintable() for line in done.err.splitlines())


def test_a_uri_that_is_not_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment may be any bytes as well."""
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "test:///\udcff")
    done = run("check", "web1")

    assert 3 == done.status
    assert done.err.startswith("error: cannot connect to test:///\\udcff: libvirt takes no such")
