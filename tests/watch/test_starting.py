"""Guests that boot while the daemon ends: the next one must know of them, and of no others."""

import os
import time
from pathlib import Path

import pytest

from guardd.watch import starting
from guardd.watch.starting import ENDING, START_SECONDS, Starting

NAMES = ["web1", "a/../b", ".", "..", "", "%41", "ü 🐧", "new\nline", "\udcff", "\0"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "starting"


def age(folder: Path, name: str, seconds: float) -> None:
    """Have the call for a guest be as old as that."""
    then = time.time() - seconds
    os.utime(folder / f"{name}{ENDING}", (then, then))


@pytest.mark.parametrize("name", NAMES)
def test_names_outlive_their_writer(folder: Path, name: str) -> None:
    """Whatever a name is made of; nothing is written anywhere else, or for others to read."""
    Starting(folder).add(name)
    again = Starting(folder)

    assert {name} == again.names()
    assert [folder] == list(folder.parent.iterdir())
    (file,) = folder.iterdir()
    assert (0, 0o600) == (file.stat().st_size, file.stat().st_mode & 0o777)
    assert 0o700 == folder.stat().st_mode & 0o777
    again.discard(name)
    assert [] == list(folder.iterdir())


def test_who_was_looked_at(folder: Path) -> None:
    """Is left to nobody; nor is there anything to do about a guest that nobody knows."""
    known = Starting(folder)
    known.add("web1")
    known.add("web2")
    known.discard("web1")
    known.discard("other")

    assert {"web2"} == known.names() == Starting(folder).names()


@pytest.mark.parametrize("seconds", [START_SECONDS + 1, -100.0])
def test_long_ago(folder: Path, seconds: float) -> None:
    """It never ran, or the clock was set: nothing can be told, and the file goes."""
    known = Starting(folder)
    known.add("web1")
    known.add("web2")
    age(folder, "web1", seconds)

    assert {"web2"} == Starting(folder).names() == known.names()
    assert [f"web2{ENDING}"] == [path.name for path in folder.iterdir()]


def test_anew(folder: Path) -> None:
    """A second call is as young as any."""
    known = Starting(folder)
    known.add("web1")
    age(folder, "web1", START_SECONDS - 1)
    known.add("web1")

    assert time.time() - (folder / f"web1{ENDING}").stat().st_mtime < START_SECONDS / 2


def test_what_cannot_be_written(folder: Path) -> None:
    """No room, a name too long for a file, a link that somebody planted, a folder taken away."""
    known = Starting(folder)
    known.add("x" * 300)
    (folder / f"web1{ENDING}").symlink_to(folder.parent / "other")
    known.add("web1")

    assert set() == known.names()
    assert [folder] == list(folder.parent.iterdir())
    known.add("web2")
    (folder / f"web2{ENDING}").unlink()
    (folder / f"web1{ENDING}").unlink()
    known.discard("web2")
    folder.rmdir()
    known.add("web3")
    assert set() == known.names()


def test_a_folder_that_cannot_be(folder: Path) -> None:
    """The caller is told, and does without."""
    folder.write_text("")

    with pytest.raises(FileExistsError):
        Starting(folder)


def test_it_does_not_grow_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts that all fail must not fill the host's memory."""
    monkeypatch.setattr(starting, "MAX_STARTING", 3)
    known = Starting(folder)
    for number in range(5):
        known.add(f"web{number}")

    assert {"web0", "web1", "web2"} == known.names()
