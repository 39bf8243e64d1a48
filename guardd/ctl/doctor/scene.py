"""Where the doctor looks, and what several of its checks go by, read once."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guardd import files, libvirtconn, wire
from guardd.config import Config
from guardd.cpu import CPUMap
from guardd.ctl import selinux
from guardd.ctl.bounded import within
from guardd.ctl.client import call
from guardd.ctl.common import own_arch
from guardd.ctl.known import URI
from guardd.ctl.units import LIBVIRT, Unit, read_units
from guardd.errors import BadConfig, BadSnapshot, GuardError
from guardd.facts.domain import Guest, parse_domain
from guardd.facts.domcaps import Hypervisor
from guardd.facts.snapshot import HostSnapshot
from guardd.hookfile import HOOKS
from guardd.judge.ceiling import validate_ceiling
from guardd.kept import kept_host
from guardd.probe.cpu_map import open_cpu_map
from guardd.xmldoc import escape

DAEMON_SECONDS = 3.0
LIBVIRT_SECONDS = 5.0

_WORDS = {"version", "libvirt_connected", "snapshot_origin", "problems"}

_HARMLESS = """\
<domain type='{type}'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os><type arch='{arch}'{machine}>hvm</type></os>
  <devices>
    {emulator}
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""
# pseries firmware does not start with less; nothing of it is used, as the guest stays paused
_MEMORY = {"ppc64": 256, "ppc64le": 256}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where everything is; `python` is what the hook runs, *root* holds /sys and /var."""

    hooks: Path = HOOKS
    config: Path = files.CONFIG_DIRECTORY
    state: Path = files.STATE_DIRECTORY
    socket: str = wire.SOCKET_PATH
    uri: str = URI
    python: str = "/usr/bin/python3"
    selinuxfs: Path = selinux.SELINUXFS
    root: Path = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What was found at once; where a value is None, the `..._problem` of its name says why.

    `is_hidden`: the daemon's socket may not be opened by this user. `config_problem` and
    `snapshot_problem` are "" where there is merely nothing. `guests` are those that libvirt tells.
    """

    site: Site
    begun: dt.datetime
    is_root: bool
    units: Mapping[str, Unit] = field(default_factory=dict)
    status: Mapping[str, Any] | None = None
    status_problem: str = ""
    is_hidden: bool = False
    config: Config | None = None
    config_problem: str = ""
    snapshot: HostSnapshot | None = None
    snapshot_problem: str = ""
    guests: tuple[Guest, ...] | None = None
    guests_problem: str = ""

    @property
    def libvirt(self) -> Unit | None:
        """The unit of the libvirt daemon that runs, None where systemd runs none."""
        running = [self.units[name] for name in LIBVIRT if name in self.units]
        return next((unit for unit in running if unit.is_active), None)

    @property
    def libvirt_unit(self) -> str:
        """The name of libvirt's unit, as in a command, whether it runs or not."""
        if self.libvirt is not None:
            return self.libvirt.name.removesuffix(".service")
        loaded = [n for n in LIBVIRT if n in self.units and self.units[n].load == "loaded"]
        return (loaded or LIBVIRT)[0].removesuffix(".service")

    def harmless(self, name: str) -> str:
        """Give the XML of a guest called *name* that any host can run, without disk or CPU."""
        return harmless_guest(self.snapshot, name)


def read_scene(site: Site) -> Scene:
    """Look at *site*; takes a few seconds at most."""
    begun = dt.datetime.now(dt.UTC)
    status, status_problem, is_hidden = _status(site)
    config, config_problem = _config(site)
    snapshot, snapshot_problem = _snapshot(site)
    guests, guests_problem = _guests(site)
    return Scene(
        site=site,
        begun=begun,
        is_root=os.geteuid() == 0,
        units=read_units(),
        status=status,
        status_problem=status_problem,
        is_hidden=is_hidden,
        config=config,
        config_problem=config_problem,
        snapshot=snapshot,
        snapshot_problem=snapshot_problem,
        guests=guests,
        guests_problem=guests_problem,
    )


def _status(site: Site) -> tuple[Mapping[str, Any] | None, str, bool]:
    try:
        status = call("GetStatus", {}, site.socket, seconds=DAEMON_SECONDS)
    except GuardError as exc:
        return None, str(exc), isinstance(exc.__cause__, PermissionError)
    if lacking := _WORDS - set(status):
        return None, f"its status lacks {', '.join(sorted(lacking))}", False
    return status, "", False


def _config(site: Site) -> tuple[Config | None, str]:
    try:
        config, _files = files.read_config(site.config)
        if config.policy.ceilings:
            cpu_map: CPUMap = open_cpu_map()
            for ceiling in config.policy.ceilings:
                validate_ceiling(cpu_map, ceiling)
    except BadConfig as exc:
        return None, str(exc)
    except GuardError as exc:
        return None, f"ceilings cannot be looked at: {exc}"
    return config, ""


def _snapshot(site: Site) -> tuple[HostSnapshot | None, str]:
    try:
        return kept_host(site.state), ""
    except BadSnapshot as exc:
        return None, str(exc)


def _guests(site: Site) -> tuple[tuple[Guest, ...] | None, str]:
    libvirtconn.silence_stderr()

    def ask() -> list[str]:
        connection = libvirtconn.open_connection(site.uri, read_only=True)
        try:
            return libvirtconn.all_guests(connection)
        finally:
            libvirtconn.close(connection)

    try:
        texts = within(LIBVIRT_SECONDS, ask)
    except GuardError as exc:
        return None, str(exc)
    guests = []
    for text in texts:
        try:
            guests.append(parse_domain(text))
        except GuardError:
            continue  # no guest of QEMU's, or one that no verdict would read either
    return tuple(guests), ""


def harmless_guest(snapshot: HostSnapshot | None, name: str) -> str:
    """Give the XML of a guest of a kind that *snapshot* knows, TCG before KVM."""
    known = _kind(snapshot)
    arch = own_arch().value if known is None else known.arch.value
    return _HARMLESS.format(
        type="qemu" if known is None else known.virt_type,
        name=escape(name),
        memory=_MEMORY.get(arch, 1),
        arch=arch,
        machine=f" machine='{escape(known.machine)}'" if known else "",
        emulator=f"<emulator>{escape(known.emulator)}</emulator>" if known else "",
    )


def _kind(snapshot: HostSnapshot | None) -> Hypervisor | None:
    if snapshot is None:
        return None
    own = [kind for kind in snapshot.hypervisors if kind.arch is snapshot.arch]
    # under KVM, QEMU's default CPU may draw a warning
    by_preference = sorted(own, key=lambda kind: kind.virt_type != "qemu")
    return next(iter(by_preference), None)
