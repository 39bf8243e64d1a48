"""Run inside a guarded host: start each domain XML of a JSON list, paused.

stdin: [[name, domain XML], ...]; stdout: {name: [libvirt's error or null, what the guard would say
of the guest that runs now, if it arrived here by migration: codes]}.
"""

import contextlib
import json
import sys

import libvirt

from guardd import files
from guardd.cpu import CPUMap
from guardd.facts.snapshot import HostSnapshot
from guardd.judge import judge
from guardd.judge.finding import CheckRequest, Operation
from guardd.judge.policy import Policy
from guardd.probe.cpu_map import read_cpu_map


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
            in_force = domain.XMLDesc()
            domain.destroy()
            return None, self.codes(name, in_force)
        return None, []

    def codes(self, name: str, xml: str) -> list[str]:
        request = CheckRequest(domain=name, operation=Operation.MIGRATE, xml=xml)
        verdict = judge(request, self.snapshot, Policy(), self.cpu_map)
        return [f"{finding.code}:{finding.subject}" for finding in verdict.findings]


def main() -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)
    host = Host()
    json.dump({name: host.start(name, xml) for name, xml in json.load(sys.stdin)}, sys.stdout)


main()
