"""Stamps of guests on a host of the lab: read, put there by hand, held against QEMU's own word."""

import json
from typing import Any

from guardd.facts.domain import parse_domain
from guardd.facts.stamp import NAMESPACE, PREFIX, Stamp, format_stamp
from tests.lab.host import Host

STAMPED = "49e852cc587542be8e6ce02de7fee60a"
LONG_AGO = "2026-01-01T00:00:00Z"


def stamp_of(host: Host, guest: str) -> Stamp | None:
    """Give the stamp of a guest that runs; one that is bad fails the test."""
    found = parse_domain(host.virsh("dumpxml", guest).stdout)
    assert found.stamp_problem == ""
    return found.stamp


def text_of(host: Host, guest: str) -> str:
    """Give the stamp as libvirt has it, "" for none."""
    return host.virsh("metadata", guest, NAMESPACE, check=False).stdout.strip()


def await_stamp(host: Host, guest: str) -> Stamp:
    """Wait for the stamp of a guest that has just started."""
    host.wait_until(lambda: bool(text_of(host, guest)))
    stamp = stamp_of(host, guest)
    assert stamp is not None
    return stamp


def put(host: Host, guest: str, text: str, *flags: str) -> None:
    """Write *text* where the stamp is."""
    place = ("--uri", NAMESPACE, "--key", PREFIX)
    host.virsh("metadata", guest, *(flags or ("--live",)), *place, "--set", text)


def make_old(host: Host, guest: str) -> Stamp:
    """Have the stamp of a running guest say that it was written long ago, to see it renewed."""
    old = await_stamp(host, guest)._replace(taken=LONG_AGO)
    put(host, guest, format_stamp(old))
    return old


def await_renewal(host: Host, guest: str) -> Stamp:
    """Wait until a stamp that was made old is new."""
    host.wait_until(lambda: LONG_AGO not in (text_of(host, guest) or LONG_AGO))
    return await_stamp(host, guest)


def records(host: Host, since: str, guest: str = "") -> list[dict[str, str]]:
    """Give what the journal says of stamps since the cursor *since*."""
    match = [f"MESSAGE_ID={STAMPED}", *([f"GUARDD_DOMAIN={guest}"] if guest else [])]
    return host.journal(*match, since_cursor=since)


def problems(host: Host) -> list[str]:
    """Give what `status` shows as problems."""
    status = json.loads(host.run("cpu-guardctl", "status", "--json").stdout)
    found: list[str] = status["problems"]
    return found


def really_on(host: Host, guest: str) -> set[str]:
    """Name what QEMU itself says is on in the CPU of a running guest, in QEMU's words."""
    path = _ask(host, guest, [("query-cpus-fast", {})])[0][0]["qom-path"]
    [listed] = _ask(host, guest, [("qom-list", {"path": path})])
    names = [each["name"] for each in listed if each["type"] == "bool"]
    # a few cannot be read: they have no "return"
    values = _ask(host, guest, [("qom-get", {"path": path, "property": name}) for name in names])
    return {name for name, value in zip(names, values, strict=True) if value is True}


def _ask(host: Host, guest: str, commands: list[tuple[str, dict[str, str]]]) -> list[Any]:
    """Ask the guest's QEMU; all commands in one virsh, as each virsh takes its time."""
    lines = [
        f"qemu-monitor-command {guest} '{json.dumps({'execute': word, 'arguments': arguments})}'"
        for word, arguments in commands
    ]
    answers = host.virsh(stdin="\n".join(lines) + "\n").stdout.splitlines()
    return [json.loads(line).get("return") for line in answers if line.startswith('{"')]
