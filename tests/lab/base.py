"""The base trees: one root folder a release, built once, which the hosts' overlays lie upon."""

import contextlib
import hashlib
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.lab.mounts import remove_tree
from tests.lab.nodes import NODES, Release, state_dir
from tests.lab.process import LabError, execute, run_logged, say, step

_PACKAGES = (
    # a host
    "systemd-sysv libpam-systemd dbus iproute2 iputils-ping procps netcat-openbsd ca-certificates"
    " libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-system-ppc qemu-utils"
    " openssh-client openssh-server"
    # what cpu-guardd's own package depends on: the hosts have no way out to fetch it
    " python3 python3-venv python3-libvirt python3-lxml python3-systemd python3-click python3-rich"
    " python3-prometheus-client bash-completion jq"
)

_FILES = {
    "etc/hosts": "127.0.0.1 localhost\n"
    + "".join(f"{node.address} {node.name}\n" for node in NODES),
    "etc/resolv.conf": "",
    "etc/apt/sources.list": "",
    "etc/libvirt/libvirtd.conf": (
        'auth_tcp = "none"\n'
        'log_outputs = "3:journald"\n'
        # smbios, the default, is this machine's: one for all hosts
        'host_uuid_source = "machine-id"\n'
    ),
    # what a container cannot play: controllers, ownership, AppArmor, mount namespaces of guests
    "etc/libvirt/qemu.conf": (
        'user = "root"\ngroup = "root"\nremember_owner = 0\nsecurity_driver = "none"\n'
        "cgroup_controllers = [ ]\nnamespaces = [ ]\n"
    ),
    # Debian's default ends libvirtd after 120 idle seconds.
    "etc/default/libvirtd": 'LIBVIRTD_ARGS=""\n',
    # tests restart it more often than systemd's limit of 5 times in 10 s allows
    "etc/systemd/system/libvirtd.service.d/lab.conf": "[Unit]\nStartLimitIntervalSec=0\n",
    # what udev makes of them elsewhere
    "etc/tmpfiles.d/lab.conf": "z /dev/kvm 0660 root kvm\nz /dev/net/tun 0666 root root\n",
    "etc/systemd/journald.conf.d/lab.conf": (
        "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nRateLimitBurst=0\n"
    ),
}

_REMOVED = (
    # absent, systemd keeps the name and fills in the machine id that the container was given
    "etc/hostname",
    "etc/libvirt/qemu/networks/autostart/default.xml",
    # 11.3's has a race that now and then makes libvirtd take 30 s to stop, and none has devices
    "usr/lib/*/libvirt/connection-driver/libvirt_driver_nodedev.so",
    # the build's own settings: a package installed later keeps its man pages
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "var/lib/dbus/machine-id",
)

_ENABLED = ("libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-tcp.socket")
_MASKED = (
    *("systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("fstrim.timer", "logrotate.timer", "libvirt-guests.service"),
    *("getty@tty1.service", "console-getty.service"),
    # this machine's, not the host's
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-pstore.service"),
)

_OPTIONS = (
    *("--mode=root", "--variant=apt", "--format=directory"),
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)

# The build ends with the program that wants it, whichever way that ends; its mounts with it.
_TIED = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
)

_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_STAMP = "etc/cpu-guardd-lab"


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a base is made of, but for the packages' versions."""

    release: Release
    packages: str = _PACKAGES
    files: tuple[tuple[str, str], ...] = tuple(_FILES.items())
    removed: tuple[str, ...] = _REMOVED
    enabled: tuple[str, ...] = _ENABLED
    masked: tuple[str, ...] = _MASKED
    options: tuple[str, ...] = _OPTIONS

    @property
    def path(self) -> Path:
        key = hashlib.sha256(repr(self).encode()).hexdigest()[:12]
        return state_dir() / f"base-{self.release}-{key}"


def missing_tools() -> list[str]:
    """Debian packages of the programs that the lab runs and this machine lacks."""
    return [package for program, package in _TOOLS.items() if shutil.which(program) is None]


