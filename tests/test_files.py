"""What is read from and kept on disk."""

import os
import stat
from pathlib import Path

import pytest

from guardd import files
from guardd.config import parse_config
from guardd.errors import BadConfig, BadSnapshot
from guardd.facts.snapshot import Origin
from guardd.judge.finding import Answer
from tests.recordings import recorded_host

HASWELL = recorded_host("haswell")


def mode_of(path: Path) -> int:
    """Give the permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_no_configuration(tmp_path: Path) -> None:
    """Neither file nor folder: the defaults."""
    assert [] == files.config_files(tmp_path) == files.config_files(tmp_path / "nowhere")


def test_drop_ins_in_order_of_name(tmp_path: Path) -> None:
    """Whenever they were written, after the file itself; others in the folder are not read."""
    drop_ins = tmp_path / files.DROP_INS
    drop_ins.mkdir()
    (drop_ins / "90-site.toml").write_text("# site")
    (drop_ins / "10-pool.toml").write_text("# pool")
    (drop_ins / "95-old.toml.bak").write_text("# old")
    (tmp_path / files.CONFIG).write_text("# main")

    assert [
        (str(tmp_path / files.CONFIG), b"# main"),
        (str(drop_ins / "10-pool.toml"), b"# pool"),
        (str(drop_ins / "90-site.toml"), b"# site"),
    ] == files.config_files(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is not the same as no file."""
    (tmp_path / files.CONFIG).mkdir()

    with pytest.raises(BadConfig, match=r"cannot read .*guardd\.toml: Is a directory"):
        files.config_files(tmp_path)


def test_the_last_good_configuration(tmp_path: Path) -> None:
    """A start on a bad file goes by it."""
    found = [("guardd.toml", b'mode = "warn"'), ("10.toml", 'mode = "observe" # für'.encode())]

    files.keep_config(found, tmp_path)

    assert parse_config(found) == files.kept_config(tmp_path)


@pytest.mark.parametrize(
    "data",
    [None, b"", b"\xff", b"7", b'[["guardd.toml", "mode = 7"]]', b'[["a"]]', b"[[1, 2]]"],
)
def test_no_good_configuration(data: bytes | None, tmp_path: Path) -> None:
    """None was kept, or what was kept is good no more: then there is none, and no error."""
    if data is not None:
        (tmp_path / files.GOOD_CONFIG).write_bytes(data)

    assert files.kept_config(tmp_path) is None


def test_snapshot_kept_and_read(tmp_path: Path) -> None:
    """The next run finds what this one knew."""
    files.keep_snapshot(HASWELL, tmp_path)

    assert HASWELL._replace(origin=Origin.KEPT) == files.kept_snapshot(tmp_path)


def test_no_snapshot(tmp_path: Path) -> None:
    """None was ever kept: that is no error."""
    assert files.kept_snapshot(tmp_path) is None
    assert files.kept_snapshot(tmp_path / "nowhere") is None


def test_the_host_as_it_was(tmp_path: Path) -> None:
    """Beside the one in force, neither in the other's place."""
    assert files.kept_previous(tmp_path) is None

    files.keep_previous(HASWELL._replace(hostname="before"), tmp_path)
    files.keep_snapshot(HASWELL, tmp_path)

    kept = files.kept_previous(tmp_path), files.read_snapshot(tmp_path / files.SNAPSHOT)
    assert ["before", "haswell"] == [each.hostname for each in kept if each is not None]
    (tmp_path / files.PREVIOUS).write_text("{}")
    with pytest.raises(BadSnapshot):
        files.kept_previous(tmp_path)


@pytest.mark.parametrize("data", [b"", b"{}", b"\0" * 4096])
def test_a_bad_snapshot(data: bytes, tmp_path: Path) -> None:
    """What a crash or another program left."""
    (tmp_path / files.SNAPSHOT).write_bytes(data)

    with pytest.raises(BadSnapshot):
        files.kept_snapshot(tmp_path)


def test_a_snapshot_that_cannot_be_read(tmp_path: Path) -> None:
    """The path is said."""
    (tmp_path / files.SNAPSHOT).mkdir()

    with pytest.raises(BadSnapshot, match=r"cannot read .*snapshot\.json: Is a directory"):
        files.kept_snapshot(tmp_path)


def test_a_huge_snapshot_is_not_read_into_memory(tmp_path: Path) -> None:
    """A sparse file of a terabyte costs nothing to write."""
    with (tmp_path / files.SNAPSHOT).open("wb") as file:
        os.truncate(file.fileno(), 1 << 40)

    with pytest.raises(BadSnapshot, match="has more than 67108864 bytes"):
        files.kept_snapshot(tmp_path)


@pytest.mark.parametrize("answer", list(Answer))
def test_on_unavailable(answer: Answer, tmp_path: Path) -> None:
    """One word and a line end: the hook reads no more than that."""
    files.keep_on_unavailable(answer, tmp_path)

    assert f"{answer}\n" == (tmp_path / files.ON_UNAVAILABLE).read_text()


