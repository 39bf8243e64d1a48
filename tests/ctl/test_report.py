"""cpu-guardctl report: guests of libvirt's test driver, hosts from files and URIs."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path

import pytest

from guardd import files
from tests.ctl.commands import Done, capabilities, domcaps, keep_snapshot, run
from tests.ctl.guests import OFF, RUNNING, guests_uri

pytest.importorskip("jinja2")

GUESTS = {
    "rich": ("<cpu mode='custom' check='partial'><model>Mid</model></cpu>", OFF),
    "Poor": ("<cpu mode='custom' check='partial'><model>Old</model></cpu>", OFF),
    "loose": ("<cpu mode='custom' check='none'><model>Mid</model></cpu>", OFF),
    "runs": ("<cpu mode='custom' check='full'><model>Mid</model></cpu>", RUNNING),
    "&lt;b&gt;&amp;\"'": ("", OFF),
}
NAMES = ["<b>&\"'", "loose", "Poor", "rich", "runs"]
UNREACHABLE = "qemu+unix:///system?socket=/nonexistent"


class Shop:
    """A host with guests, and others of which there are snapshots."""

    def __init__(self, folder: Path, map_folder: Path) -> None:
        self.folder, self._map = folder, map_folder
        self.state = folder / "here"
        self.snapshot("here", "Mid")

    def snapshot(self, name: str, model: str) -> Path:
        """Write what the daemon on a host of *model* keeps; give the file."""
        models = ("plain", "Old", *([model] * (model != "Old")))
        gives = domcaps(f"<model>{model}</model><vendor>Intel</vendor>", *models, virt_type="test")
        path = keep_snapshot(self.folder / name, capabilities(model), gives) / files.SNAPSHOT
        known = files.read_snapshot(path)
        assert known is not None
        files.keep_snapshot(known._replace(hostname=name), path.parent)
        return path

    def report(self, *words: str | Path) -> Done:
        """Run the command on this host."""
        folders = ("--config", self.folder, "--state", self.state, "--cpu-map", self._map)
        return run("report", *folders, *words)


@pytest.fixture
def shop(tmp_path: Path, map_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Give such a host; libvirt answers on the URI that cpu-guardctl asks."""
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", guests_uri(tmp_path / "guests.xml", GUESTS))
    return Shop(tmp_path, map_folder)


def test_json(shop: Shop) -> None:
    """All guests by all hosts, in the order of names and of the command line."""
    done = shop.report("--json", shop.snapshot("poor", "Old"), shop.snapshot("twin", "Mid"))
    guests = done.json["guests"]

    assert (0, "") == (done.status, done.err)
    assert ["here", "poor", "twin"] == [host["host"] for host in done.json["hosts"]]
    assert ["here", "file", "file"] == [host["known_by"] for host in done.json["hosts"]]
    assert NAMES == [guest["name"] for guest in guests]
    assert {
        "loose": ["yes", "with-warnings", "yes"],
        "Poor": ["yes", "yes", "yes"],
        "rich": ["yes", "no", "yes"],
        "runs": ["yes", "no", "yes"],
    } == {
        guest["name"]: [cell["can_go"] for cell in guest["cells"]]
        for guest in guests
        if guest["name"] in GUESTS
    }
    assert ["runs"] == [guest["name"] for guest in guests if guest["runs"]]


def test_page(shop: Shop) -> None:
    """It is written whole, for everybody to read, and replaces what was there."""
    file = shop.folder / "out.html"
    file.write_text("old")
    file.chmod(0o600)
    done = shop.report("--html", file, "--title", "A & B", shop.snapshot("poor", "Old"))
    text = file.read_text()

    assert (0, "", "") == (done.status, done.out, done.err)
    assert 0o644 == stat.S_IMODE(file.stat().st_mode)
    assert text.startswith("<!DOCTYPE html>\n")
    assert text.endswith("</html>\n")
    assert "<title>A &amp; B</title>" in text
    assert "&lt;b&gt;&amp;&#34;&#39;" in text
    assert "<b>&" not in text
    assert [] == [path for path in shop.folder.iterdir() if path.name.startswith(".out")]


def test_stdout(shop: Shop) -> None:
    """A dash prints the page."""
    done = shop.report("--html", "-")

    assert (0, "") == (done.status, done.err)
    assert "Where the guests of here can run" in done.out


