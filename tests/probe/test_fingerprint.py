"""What must stay the same for a kept snapshot to stay true, on a host made of files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from guardd.facts.snapshot import Origin, with_present
from guardd.probe.fingerprint import read_fingerprint
from tests.recordings import recorded_host

QEMU = "/usr/bin/qemu-system-x86_64"
CPUINFO = "processor\t: 0\nvendor_id\t: GenuineIntel\nmicrocode\t: 0x2f\nflags\t: fpu\n\n"
MAP = Path("usr/share/libvirt/cpu_map")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a host."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(CPUINFO)
    (tmp_path / MAP).mkdir(parents=True)
    (tmp_path / MAP / "index.xml").write_text("<cpus/>")
    (tmp_path / MAP / "x86_486.xml").write_text("<cpus/>")
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / QEMU[1:]).write_bytes(b"\x7fELF")
    return tmp_path


def test_keys(root: Path) -> None:
    """Kernel, microcode, CPU map, and each emulator by its path, once."""
    found = read_fingerprint([QEMU, "/opt/qemu", QEMU], root)

    assert ["kernel", "microcode", "cpu-map", "/opt/qemu", QEMU] == list(found)
    assert ("0x2f", "") == (found["microcode"], found["/opt/qemu"])
    assert all(found[key] for key in ("kernel", "cpu-map", QEMU))


def test_nothing_changed(root: Path) -> None:
    """Read twice it is the same, or every start would throw the snapshot away."""
    assert read_fingerprint([QEMU], root) == read_fingerprint([QEMU], root)


def replaced(path: Path) -> None:
    """Put another file of the same size and times in the place of *path*, as a package does."""
    state, data = path.stat(), path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a microcode update": (
        "microcode",
        lambda root: (root / "proc/cpuinfo").write_text(CPUINFO.replace("0x2f", "0x30")),
    ),
    "no microcode line": (
        "microcode",
        lambda root: (root / "proc/cpuinfo").write_text("processor\t: 0\n"),
    ),
    "no cpuinfo": ("microcode", lambda root: (root / "proc/cpuinfo").unlink()),
    "another libvirt's map": (
        "cpu-map",
        lambda root: (root / MAP / "x86_486.xml").write_text("<cpus></cpus>"),
    ),
    "a file more in the map": (
        "cpu-map",
        lambda root: (root / MAP / "x86_Z.xml").write_text("<cpus/>"),
    ),
    "a file less in the map": ("cpu-map", lambda root: (root / MAP / "x86_486.xml").unlink()),
    "another QEMU": (QEMU, lambda root: (root / QEMU[1:]).write_bytes(b"\x7fELF2")),
    "a QEMU of the same size and date": (QEMU, lambda root: replaced(root / QEMU[1:])),
    "no QEMU": (QEMU, lambda root: (root / QEMU[1:]).unlink()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes(name: str, root: Path) -> None:
    """Each is seen, in its own place and nowhere else."""
    key, change = CHANGES[name]
    before = read_fingerprint([QEMU], root)

    change(root)

    after = read_fingerprint([QEMU], root)
    assert [key] == [k for k in before if before[k] != after[k]]


def test_only_the_first_cpu_counts(root: Path) -> None:
    """libvirt looks no further, and the file of a large host is long."""
    before = read_fingerprint([QEMU], root)
    (root / "proc/cpuinfo").write_text(CPUINFO + CPUINFO.replace("0x2f", "0x30") * 500)

    assert before == read_fingerprint([QEMU], root)


def test_an_empty_host(tmp_path: Path) -> None:
    """PowerPC has no microcode line, a container no map: "" is a value like others."""
    found = read_fingerprint([QEMU], tmp_path)

    assert ["", "", ""] == [found[key] for key in ("microcode", "cpu-map", QEMU)]


def test_it_makes_a_snapshot_stale(root: Path) -> None:
    """What was kept is believed until something changed."""
    kept = recorded_host("haswell")._replace(
        origin=Origin.KEPT,
        fingerprint=read_fingerprint([QEMU], root),
    )

    assert Origin.KEPT is with_present(kept, read_fingerprint([QEMU], root)).origin
    (root / QEMU[1:]).unlink()
    assert Origin.STALE is with_present(kept, read_fingerprint([QEMU], root)).origin


@pytest.mark.parametrize("name", ["a\x00b", "a\ud800b"], ids=ascii)
def test_a_name_that_no_file_can_have(root: Path, name: str) -> None:
    """A snapshot that somebody wrote must not keep the daemon from starting."""
    assert "" == read_fingerprint([name], root)[name]