def test_everybody_may_read_what_is_kept(tmp_path: Path) -> None:
    """The hook and cpu-guardctl of any user, whatever the umask of the service."""
    before = os.umask(0o077)
    try:
        files.keep_snapshot(HASWELL, tmp_path)
        files.keep_on_unavailable(Answer.DENY, tmp_path)
    finally:
        os.umask(before)

    assert {0o644} == {mode_of(path) for path in tmp_path.iterdir()}


def test_written_in_one_piece(tmp_path: Path) -> None:
    """Whoever has the old file open still reads the old one, whole."""
    files.keep_snapshot(HASWELL, tmp_path)
    with (tmp_path / files.SNAPSHOT).open("rb") as reader:
        files.keep_snapshot(HASWELL._replace(hostname="other"), tmp_path)
        old = reader.read()

    assert b'"hostname": "haswell"' in old
    assert old.endswith(b"}\n")
    assert b'"hostname": "other"' in (tmp_path / files.SNAPSHOT).read_bytes()


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither half a snapshot nor a temporary file, again and again."""
    (tmp_path / files.SNAPSHOT / "in the way").mkdir(parents=True)

    with pytest.raises(OSError, match="snapshot"):
        files.keep_snapshot(HASWELL, tmp_path)

    assert [files.SNAPSHOT] == [path.name for path in tmp_path.iterdir()]


def test_no_folder_to_keep_in(tmp_path: Path) -> None:
    """The daemon says so in its status."""
    with pytest.raises(FileNotFoundError):
        files.keep_on_unavailable(Answer.DENY, tmp_path / "nowhere")


def test_a_configuration_is_kept_for_few(tmp_path: Path) -> None:
    """It names guests, and who made /etc/cpu-guardd private did not make this."""
    files.keep_config([("guardd.toml", b"")], tmp_path)

    assert 0o600 == mode_of(tmp_path / files.GOOD_CONFIG)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_kept_is_a_file(kind: str, tmp_path: Path) -> None:
    """Root reads in the daemon's folder: it is led nowhere, and does not wait."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    files.keep_snapshot(HASWELL, elsewhere)
    files.keep_config([("guardd.toml", b"")], elsewhere)
    for name in (files.SNAPSHOT, files.PREVIOUS, files.GOOD_CONFIG):
        if kind == "link":
            (tmp_path / name).symlink_to(elsewhere / files.SNAPSHOT)
        else:
            os.mkfifo(tmp_path / name)

    with pytest.raises(BadSnapshot, match=r"cannot read .*snapshot\.json: "):
        files.kept_snapshot(tmp_path)
    with pytest.raises(BadSnapshot, match=r"cannot read .*previous\.json: "):
        files.kept_previous(tmp_path)
    assert files.kept_config_files(tmp_path) is None


def test_a_link_in_the_place_of_what_is_kept(tmp_path: Path) -> None:
    """The link is replaced, what it leads to stays."""
    (tmp_path / "other").write_text("of somebody else")
    (tmp_path / files.ON_UNAVAILABLE).symlink_to(tmp_path / "other")

    files.keep_on_unavailable(Answer.DENY, tmp_path)

    assert "of somebody else" == (tmp_path / "other").read_text()
    assert "deny\n" == (tmp_path / files.ON_UNAVAILABLE).read_text()


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_a_file_that_a_user_named(kind: str, tmp_path: Path) -> None:
    """What is no file is not replaced by one: it may be /dev/null."""
    path, other = tmp_path / "asked", tmp_path / "other"
    if kind == "link":
        other.write_text("of somebody else")
    if "link" in kind:
        path.symlink_to(other)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    before = path.lstat()

    with pytest.raises(OSError, match=r"link|not a file|directory"):
        files.write_asked(path, "text")

    assert before == path.lstat()
    assert kind != "link" or "of somebody else" == other.read_text()
    assert kind == "link" or not other.exists()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_that_a_user_named_is_as_private_as_others(
    umask: int, mode: int, tmp_path: Path
) -> None:
    """The page of a report names guests."""
    before = os.umask(umask)
    try:
        files.write_asked(tmp_path / "asked", "text")
    finally:
        os.umask(before)

    assert mode == mode_of(tmp_path / "asked")


def test_links_of_ones_own_on_the_way(tmp_path: Path) -> None:
    """One leads to the other, one of them up again; in a circle they lead nowhere."""
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "first").symlink_to(tmp_path / "second")
    (tmp_path / "second").symlink_to("real/deep/..")
    (tmp_path / "circle").symlink_to("circle")

    files.write_asked(tmp_path / "first/deep/asked", "text")

    assert "text" == (tmp_path / "real/deep/asked").read_text()
    with pytest.raises(OSError, match="symbolic links"):
        files.write_asked(tmp_path / "circle/asked", "text")
    with pytest.raises(NotADirectoryError):
        files.write_asked(tmp_path / "real/deep/asked/more", "text")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's link")
def test_a_link_of_another_users_on_the_way(tmp_path: Path) -> None:
    """As it may stand in /tmp, for root to follow."""
    (tmp_path / "goal").mkdir()
    (tmp_path / "way").symlink_to("goal")
    os.chown(tmp_path / "way", 65534, 65534, follow_symlinks=False)

    with pytest.raises(OSError, match="another user's link leads to goal"):
        files.write_asked(tmp_path / "way/asked", "text")

    assert [] == list((tmp_path / "goal").iterdir())
