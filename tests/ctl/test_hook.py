"""cpu-guardctl hook: ours goes where no other is, and another's is never touched."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from guardd.ctl.hook import install_hook, remove_hook
from guardd.ctl.selinux import HOOK_TYPE, type_of
from guardd.errors import GuardError
from guardd.hookfile import DROP_IN, MAIN, State, places, program
from tests.ctl.commands import run

FOREIGN = b"#!/bin/sh\nexit 0\n"
RESTORECON = f"""#!{sys.executable}
import os, sys
os.setxattr(sys.argv[-1], "security.selinux", b"system_u:object_r:{HOOK_TYPE}:s0\\0")
"""
# an earlier version: the mark is there, the rest is another
OUTDATED = (
    b'#!/usr/bin/python3 -IS\n"""libvirt\'s hook of cpu-guardd: asks."""\n'  # what it was once
)


def put(path: Path, text: bytes, mode: int = 0o755) -> Path:
    """Write a hook and give its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    path.chmod(mode)
    return path


def states(root: Path) -> tuple[State, State]:
    """Give the states of both places below *root*."""
    main, drop_in = places(root)
    return main.state, drop_in.state


def tree(root: Path) -> dict[str, bytes | str]:
    """Give all that is below *root*: files by their text, links by where they lead."""
    found: dict[str, bytes | str] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def test_empty(tmp_path: Path) -> None:
    """A host without any hook, not even the folder."""
    root = tmp_path / "hooks"

    assert (State.ABSENT, State.ABSENT) == states(root)
    assert root / MAIN == install_hook(root)
    assert (State.CURRENT, State.ABSENT) == states(root)
    assert {MAIN: program()} == tree(root)
    assert 0o755 == (root / MAIN).stat().st_mode & 0o7777


@pytest.mark.parametrize(
    ("state", "text", "mode"),
    [
        (State.CURRENT, program(), 0o755),
        (State.OUTDATED, OUTDATED, 0o755),
        (State.NOT_EXECUTABLE, program(), 0o644),
        (State.NOT_EXECUTABLE, OUTDATED, 0o600),
    ],
)
@pytest.mark.parametrize("name", [MAIN, DROP_IN])
def test_ours_is_replaced(tmp_path: Path, name: str, state: State, text: bytes, mode: int) -> None:
    """Where it stands, whatever became of it."""
    put(tmp_path / name, text, mode)

    assert state in states(tmp_path)
    assert tmp_path / name == install_hook(tmp_path)
    assert {name: program()} == tree(tmp_path)
    assert os.access(tmp_path / name, os.X_OK)


def test_foreign_is_kept(tmp_path: Path) -> None:
    """Ours goes beside it, and away from beside it."""
    put(tmp_path / MAIN, FOREIGN)
    other = put(tmp_path / "qemu.d/10-other", FOREIGN)

    assert tmp_path / DROP_IN == install_hook(tmp_path)
    assert (State.FOREIGN, State.CURRENT) == states(tmp_path)
    assert [tmp_path / DROP_IN] == remove_hook(tmp_path)
    assert {MAIN: FOREIGN, "qemu.d/10-other": FOREIGN} == tree(tmp_path)
    assert other.exists()


def test_a_folder_of_ours_goes_with_the_hook(tmp_path: Path) -> None:
    """Nothing is left of an installation."""
    put(tmp_path / MAIN, FOREIGN)
    install_hook(tmp_path)
    remove_hook(tmp_path)

    assert [tmp_path / MAIN] == list(tmp_path.iterdir())


@pytest.mark.parametrize("link", ["dangling", "to a file", "to itself", "to a folder"])
def test_links(tmp_path: Path, link: str) -> None:
    """Somebody put it there; it is neither followed nor replaced."""
    root = tmp_path / "hooks"
    root.mkdir()
    target = {
        "dangling": tmp_path / "missing",
        "to a file": put(tmp_path / "target", FOREIGN),
        "to itself": root / MAIN,
        "to a folder": tmp_path,
    }[link]
    (root / MAIN).symlink_to(target)

    assert State.FOREIGN is states(root)[0]
    assert root / DROP_IN == install_hook(root)
    assert {MAIN: str(target), DROP_IN: program()} == tree(root)
    assert FOREIGN == (tmp_path / "target").read_bytes()
    remove_hook(root)
    assert {MAIN: str(target)} == tree(root)


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_both_places_taken(tmp_path: Path, kind: str) -> None:
    """Nothing is overwritten, and that is said."""
    put(tmp_path / MAIN, FOREIGN)
    match kind:
        case "file":
            put(tmp_path / DROP_IN, FOREIGN)
        case "folder":
            (tmp_path / DROP_IN).mkdir(parents=True)
        case _:
            (tmp_path / "qemu.d").mkdir()
            (tmp_path / DROP_IN).symlink_to("missing")
    before = tree(tmp_path)

    with pytest.raises(GuardError, match="is another program's"):
        install_hook(tmp_path)
    assert [] == remove_hook(tmp_path)
    assert before == tree(tmp_path)


def test_not_a_folder(tmp_path: Path) -> None:
    """qemu.d is a file: no place beside the foreign hook."""
    put(tmp_path / MAIN, FOREIGN)
    put(tmp_path / "qemu.d", FOREIGN)
    before = tree(tmp_path)

    with pytest.raises(GuardError, match="is another program's"):
        install_hook(tmp_path)
    assert before == tree(tmp_path)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00", b"#!/bin/sh\n" + b"#" * 300 + OUTDATED])
def test_what_is_not_ours(tmp_path: Path, text: bytes) -> None:
    """The mark counts where our file has it: a script at its beginning."""
    put(tmp_path / MAIN, text)

    assert State.FOREIGN is states(tmp_path)[0]


def test_idempotent(tmp_path: Path) -> None:
    """Once more is no different from once."""
    for root in (tmp_path / "empty", tmp_path / "foreign"):
        root.mkdir()
        if root.name == "foreign":
            put(root / MAIN, FOREIGN)
        first = install_hook(root)
        installed = tree(root)
        assert first == install_hook(root)
        assert installed == tree(root)
        assert [first] == remove_hook(root)
        removed = tree(root)
        assert [] == remove_hook(root)
        assert removed == tree(root)


def test_ours_beside_a_hook_that_went(tmp_path: Path) -> None:
    """An update stays where it is: two would ask twice."""
    put(tmp_path / DROP_IN, OUTDATED)

    assert tmp_path / DROP_IN == install_hook(tmp_path)
    assert (State.ABSENT, State.CURRENT) == states(tmp_path)


def test_one_of_two_is_enough(tmp_path: Path) -> None:
    """As after a restore of a backup: each would have every guest judged."""
    put(tmp_path / MAIN, program())
    put(tmp_path / DROP_IN, OUTDATED)

    assert tmp_path / MAIN == install_hook(tmp_path)
    assert (State.CURRENT, State.ABSENT) == states(tmp_path)


def test_both_ours(tmp_path: Path) -> None:
    """All of them go."""
    put(tmp_path / MAIN, program())
    put(tmp_path / DROP_IN, program())

    assert [tmp_path / MAIN, tmp_path / DROP_IN] == remove_hook(tmp_path)
    assert {} == tree(tmp_path)


@pytest.fixture
def selinuxfs(tmp_path: Path) -> Path:
    """Give the one file of /sys/fs/selinux that is looked at, of a policy that is enforced."""
    folder = tmp_path / "selinux"
    folder.mkdir()
    (folder / "enforce").write_text("1")
    return folder


@pytest.fixture
def restorecon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a restorecon on the PATH that gives every file the hook's label; give its type."""
    try:
        os.setxattr(tmp_path, "security.selinux", b"u:r:tmp_t:s0")
    except OSError:
        pytest.skip("labels cannot be set here, by this user")
    program = put(tmp_path / "bin/restorecon", RESTORECON.encode())
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return HOOK_TYPE


