"""cpu-guardctl fix: what is proposed, printed and, when it is told to, defined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from guardd import files
from tests.ctl.commands import Done, capabilities, domain, domcaps, keep_snapshot, run, write

GIVES = "<model fallback='forbid'>Old</model><vendor>Intel</vendor>"
WANTS = "<cpu check='partial'>\n  <model>Old</model>\n  <topology sockets='1' dies='1' cores='2'"
WANTS += " threads='1'/>\n  <feature policy='require' name='avx2'/>\n</cpu>"
NUMA = "<numa><cell id='0' cpus='0-1' memory='512' unit='KiB'/></numa>"
TEST_DRIVER = "test:///default"


class Host:
    """A host with a snapshot, a configuration and a CPU map, below a folder."""

    def __init__(self, folder: Path, map_folder: Path) -> None:
        kvm = domcaps(GIVES, "Old", "plain")
        test = domcaps(GIVES, "Old", arch="i686", virt_type="test")
        self.state = keep_snapshot(folder / "state", capabilities("Old"), kvm, test)
        self.config = folder / "etc"
        self.config.mkdir()
        self._map = map_folder

    def run(self, command: str, *words: str | Path, stdin: str | bytes = "") -> Done:
        """Run a command on this host."""
        folders = ("--config", self.config, "--state", self.state, "--cpu-map", self._map)
        return run(command, *folders, *words, stdin=stdin)


@pytest.fixture
def host(tmp_path: Path, map_folder: Path) -> Host:
    """Give a host of model Old."""
    return Host(tmp_path, map_folder)


def test_proposal(host: Host) -> None:
    """What is changed, what is lost, the diff, and the element to paste."""
    done = host.run("fix", "-", stdin=domain(WANTS))

    assert (0, "") == (done.status, done.err)
    assert done.out.startswith("web1 fits with:\n  disable avx2\nit loses:\n")
    assert "AVX, AVX2 and FMA: avx2" in done.out
    assert "\n-  <feature policy='require' name='avx2'/>\n" in done.out
    assert "\n+  <feature policy='disable' name='avx2'/>\n" in done.out
    assert done.out.endswith("</cpu>\n")


def test_the_proposal_passes(host: Host, tmp_path: Path) -> None:
    """Pasted in, it is what check takes."""
    assert 1 == host.run("check", "-", stdin=domain(WANTS)).status

    pasted = host.run("fix", "--xml", "-", stdin=domain(WANTS)).out

    assert 0 == host.run("check", write(tmp_path / "web1.xml", domain(pasted))).status


def test_what_it_does_not_know_stays(host: Host) -> None:
    """Topology and NUMA cells are nobody's to change."""
    wants = WANTS.replace("</cpu>", f"{NUMA}</cpu>")
    done = host.run("fix", "--json", "-", stdin=domain(wants))

    for kept in ("<topology sockets='1' dies='1' cores='2' threads='1'/>", "<cell id='0'"):
        assert kept in done.json["cpu"]
    assert ["avx2"] == done.json["lost"]


def test_it_fits(host: Host) -> None:
    """Nothing to do is said, and its <cpu> is printed as it is."""
    fits = "<cpu check='partial'><model>Old</model></cpu>"

    assert "web1 fits as it is\n" == host.run("fix", "-", stdin=domain(fits)).out
    assert "<model>Old</model>" in host.run("fix", "--xml", "-", stdin=domain(fits)).out


def test_for_other_hosts(host: Host, tmp_path: Path) -> None:
    """The snapshot of another host stands in the place of this one's."""
    snapshot = host.state / files.SNAPSHOT
    done = host.run("fix", "--for", snapshot, "--for", snapshot, "-", stdin=domain(WANTS))

    assert (0, ["web1 fits with:", "  disable avx2"]) == (done.status, done.out.splitlines()[:2])
    broken = write(tmp_path / "broken.json", "{")
    done = host.run("fix", "--for", broken, "-", stdin=domain(WANTS))
    assert (3, "") == (done.status, done.out)
    assert "broken.json" in done.err


def test_no_fix(host: Host) -> None:
    """An error that says what stands in the way."""
    write(host.config / "guardd.toml", 'on_cannot_tell = "deny"')
    done = host.run("fix", "-", stdin=domain(WANTS, arch="s390x"))

    assert (1, "") == (done.status, done.out)
    assert "error: web1: no change of its <cpu> would help: nothing is known yet" in done.err


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Iterator[libvirt.virDomain]:
    """Give a guest of libvirt's test driver, in this process, with a password in its definition."""
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", TEST_DRIVER)
    connection = libvirt.open(TEST_DRIVER)
    graphics = "<devices><graphics type='vnc' passwd='sekrit'/></devices>"
    text = domain(WANTS, arch="i686", virt_type="test").replace("pc-1", "pc")
    text = text.replace("</domain>", f"<memory>8192</memory>{graphics}</domain>")
    guest = connection.defineXML(text)
    yield guest
    guest.undefine()
    connection.close()


def definition(guest: libvirt.virDomain) -> str:
    """Give what *guest* is started from."""
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    return str(guest.XMLDesc(flags))


def test_nothing_is_changed_by_itself(host: Host, guest: libvirt.virDomain) -> None:
    """Not without --apply, and with it not without a yes."""
    before = definition(guest)

    assert 0 == host.run("fix", "web1").status
    assert before == definition(guest)
    done = host.run("fix", "--apply", "web1", stdin="n\n")
    assert 1 == done.status
    assert "Define web1 so, for its next start?" in done.err
    assert before == definition(guest)


def test_apply(host: Host, guest: libvirt.virDomain) -> None:
    """The <cpu> is changed and nothing else, no secret lost."""
    before = definition(guest)
    done = host.run("fix", "--apply", "web1", stdin="y\n")

    assert (0, True) == (done.status, "it takes effect at its next start" in done.err)
    changed = before.replace("policy='require' name='avx2'", "policy='disable' name='avx2'")
    assert changed != before
    assert changed == definition(guest)
    assert "web1 fits as it is\n" == host.run("fix", "web1").out


def test_apply_needs_a_guest(host: Host) -> None:
    """A file is nobody's definition."""
    done = host.run("fix", "--apply", "-", stdin=domain(WANTS))

    assert 2 == done.status
    assert "--apply takes a guest" in done.err
