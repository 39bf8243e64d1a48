"""The files of cpu-guardd: its configuration, and what it keeps for when nobody answers."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from guardd.config import Config, parse_config
from guardd.errors import BadConfig, BadSnapshot
from guardd.facts.snapshot import HostSnapshot, snapshot_from_json, snapshot_to_json
from guardd.judge.finding import Answer

CONFIG_DIRECTORY = Path("/etc/cpu-guardd")
CONFIG = "guardd.toml"
DROP_INS = "guardd.toml.d"
POOL = "pool.d"
STATE_DIRECTORY = Path("/var/lib/cpu-guardd")
SNAPSHOT = "snapshot.json"
PREVIOUS = "previous.json"  # the host as it was before it changed last
GOOD_CONFIG = "good-config.json"
ON_UNAVAILABLE = "on_unavailable"  # the hook's last resort reads this one word
MODE = 0o644  # no secret in it: the hook, and cpu-guardctl of any user, may read it
PRIVATE_MODE = 0o600  # a configuration names guests, and may have been closed to others
MAX_SNAPSHOT = 64 << 20
ROOT_UID = 0
MAX_LINKS = 40  # on the way to a folder, as path_resolution(7) has it

ConfigFiles = list[tuple[str, bytes]]  # name and content, in the order in which they count


def config_files(directory: Path = CONFIG_DIRECTORY) -> ConfigFiles:
    """Read guardd.toml and guardd.toml.d/*.toml, as `parse_config` takes them.

    A missing file counts as empty. Raises BadConfig for one that cannot be read.
    """
    paths = [directory / CONFIG, *sorted((directory / DROP_INS).glob("*.toml"))]
    found = []
    for path in paths:
        try:
            found.append((str(path), path.read_bytes()))
        except FileNotFoundError:
            continue
        except OSError as exc:
            raise BadConfig(f"cannot read {path}: {exc.strerror}") from exc
    return found


def pool_hosts(directory: Path = CONFIG_DIRECTORY) -> tuple[HostSnapshot, ...]:
    """Read pool.d/*.json, each the snapshot of a host; raises BadConfig that names the file."""
    hosts = []
    for path in sorted((directory / POOL).glob("*.json")):
        try:
            snapshot = read_snapshot(path)
        except BadSnapshot as exc:
            hint = "copy it anew from that host's /var/lib/cpu-guardd/snapshot.json"
            raise BadConfig(f"{path}: {exc}", hint=hint) from exc
        if snapshot is not None:
            hosts.append(snapshot)
    return tuple(hosts)


def read_config(directory: Path = CONFIG_DIRECTORY) -> tuple[Config, ConfigFiles]:
    """Read all of the configuration, and give the files that `keep_config` keeps of it.

    Those of the pool are not among them: they are large, and as old as they are. Raises BadConfig.
    """
    found = config_files(directory)
    config = parse_config(found)
    policy = config.policy._replace(pool=pool_hosts(directory))
    return config._replace(policy=policy), found


def try_keep(write: Callable[[Any, Path], None], value: object, directory: Path) -> str:
    """Write *value* below *directory*; give what went wrong, "" for nothing."""
    try:
        write(value, directory)
    except OSError as exc:
        return f"cannot write below {directory}: {exc.strerror or exc}"
    return ""


def keep_config(found: ConfigFiles, directory: Path = STATE_DIRECTORY) -> None:
    """Keep a configuration that is good, for a start on one that is not; raises OSError."""
    texts = [(name, data.decode("utf-8")) for name, data in found]
    write_whole(directory / GOOD_CONFIG, json.dumps(texts), PRIVATE_MODE)


def kept_config(directory: Path = STATE_DIRECTORY) -> Config | None:
    """Read the last good configuration, None where none was kept or it is good no more."""
    found = kept_config_files(directory)
    try:
        return None if found is None else parse_config(found)
    except BadConfig:
        return None


def kept_config_files(directory: Path = STATE_DIRECTORY) -> ConfigFiles | None:
    """Give the files of the last good configuration as they were, None where none were kept."""
    try:
        texts = json.loads(_read_kept(directory / GOOD_CONFIG))
        return [(str(name), text.encode("utf-8")) for name, text in texts]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def keep_snapshot(snapshot: HostSnapshot, directory: Path = STATE_DIRECTORY) -> None:
    """Write *snapshot* in one piece: whoever reads sees the old one or the new one.

    Raises OSError.
    """
    write_whole(directory / SNAPSHOT, snapshot_to_json(snapshot))


def kept_snapshot(directory: Path = STATE_DIRECTORY) -> HostSnapshot | None:
    """Read the snapshot back, None where none was ever kept; raises BadSnapshot."""
    return _kept(directory / SNAPSHOT)


def keep_previous(snapshot: HostSnapshot, directory: Path = STATE_DIRECTORY) -> None:
    """Keep *snapshot* as that of the host before it changed; raises OSError."""
    write_whole(directory / PREVIOUS, snapshot_to_json(snapshot))


def kept_previous(directory: Path = STATE_DIRECTORY) -> HostSnapshot | None:
    """Give the host before it changed last, None where it never did; raises BadSnapshot."""
    return _kept(directory / PREVIOUS)


def read_snapshot(path: Path) -> HostSnapshot | None:
    """Read the snapshot in *path*, None where there is no such file; raises BadSnapshot."""
    try:
        with path.open("rb") as file:
            return _snapshot(path, file.read(MAX_SNAPSHOT + 1))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise BadSnapshot(f"cannot read {path}: {exc.strerror}") from exc


def _kept(path: Path) -> HostSnapshot | None:
    try:
        return _snapshot(path, _read_kept(path))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise BadSnapshot(f"cannot read {path}: {exc.strerror}") from exc


def _snapshot(path: Path, text: bytes) -> HostSnapshot:
    if len(text) > MAX_SNAPSHOT:
        raise BadSnapshot(f"{path} has more than {MAX_SNAPSHOT} bytes")
    return snapshot_from_json(text)


def _read_kept(path: Path) -> bytes:
    """Read one byte more than MAX_SNAPSHOT of *path* at most; raises OSError.

    The folder is the daemon's, the reader may be root: whatever became of the daemon, root is led
    to no other file, and waits for no pipe.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags), "rb") as file:
        _insist_on_file(os.fstat(file.fileno()))
        return file.read(MAX_SNAPSHOT + 1)


def keep_on_unavailable(answer: Answer, directory: Path = STATE_DIRECTORY) -> None:
    """Write the answer that the hook gives when nobody can judge; raises OSError."""
    write_whole(directory / ON_UNAVAILABLE, answer + "\n")


def write_asked(path: Path, text: str, mode: int | None = None) -> None:
    """Write *text* to the file that a user named, in one piece; raises OSError.

    What is there and is no file, as a device or a link, is not replaced. *mode* None: as the umask
    of who asked has it.
    """
    with suppress(FileNotFoundError):
        _insist_on_file(path.lstat())
    write_whole(path, text, mode)


def write_whole(path: Path, text: str, mode: int | None = MODE) -> None:
    """Write *text* in one piece: whoever reads sees the old file or the new one; raises OSError.

    *mode* None: as the umask has it.
    """
    folder = _open_folder(path.parent)
    temporary = f".{path.name}.{os.urandom(4).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        made = os.open(temporary, flags, 0o666 if mode is None else 0o600, dir_fd=folder)
        try:
            with os.fdopen(made, "w", encoding="utf-8") as file:
                if mode is not None:
                    os.fchmod(made, mode)
                file.write(text)
                file.flush()
                os.fsync(made)
            os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(temporary, dir_fd=folder)
            raise
    finally:
        os.close(folder)


def _open_folder(path: Path) -> int:
    """Open *path* to write in it; raises OSError, also where another user's link is on the way.

    Root may write in a folder, as /tmp, where others may put links for it to follow.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open("/", flags)
    ahead, links = list(reversed(path.absolute().parts[1:])), 0
    try:
        while ahead:
            entry = os.open(ahead.pop(), flags, dir_fd=folder)
            if stat.S_ISLNK(os.fstat(entry).st_mode):
                links += 1
                target = _followed(entry, links)
                ahead += reversed([part for part in target.parts if part != "/"])
                entry = os.open("/", flags) if target.is_absolute() else os.dup(folder)
            os.close(folder)
            folder = entry
    except BaseException:
        os.close(folder)
        raise
    return folder


def _followed(link: int, number: int) -> Path:
    """Close *link*, the *number*-th on the way, and give where it leads; raises OSError."""
    try:
        if number > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = Path(os.readlink("", dir_fd=link))
        if os.fstat(link).st_uid not in (ROOT_UID, os.geteuid()):
            raise OSError(errno.EACCES, f"another user's link leads to {target}")
        return target
    finally:
        os.close(link)


def _insist_on_file(state: os.stat_result) -> None:
    """Raise OSError where *state* is that of anything but a regular file."""
    if stat.S_ISLNK(state.st_mode):
        raise OSError(errno.ELOOP, "it is a symbolic link")
    if stat.S_ISDIR(state.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "it is not a file")
