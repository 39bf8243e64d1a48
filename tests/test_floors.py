"""The house rules that a reader of one file cannot see: who may import whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recordings import ROOT

PACKAGE = ROOT / "guardd"

FLOORS = {
    "": 0,  # guardd/__init__.py
    "digest": 0,
    "errors": 0,
    "xmldoc": 0,
    "cpu": 1,
    "facts": 1,
    "judge": 2,
    "config": 2,
    "wire": 2,
    "counts": 2,
    "metrics": 2,
    "render": 2,
    "page": 2,
    "probe": 3,
    "libvirtconn": 3,
    "server": 3,
    "scrape": 3,
    "journal": 3,
    "service": 3,
    "files": 3,
    "hookfile": 3,
    "kept": 4,
    "state": 4,
    "watch": 4,
    "fallback": 4,
    "daemon": 4,
    "exporter": 4,
    "ctl": 4,
    "__main__": 4,
}
UNKNOWN = 99  # of a module that nobody gave a floor
PURE_FLOORS = range(3)
EDGE_FLOOR = 3

# all of the standard library that floors 0-2 may use: values and text, no clock, file or socket
PURE = {
    "__future__",
    "bisect",
    "collections",
    "contextlib",
    "dataclasses",
    "difflib",
    "enum",
    "functools",
    "importlib",
    "itertools",
    "json",
    "operator",
    "re",
    "shlex",
    "tomllib",
    "types",
    "typing",
}
# a package with few doors: only these may import it
DOORS = {
    "libvirt": ("libvirtconn",),
    "systemd": ("journal", "service"),
    "lxml": ("xmldoc",),
    "xml": ("xmldoc",),
    "hashlib": ("digest",),
    "_sha2": ("digest",),
    "_sha256": ("digest",),
    "prometheus_client": ("metrics",),
    "jinja2": ("page",),
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """Give the word in FLOORS that *path* belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def floor_of(path: Path) -> int:
    """Give the floor that *path* lives on."""
    return FLOORS.get(room_of(path), UNKNOWN)


def imported(path: Path) -> Iterator[str]:
    """Name every module that *path* imports, anywhere in it, in full."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module="guardd", names=names):
                yield from (f"guardd.{alias.name}" for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
            case ast.ImportFrom():
                yield "a relative import"


def own_rooms(path: Path) -> set[str]:
    """Name the rooms of the house that *path* imports from."""
    names = [name.split(".") for name in imported(path)]
    rooms = {name[1] if len(name) > 1 else "" for name in names if name[0] == "guardd"}
    return {room if room in FLOORS else "" if room.startswith("__") else room for room in rooms}


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_every_module_has_a_floor(path: Path) -> None:
    """A new module must say where it lives, or the other rules would not see it."""
    assert room_of(path) in FLOORS


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_imports_go_down(path: Path) -> None:
    """A module imports its own floor or a lower one."""
    assert set() == {room for room in own_rooms(path) if FLOORS.get(room, UNKNOWN) > floor_of(path)}


@pytest.mark.parametrize("path", [p for p in MODULES if floor_of(p) == EDGE_FLOOR], ids=ids)
def test_edges_do_not_know_each_other(path: Path) -> None:
    """The socket, the journal, the files and libvirt meet only on the floor above."""
    others = {room for room, floor in FLOORS.items() if floor == EDGE_FLOOR} - {room_of(path)}

    assert set() == own_rooms(path) & others


@pytest.mark.parametrize("path", [p for p in MODULES if floor_of(p) in PURE_FLOORS], ids=ids)
def test_the_core_is_pure(path: Path) -> None:
    """Floors 0 to 2 take text and give values: whatever reads the world is not importable."""
    tops = {name.partition(".")[0] for name in imported(path)}
    doors = {package for package, rooms in DOORS.items() if room_of(path) in rooms}

    assert set() == tops - PURE - doors - {"guardd"}


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_each_package_has_its_doors(path: Path) -> None:
    """Whoever replaces libvirt, systemd or lxml has one place to change."""
    tops = {name.partition(".")[0] for name in imported(path)}
    foreign = {package for package, rooms in DOORS.items() if room_of(path) not in rooms}

    assert set() == tops & foreign


def test_the_pure_floors_run_without_libvirt_and_systemd() -> None:
    """The core can be used, and tested, where neither is installed."""
    code = "import sys, guardd.wire, guardd.render, guardd.judge, guardd.config\n"
    code += "print(sorted({'libvirt', 'systemd', 'socket', 'asyncio'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "[]\n" == done.stdout