def test_both(shop: Shop) -> None:
    """The page and its numbers are of one and the same."""
    file = shop.folder / "out.html"
    done = shop.report("--json", "--html", file, shop.snapshot("poor", "Old"))
    cells = re.findall(r'<td class="([ywnu])">', file.read_text())
    letters = {"yes": "y", "with-warnings": "w", "no": "n", "cannot-tell": "u"}

    assert cells == [
        letters[cell["can_go"]] for guest in done.json["guests"] for cell in guest["cells"]
    ]


@pytest.mark.parametrize(
    "words", [[], ["--html", "-", "--json"], ["--json", "missing.json"], ["--json", "://x"]]
)
def test_usage(shop: Shop, words: list[str]) -> None:
    """Nothing to do, two things at once, and what names no host."""
    assert (2, "") == (shop.report(*words).status, shop.report(*words).out)


@pytest.mark.parametrize("name", ["no/such/out.html", "there"])
def test_cannot_write(shop: Shop, name: str) -> None:
    """A folder that is not there, or that stands in the way."""
    (shop.folder / "there").mkdir()
    done = shop.report("--html", shop.folder / name)

    assert 3 == done.status
    assert done.err.startswith(f"error: cannot write {shop.folder / name}: ")
    assert "hint: --html needs a folder" in done.err


def test_hosts_that_cannot_be_asked(shop: Shop) -> None:
    """Each has its column, and its trouble is told here as well."""
    broken = shop.folder / "broken.json"
    broken.write_text("{}")
    done = shop.report("--json", UNREACHABLE, "test:///default", broken)
    unknown, empty, bad = done.json["hosts"][1:]

    assert 0 == done.status
    assert ["nobody", "libvirt", "nobody"] == [each["known_by"] for each in (unknown, empty, bad)]
    assert f"note: {UNREACHABLE.partition('?')[0]}: " in done.err
    assert "kept snapshot cannot be read" in bad["problem"]
    assert {"cannot-tell"} == {
        cell["can_go"] for guest in done.json["guests"] for cell in guest["cells"][1:]
    }


def test_hosts_of_one_name(shop: Shop) -> None:
    """They are told apart by how they were named."""
    first = shop.snapshot("a/here".replace("/", "-"), "Old")
    other = shop.folder / "other.json"
    other.write_bytes((shop.state / files.SNAPSHOT).read_bytes())
    done = shop.report("--json", first, other)

    assert ["here", "a-here", f"here ({other})"] == [h["host"] for h in done.json["hosts"]]


def test_no_guests(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a report all the same."""
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", guests_uri(shop.folder / "none.xml", {}))
    done = shop.report("--html", "-")

    assert 0 == done.status
    assert "There are no guests." in done.out


def test_without_jinja(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page needs it and says so; the numbers do not."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "guardd.page", raising=False)
    done = shop.report("--html", shop.folder / "out.html")

    assert 3 == done.status
    assert "error: Python's jinja2 is missing\n" in done.err
    assert "hint: install python3-jinja2" in done.err
    assert not (shop.folder / "out.html").exists()
    assert 0 == shop.report("--json").status


def test_guard_over_ssh(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with a guard tells by way of ssh what it is; one without is asked by libvirt."""
    folder = shop.folder / "bin"
    folder.mkdir()
    ssh = folder / "ssh"
    there = shop.snapshot("far", "Old")
    ssh.write_text(
        "#!/bin/sh\n"
        "for word; do last=$word; done\n"
        'case "$last" in "cpu-guardctl host --json") ;; *) exit 255;; esac\n'
        f"case \"$*\" in *nobody*) exit 127;; *) cat '{there}';; esac\n"
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    done = shop.report("--json", "qemu+ssh://far/system", "qemu+ssh://nobody/system")
    far, nobody = done.json["hosts"][1:]

    assert ("far", "guard", "Old") == (far["host"], far["known_by"], far["cpu"])
    assert ("nobody", "nobody") == (nobody["host"], nobody["known_by"])
    rich = next(guest for guest in done.json["guests"] if guest["name"] == "rich")
    assert ["yes", "no", "cannot-tell"] == [cell["can_go"] for cell in rich["cells"]]