def test_selinux(tmp_path: Path, selinuxfs: Path, restorecon: str) -> None:
    """Under the name that is ours alone, with its label; an older one under the other name goes."""
    root = tmp_path / "hooks"
    put(root / MAIN, OUTDATED)

    assert root / DROP_IN == install_hook(root, selinuxfs)
    assert {DROP_IN: program()} == tree(root)
    assert restorecon == type_of(root / DROP_IN)


def test_selinux_beside_a_foreign_hook(tmp_path: Path, selinuxfs: Path, restorecon: str) -> None:
    """The other one keeps its place and its label."""
    root = tmp_path / "hooks"
    put(root / MAIN, FOREIGN)

    assert root / DROP_IN == install_hook(root, selinuxfs)
    assert (State.FOREIGN, State.CURRENT) == states(root)
    assert restorecon != type_of(root / MAIN)


def test_selinux_without_its_module(tmp_path: Path, selinuxfs: Path) -> None:
    """A hook that libvirt may not run stops every guest: it is not put there."""
    root = tmp_path / "hooks"
    put(root / MAIN, FOREIGN)

    with pytest.raises(GuardError, match="every guest from starting"):
        install_hook(root, selinuxfs)
    assert {MAIN: FOREIGN} == tree(root)


def test_selinux_that_only_logs(tmp_path: Path, selinuxfs: Path) -> None:
    """Permissive: the hook runs without its label as well."""
    (selinuxfs / "enforce").write_text("0")

    assert tmp_path / DROP_IN == install_hook(tmp_path, selinuxfs)


def test_commands(tmp_path: Path) -> None:
    """In another folder than libvirt's, and libvirt is left alone."""
    root = ("--hooks", tmp_path)
    path = tmp_path / MAIN

    assert (1, "not installed, see `cpu-guardctl hook install`\n") == (
        (status := run("hook", "status", *root)).status,
        status.out,
    )
    assert f"{path}: installed\n" == run("hook", "install", *root).out
    assert (0, f"{path}: current\n") == (
        (status := run("hook", "status", *root)).status,
        status.out,
    )
    assert {str(path): "current", str(tmp_path / DROP_IN): "absent"} == (
        run("hook", "status", "--json", *root).json["hooks"]
    )
    assert f"{path}: removed\n" == run("hook", "remove", *root).out
    assert "no hook of cpu-guardd is installed\n" == run("hook", "remove", *root).out
    assert {"removed": [], "libvirt": []} == run("hook", "remove", "--json", *root).json
    assert {"installed": str(path), "libvirt": []} == run("hook", "install", "--json", *root).json


def test_command_errors(tmp_path: Path) -> None:
    """Both places taken: it is said, with what to do."""
    put(tmp_path / MAIN, FOREIGN)
    put(tmp_path / DROP_IN, FOREIGN)
    done = run("hook", "install", "--hooks", tmp_path)

    assert (3, "") == (done.status, done.out)
    assert f"error: {tmp_path / DROP_IN} is another program's\nhint: " in done.err
    described = run("hook", "status", "--hooks", tmp_path).out
    assert f"{tmp_path / MAIN}: of another program" in described
