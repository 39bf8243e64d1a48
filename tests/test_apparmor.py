"""Debian's AppArmor profile of libvirtd, which a hook inherits: it lets ours do what it does.

Read by AppArmor's own compiler and library; no kernel has the profile loaded here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from guardd import files, wire
from guardd.hookfile import DROP_IN, HOOKS, MAIN
from guardd.probe.cpu_map import DIRECTORY

PACKAGE = "libvirt-daemon-system"
NAME = "usr.sbin.libvirtd"
DOCUMENT = Path(__file__).resolve().parents[1] / "docs/security-modules.md"
# another release's profile, as a file in the folder of its apparmor.d
GIVEN = os.environ.get("GUARDD_APPARMOR_PROFILE")
TOOLS = ("apparmor_parser", "apt-get", "dpkg")
ABSENT = [tool for tool in TOOLS if shutil.which(tool) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(ABSENT) and os.environ.get("GUARDD_CI") != "1",
        reason=f"not installed: {', '.join(ABSENT)}",
    ),
]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fetch the profile of this release's package."""
    folder = tmp_path_factory.mktemp("profile")
    if GIVEN:
        shutil.copytree(Path(GIVEN).parent, folder, dirs_exist_ok=True)
        found = folder / Path(GIVEN).name
    else:
        for command in (["apt-get", "download", PACKAGE], ["sh", "-c", "dpkg -x *.deb ."]):
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        found = folder / "etc/apparmor.d" / NAME
    local = found.parent / "local" / found.name
    local.parent.mkdir(exist_ok=True)
    local.touch()  # dpkg's scripts make it, empty
    return found


def compiled(profile: Path) -> subprocess.CompletedProcess[bytes]:
    """Compile *profile* without loading it; the binary is on stdout."""
    return subprocess.run(
        ["apparmor_parser", "-Q", "-K", "-S", "-I", profile.parent, profile],
        capture_output=True,
        check=False,
    )


def test_profile_compiles(profile: Path, tmp_path: Path) -> None:
    """The profile is whole; one that is not is told."""
    done = compiled(profile)
    broken = tmp_path / "broken"
    broken.write_text(profile.read_text().replace("capability kill,", "capability nonsense,"))

    assert (done.returncode, len(done.stdout) > 10_000) == (0, True), done.stderr
    assert compiled(broken).returncode != 0


def documented() -> str:
    """Give the rules that docs/security-modules.md has for a narrower profile."""
    text = DOCUMENT.read_text().partition(f"`/etc/apparmor.d/local/{NAME}`:")[2]
    return "".join(re.findall(r"^    (/.*,\n)", text, re.MULTILINE))


def test_documented_rules_compile(profile: Path) -> None:
    """They go where the document says, and do not contradict the profile."""
    before = compiled(profile).stdout
    local = profile.parent / "local" / profile.name
    local.write_text(documented() + "  /opt/something/new ix,\n")
    done = compiled(profile)
    local.write_text("")

    assert "/run/cpu-guardd/guard.sock rw,\n" in documented()
    assert done.returncode == 0, done.stderr
    assert before != done.stdout


@pytest.fixture(scope="module")
def rules(profile: Path) -> Any:  # noqa: ANN401 (AppArmor's library has no types)
    """Give the profile's own rules about files; what it includes only allows more."""
    library = pytest.importorskip("apparmor.rule.file", reason="python3-apparmor is not installed")
    found = library.FileRuleset()
    own, _, _child = profile.read_text().partition("profile qemu_bridge_helper")
    for line in own.splitlines():
        if library.FileRule.match(line.strip()):
            found.add(library.FileRule.parse(line.strip()))
    return found


@pytest.mark.parametrize(
    ("path", "permissions", "execute"),
    [
        (HOOKS / MAIN, "mr", "ix"),
        (HOOKS / DROP_IN, "mr", "ix"),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", "mr", None),
        (wire.SOCKET_PATH, "rw", None),
        ("/usr/bin/python3.11", None, "PUx"),  # the fallback; its own profile, or none
        ("/usr/lib/python3/dist-packages/guardd/fallback.py", "r", None),
        (files.CONFIG_DIRECTORY / files.CONFIG, "r", None),
        (files.STATE_DIRECTORY / files.SNAPSHOT, "r", None),
        (files.STATE_DIRECTORY / files.ON_UNAVAILABLE, "r", None),
        (DIRECTORY / "index.xml", "r", None),
        ("/proc/cpuinfo", "r", None),
        ("/run/systemd/journal/socket", "rw", None),
    ],
)
def test_hook_is_let(
    rules: Any,  # noqa: ANN401
    path: str | Path,
    permissions: str | None,
    execute: str | None,
) -> None:
    """What the hook opens, connects to and starts; an own rule in local/ is not needed."""
    file_rule = pytest.importorskip("apparmor.rule.file").FileRule
    needed = file_rule(str(path), permissions, execute, file_rule.ALL, owner=False)

    assert rules.is_covered(needed)


def test_what_is_denied_is_seen(rules: Any) -> None:  # noqa: ANN401
    """The library tells what is allowed from what is not: a hook elsewhere would not run."""
    file_rule = pytest.importorskip("apparmor.rule.file").FileRule
    other = file_rule("/opt/hook", None, "ix", file_rule.ALL, owner=False)

    assert not rules.is_covered(other)
