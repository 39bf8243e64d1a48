"""The documentation, followed to the letter on hosts of the lab."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from guardd.facts.stamp import NAMESPACE
from tests import pages
from tests.lab import guard
from tests.lab.guests import domain_xml
from tests.lab.host import Host
from tests.lab.test_drift import (
    DOCTOR,
    KEPT,
    LOST,
    drift_records,
    requiring,
    start_daemon,
    stop_daemon,
)
from tests.lab.test_drift import python as run_python
from tests.pages import PAGES, ROOT, Block, Step

SSH = """
mkdir -p /root/.ssh
[ -e /root/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
printf 'StrictHostKeyChecking accept-new\\nLogLevel ERROR\\n' >/root/.ssh/config
ssh-keygen -A >/dev/null
systemctl start ssh.service
"""
# what a page may leave behind
TIDY = (
    "rm -rf /etc/cpu-guardd/guardd.toml.d/* /etc/cpu-guardd/pool.d /root/*.xml /root/*.json"
    " /var/lib/cpu-guardd/previous.json"
)
# the guests that a page begins with, on which host
NEHALEM = "<cpu mode='custom' match='exact' check='partial'><model>Nehalem</model></cpu>"
SKYLAKE = NEHALEM.replace("Nehalem", "Skylake-Server")
MAXIMUM = "<cpu mode='maximum'/>"
GUESTS = {
    "README": ("hosta", {"web2": SKYLAKE}),
    "after-an-update": ("hosta", {"db1": requiring(LOST), "web1": NEHALEM}),
    "baseline": ("hostc", {"app": MAXIMUM, "web1": NEHALEM}),
    "drain": ("hostc", {"app": MAXIMUM, "web1": NEHALEM, "old": MAXIMUM}),
    "guard-in-the-way": ("hostc", {"app": MAXIMUM}),
    "host-passthrough": ("hostc", {"app": MAXIMUM}),
    "introduce": ("hosta", {"web1": SKYLAKE, "web2": SKYLAKE.replace("partial", "none")}),
}
# these only look, at what comes about in a moment: they are asked again
LOOKS = re.compile(
    r"cpu-guardctl (status|host|explain|check|drift|replay|hook status)|virsh (list|metadata|dom)"
    r"|journalctl"
)
PATIENCE = 20  # seconds


FOR_LAB = [page for page in PAGES if pages.hosts(page)]


@pytest.fixture(scope="module")
def connected(guarded: Mapping[str, Host]) -> Iterator[Mapping[str, Host]]:
    """Guarded hosts whose roots may log into each other, as those of a cluster."""
    keys = []
    for host in guarded.values():
        host.shell(SSH)
        keys.append(host.run("cat", "/root/.ssh/id_ed25519.pub").stdout)
    for host in guarded.values():
        host.write("/root/.ssh/authorized_keys", "".join(keys), 0o600)
    yield guarded
    for host in guarded.values():
        _tidy(host)
        host.shell("rm -rf /root/.ssh; systemctl stop ssh.service")


def _tidy(host: Host) -> None:
    host.reset()
    host.shell(TIDY)
    host.run("cpu-guardctl", "hook", "install")
    guard.configure(host, "")


@pytest.mark.parametrize("page", FOR_LAB, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(connected: Mapping[str, Host], page: Path) -> None:
    """All commands of the page print what it says."""
    hosts = {name: connected[name] for name in sorted(pages.hosts(page))}
    for host in hosts.values():
        _tidy(host)
    _prepare(hosts, page)
    for block in pages.blocks(page):
        if block.host:
            hosts[block.host].write(block.path, block.text)
        elif block.language == "console":
            _follow(hosts, block)


def _follow(hosts: Mapping[str, Host], block: Block) -> None:
    for step in pages.steps(block):
        actual = _run(hosts[step.host], step)
        assert pages.is_as_printed(step.printed, actual), (
            f"{step.place}: {step.host}# {step.command}\n{step.printed}--- printed:\n{actual}"
        )


def _run(host: Host, step: Step) -> str:
    deadline = time.monotonic() + (PATIENCE if LOOKS.match(step.command) else 0)
    while True:
        printed = host.shell(f"cd /root; exec 2>&1\n{step.command}", check=False).stdout
        if pages.is_as_printed(step.printed, printed) or time.monotonic() > deadline:
            return printed
        time.sleep(0.2)


def _updated(host: Host) -> None:
    """Have *host* lose a feature to an update: what it kept from before says that it had it."""
    stop_daemon(host)
    run_python(host, DOCTOR, LOST)
    since = host.cursor()
    start_daemon(host)
    host.wait_until(lambda: bool(drift_records(host, since)))


def _prepare(hosts: Mapping[str, Host], page: Path) -> None:
    """Bring about what *page* begins with besides guarded hosts without guests."""
    host_name, cpus = GUESTS.get(page.stem, ("", {}))
    for name, cpu in cpus.items():
        hosts[host_name].virsh("define", "/dev/stdin", stdin=domain_xml(name, cpu=cpu))
    match page.stem:
        case "tutorial":
            for host in hosts.values():
                host.run("apt-get", "purge", "--yes", "cpu-guardd", timeout=120)
        case "after-an-update":
            _updated(hosts["hosta"])
        case "guard-in-the-way":
            pool = "/etc/cpu-guardd/pool.d"
            hosts[host_name].shell(f"mkdir {pool}; scp -q hosta:{KEPT} {pool}/hosta.json")
            guard.configure(hosts[host_name], "")
        case "drain":
            for name in cpus:
                hosts[host_name].virsh("start", name)
                hosts[host_name].wait_until(f"virsh metadata {name} {NAMESPACE}")
            hosts[host_name].virsh("managedsave", "old")