def install_tools() -> None:
    packages = missing_tools()
    if not packages:
        return
    names = ", ".join(packages)
    if shutil.which("apt-get") is None:
        raise LabError(f"the lab needs {names}, and there is no apt-get to install it with")
    log = state_dir() / "tools.log"
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    with step(f"installed {names}"):
        run_logged("apt-get update", ["apt-get", "update", "--quiet"], log)
        run_logged(f"installing {names}", install, log)


def ensure(releases: Iterable[Release]) -> Mapping[Release, Path]:
    """The bases of *releases*; those that are missing are built, side by side."""
    recipes = {release: Recipe(release) for release in sorted(set(releases))}
    missing = [recipe for recipe in recipes.values() if not recipe.path.is_dir()]
    if missing:
        mirror = _mirror()
        with ThreadPoolExecutor(len(missing)) as pool:
            for build in [pool.submit(_build, recipe, mirror) for recipe in missing]:
                build.result()
    return {release: recipe.path for release, recipe in recipes.items()}


def _build(recipe: Recipe, mirror: str) -> None:
    log = state_dir() / f"build-{recipe.release}.log"
    log.unlink(missing_ok=True)
    new = state_dir() / f"build-{recipe.release}"
    remove_tree(new)
    say(f"building the {recipe.release} base, log: {log}")
    with step(f"built {recipe.path}"):
        source = f"deb [signed-by={_KEYRING}] {mirror} {recipe.release} main"
        include = f"--include={','.join(recipe.packages.split())}"
        argv = [*_TIED, "mmdebstrap", *recipe.options, *_apt_options(), include]
        what = f"building the {recipe.release} base"
        run_logged(what, [*argv, recipe.release, str(new), source], log)
        for verb, units in (("enable", recipe.enabled), ("mask", recipe.masked)):
            run_logged(what, [*_TIED, "chroot", str(new), "systemctl", verb, *units], log)
        _configure(recipe, new)
        new.rename(recipe.path)


def _configure(recipe: Recipe, tree: Path) -> None:
    for pattern in recipe.removed:
        for path in tree.glob(pattern):
            path.unlink()
    for name, text in recipe.files:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/systemd/system/default.target").symlink_to("/lib/systemd/system/multi-user.target")
    (tree / _STAMP).write_text(f"{uuid.uuid4()}\n")


def stamp(base: Path) -> str:
    """Tells one build of a base from the next: an overlay fits only the one it was made on."""
    return (base / _STAMP).read_text().strip()


def _mirror() -> str:
    """The mirror that apt uses on this machine: it has both releases."""
    suites = {*Release, "stable", "oldstable", "testing", "sid", "unstable"}
    targets = execute(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"]
    )
    for line in targets.stdout.splitlines():
        site, _, suite = line.partition(" ")
        if suite in suites:
            return site
    raise LabError("no mirror of the Debian archive among apt's sources")


def _apt_options() -> list[str]:
    """How apt reaches that mirror here: proxies, certificates, what it lets pass."""
    dump = execute(["apt-config", "dump", "--no-empty"]).stdout
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    return [f"--aptopt={line.rstrip(';')}" for line in dump.splitlines() if line.startswith(wanted)]


def prune(in_use: Iterable[Path]) -> None:
    """Remove the bases that neither a recipe of today nor a running host has a use for."""
    kept = {*in_use, *(Recipe(release).path for release in Release)}
    for base in state_dir().glob("base-*"):
        if base not in kept:
            with step(f"removed {base}, out of date"):
                remove_tree(base)


def obstacle() -> str | None:
    """Why bases cannot be built here, if they cannot."""
    missing = missing_tools()
    if missing and shutil.which("apt-get") is None:
        return f"needs {', '.join(missing)}"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        execute(["unshare", "--mount", "--pid", "--net", "--fork", "true"])
        return None
    return "this machine makes no namespaces"
