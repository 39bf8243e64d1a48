"""The files of cpu-guardd: its configuration, and what it keeps for when nobody answers."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

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
MAX_SNAPSHOT = 64 << 20

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
    policy = replace(config.policy, pool=pool_hosts(directory))
    return replace(config, policy=policy), found


def keep_config(found: ConfigFiles, directory: Path = STATE_DIRECTORY) -> None:
    """Keep a configuration that is good, for a start on one that is not; raises OSError."""
    texts = [(name, data.decode("utf-8")) for name, data in found]
    write_whole(directory / GOOD_CONFIG, json.dumps(texts))


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
        texts = json.loads((directory / GOOD_CONFIG).read_bytes())
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
    return read_snapshot(directory / SNAPSHOT)


def keep_previous(snapshot: HostSnapshot, directory: Path = STATE_DIRECTORY) -> None:
    """Keep *snapshot* as that of the host before it changed; raises OSError."""
    write_whole(directory / PREVIOUS, snapshot_to_json(snapshot))


def kept_previous(directory: Path = STATE_DIRECTORY) -> HostSnapshot | None:
    """Give the host before it changed last, None where it never did; raises BadSnapshot."""
    return read_snapshot(directory / PREVIOUS)


def read_snapshot(path: Path) -> HostSnapshot | None:
    """Read the snapshot in *path*, None where there is no such file; raises BadSnapshot."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SNAPSHOT + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise BadSnapshot(f"cannot read {path}: {exc.strerror}") from exc
    if len(text) > MAX_SNAPSHOT:
        raise BadSnapshot(f"{path} has more than {MAX_SNAPSHOT} bytes")
    return snapshot_from_json(text)


def keep_on_unavailable(answer: Answer, directory: Path = STATE_DIRECTORY) -> None:
    """Write the answer that the hook gives when nobody can judge; raises OSError."""
    write_whole(directory / ON_UNAVAILABLE, answer + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write *text* in one piece: whoever reads sees the old file or the new one; raises OSError."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), MODE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
