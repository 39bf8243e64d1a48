"""Run inside a guarded host: start each domain XML of a JSON list, paused.

stdin: [[name, domain XML], ...]; stdout: {name: [libvirt's error or null, what the guard would say
of the guest that runs now, if it arrived here by migration: codes]}.
"""

import contextlib
import json
import sys
import time

import libvirt

from guardd import files
from guardd.cpu import CPUMap
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.stamp import NAMESPACE
from guardd.judge import judge
from guardd.judge.finding import CheckRequest, Operation
from guardd.judge.policy import Policy
from guardd.probe.cpu_map import read_cpu_map

STAMP_SECONDS = 2.0  # a guest that cannot be stamped is taken as it is


class Host:
    """What is needed of this host for all guests."""

    def __init__(self) -> None:
        self.connection = libvirt.open("qemu:///system")
        self.cpu_map: CPUMap = read_cpu_map()
        self.snapshot: HostSnapshot | None = files.kept_snapshot()

    def start(self, name: str, xml: str) -> tuple[str | None, list[str]]:
        try:
            domain = self.connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED)
        except libvirt.libvirtError as exc:
            return str(exc), []
        with contextlib.suppress(libvirt.libvirtError):  # QEMU may have been quicker to end
            in_force = _stamped_xml(domain)
            domain.destroy()
            return None, self.codes(name, in_force)
        return None, []

    def codes(self, name: str, xml: str) -> list[str]:
        request = CheckRequest(domain=name, operation=Operation.MIGRATE, xml=xml)
        verdict = judge(request, self.snapshot, Policy(), self.cpu_map)
        return [f"{finding.code}:{finding.subject}" for finding in verdict.findings]


def _stamped_xml(domain: libvirt.virDomain) -> str:
    """Give the XML of a running guest, with the stamp that the daemon gives it a moment later."""
    deadline = time.monotonic() + STAMP_SECONDS
    while NAMESPACE not in (text := str(domain.XMLDesc())) and time.monotonic() < deadline:
        time.sleep(0.01)
    return text


def main() -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)
    host = Host()
    json.dump({name: host.start(name, xml) for name, xml in json.load(sys.stdin)}, sys.stdout)


main()
