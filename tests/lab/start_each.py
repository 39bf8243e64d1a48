"""Run inside a host: start each domain XML of a JSON list, paused, and say what libvirt said.

stdin: [[name, domain XML], ...]; stdout: {name: libvirt's error or null}.
"""

import contextlib
import json
import sys

import libvirt


def outcome(connection: libvirt.virConnect, xml: str) -> str | None:
    try:
        domain = connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED)
    except libvirt.libvirtError as exc:
        return str(exc)
    with contextlib.suppress(libvirt.libvirtError):  # QEMU may have been quicker to end
        domain.destroy()
    return None


def main() -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open("qemu:///system")
    json.dump({name: outcome(connection, xml) for name, xml in json.load(sys.stdin)}, sys.stdout)


main()
