"""Debian's PowerPC kernel and Python, made into something that a machine can boot.

The packages come from the mirror and with the keys that apt uses on this machine, through a private
apt state: nothing is installed. What is built is kept below /var/tmp (GUARDD_POWERPC_CACHE).
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.powerpc.cpio import Archive

CACHE = Path(os.environ.get("GUARDD_POWERPC_CACHE", "/var/tmp/cpu-guardd-powerpc"))  # noqa: S108
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITES = ("bookworm", "trixie")

_KERNEL = "linux-image-powerpc64le"
_PACKAGES = ("python3", "python3-lxml", "busybox-static")
_APT_SECONDS = 300
_NEEDED_BYTES = 1 << 30

# folders that Debian 12's packages still ship, and that lead into /usr in the image
_MERGED = ("bin", "lib", "lib64", "sbin")
_LEFT_OUT = re.compile(
    r"usr/share/(doc|man|info|lintian|locale|bug|perl|zoneinfo|readline)/"
    r"|usr/lib/python3[^/]*/(test|idlelib|tkinter|lib2to3|ensurepip|pydoc_data|unittest)/"
    r"|/gconv/|usr/share/perl|^var/|^etc/"
)

_INIT = b"""#!/usr/bin/busybox sh
b=/usr/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
$b mount -t tmpfs tmpfs /tmp
export PATH=/usr/bin HOME=/ LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/opt
/usr/bin/python3 /opt/report.py >/tmp/out 2>&1 </dev/null
status=$?
$b stty -echo -onlcr
echo "=begin="
$b base64 /tmp/out
echo "=end=$status="
$b poweroff -f
"""


class ImageError(Exception):
    """What keeps the image from being built."""


@dataclass(frozen=True, slots=True)
class Image:
    """A kernel, and an initramfs that runs /opt/report.py and prints what it says."""

    kernel: Path
    initramfs: Path


def obstacle() -> str | None:
    """Say why no image can be built here; None: it can."""
    if _suite() not in SUITES:
        return "packages are taken from Debian 12 or 13, and this is another system"
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            return f"{tool} is missing"
    if not Path(KEYRING).exists():
        return "the package debian-archive-keyring is missing"
    return None


def build() -> Image:
    """Give the image, built at the first call of all; raises ImageError."""
    recipe = "\n".join([*_PACKAGES, _KERNEL, _LEFT_OUT.pattern, _INIT.decode(), _suite()])
    folder = CACHE / hashlib.sha256(recipe.encode()).hexdigest()[:12]
    image = Image(folder / "vmlinux", folder / "initramfs")
    try:
        with _locked():
            if not (folder / "complete").exists():
                _build_in(folder, image)
    except subprocess.SubprocessError as exc:
        raise ImageError(f"cannot get Debian's packages: {_words(exc)}") from exc
    except OSError as exc:
        raise ImageError(f"cannot build in {CACHE}: {exc}") from exc
    return image


@contextmanager
def _locked() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_in(folder: Path, image: Image) -> None:
    if shutil.disk_usage(CACHE).free < _NEEDED_BYTES:
        raise ImageError(f"{CACHE} has less than 1 GiB left")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _pack(image, _download(folder / "apt"))
    shutil.rmtree(folder / "apt")
    (folder / "complete").touch()


def _pack(image: Image, debs: Iterable[Path]) -> None:
    with image.initramfs.open("wb") as out:
        archive = Archive(out)
        archive.console()
        for name in ("proc", "sys", "tmp", "opt"):
            archive.folder(name)
        for name in _MERGED:
            archive.folder(f"usr/{name}")
            archive.link(name, f"usr/{name}")
        for deb in debs:
            if deb.name.startswith("linux-image-"):
                image.kernel.write_bytes(_kernel(deb))
            else:
                _add_package(archive, deb)
        archive.file("init", _INIT, 0o755)
        archive.finish()


def _download(state: Path) -> list[Path]:
    """Fetch the packages and all that they depend on; of the kernel itself, nothing else."""
    _prepare(state)
    _apt(state, "apt-get", "update")
    found = re.search(r"Depends: (linux-image-\S+)", _apt(state, "apt-cache", "depends", _KERNEL))
    if found is None:
        raise ImageError(f"{_KERNEL} depends on no kernel")
    options = ("--yes", "--download-only", "--no-install-recommends")
    _apt(state, "apt-get", "install", *options, *_PACKAGES)
    _apt(state, "apt-get", "download", found[1])
    return [*sorted((state / "cache/archives").glob("*.deb")), *state.glob("*.deb")]


def _prepare(state: Path) -> None:
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text(
        f"deb [arch=ppc64el signed-by={KEYRING}] {_mirror()} {_suite()} main\n"
    )


def _apt(state: Path, tool: str, *arguments: str) -> str:
    settings = {
        "APT::Architecture": "ppc64el",
        "APT::Architectures": "ppc64el",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Dir::State": str(state),
        "Dir::State::Lists": str(state / "lists"),
        "Dir::State::status": str(state / "status"),
        "Dir::Cache": str(state / "cache"),
        "Dir::Etc::SourceList": str(state / "sources.list"),
        "Dir::Etc::SourceParts": "-",
        "Dir::Etc::PreferencesParts": "-",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    return subprocess.run(
        [tool, "-qq", *options, *arguments],
        cwd=state,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        text=True,
        timeout=_APT_SECONDS,
    ).stdout


def _mirror() -> str:
    """Give the mirror of Debian's main archive that apt is set up for here."""
    form = "$(SITE) $(RELEASE) $(COMPONENT)"
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True,
        check=True,
        text=True,
        timeout=_APT_SECONDS,
    ).stdout
    for line in targets.splitlines():
        site, _, rest = line.partition(" ")
        if rest == f"{_suite()} main":
            return site
    return "http://deb.debian.org/debian"


def _suite() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


@contextmanager
def _members(deb: Path) -> Iterator[tarfile.TarFile]:
    data = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(deb)],
        capture_output=True,
        check=True,
        timeout=_APT_SECONDS,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        yield tar


def _kernel(deb: Path) -> bytes:
    with _members(deb) as tar:
        for member in tar:
            if member.name.startswith("./boot/vmlinu") and (file := tar.extractfile(member)):
                return file.read()
    raise ImageError(f"{deb.name} holds no kernel")


def _add_package(archive: Archive, deb: Path) -> None:
    with _members(deb) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name.split("/")[0] in _MERGED:
                name = f"usr/{name}"
            if _LEFT_OUT.search(name):
                continue
            if member.issym():
                archive.link(name, member.linkname)
            elif file := tar.extractfile(member) if not member.isdir() else None:
                archive.file(name, file.read(), member.mode & 0o777)


def _words(exc: subprocess.SubprocessError) -> str:
    said = getattr(exc, "stderr", None) or b""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return text.strip().splitlines()[-1] if text.strip() else str(exc)
