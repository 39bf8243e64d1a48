"""A host loses a CPU feature to an update; the journal and cpu-guardctl name whom it matters to.

The update is simulated by its past: the daemon finds a kept snapshot of a host with other microcode
and one feature more than QEMU here really gives, as if that had been taken away while it was off.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from guardd.facts.stamp import NAMESPACE, PREFIX
from tests.lab import guard
from tests.lab.guests import domain_xml
from tests.lab.host import Host

DRIFT = "694dfac3f45c418eb4e1c8e046aa9273"
LOST = "avx512f"  # no TCG of the lab has it
KEPT = "/var/lib/cpu-guardd/snapshot.json"
NEHALEM = "<cpu mode='custom' match='exact' check='none'><model>Nehalem</model></cpu>"
MAXIMUM = "<cpu mode='maximum'/>"
DISK = (
    "<disk type='file'><driver name='qemu' type='qcow2'/><source file='{}'/>"
    "<target dev='vda'/></disk>"
)

# what the host would have kept before its update
DOCTOR = """
import sys
from types import MappingProxyType
from guardd import files
from guardd.cpu.definition import FeaturePolicy

def richer(hypervisor):
    known = hypervisor.host_model
    if known is None or hypervisor.arch != "x86_64":
        return hypervisor
    features = {**known.features, sys.argv[1]: FeaturePolicy.REQUIRE}
    model = known._replace(features=MappingProxyType(features))
    return hypervisor._replace(host_model=model)

now = files.kept_snapshot()
files.keep_snapshot(now._replace(
    taken="2026-01-01T00:00:00Z",
    hypervisors=tuple(map(richer, now.hypervisors)),
    fingerprint=MappingProxyType({**now.fingerprint, "microcode": "0x1"}),
))
"""
# the stamp of a guest that has booted on the host that is kept
STAMP = """
import sys
from guardd import files
from guardd.facts.domain import parse_domain
from guardd.facts.stamp import format_stamp
from guardd.judge.birth import birth_record
from guardd.probe.cpu_map import read_cpu_map

guest = parse_domain(sys.stdin.buffer.read())
now = "2026-01-01T00:00:00Z"
print(format_stamp(birth_record(guest, files.kept_snapshot(), read_cpu_map(), taken=now)))
"""


def requiring(feature: str, model: str = "Nehalem") -> str:
    """Write a <cpu> that cannot do without *feature*."""
    return (
        f"<cpu mode='custom' match='exact' check='partial'><model>{model}</model>"
        f"<feature policy='require' name='{feature}'/></cpu>"
    )


def python(host: Host, program: str, *words: str, stdin: str = "") -> str:
    """Run a program with the host's own guardd."""
    return host.run("python3", "-c", program, *words, stdin=stdin).stdout.strip()


def define(host: Host, name: str, cpu: str, disk: str = "") -> None:
    xml = domain_xml(name, cpu=cpu)
    if disk:
        host.run("qemu-img", "create", "-q", "-f", "qcow2", disk, "1M")
        xml = xml.replace("</emulator>", "</emulator>" + DISK.format(disk))
    host.virsh("define", "/dev/stdin", stdin=xml)


def boot(host: Host, name: str) -> None:
    """Start a guest, and give it the stamp of a boot on the host as it is kept."""
    host.virsh("start", name)
    stamp = python(host, STAMP, stdin=host.virsh("dumpxml", name).stdout)
    host.virsh(*("metadata", name, "--live", "--uri", NAMESPACE, "--key", PREFIX, "--set", stamp))


def ask(host: Host, *words: str) -> tuple[int, Any]:
    """Run cpu-guardctl; give its exit status and its JSON."""
    done = host.run("cpu-guardctl", *words, "--json", check=False)
    return done.code, json.loads(done.stdout)


def affected(document: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    """Give name, state and first finding of each guest's state that is affected."""
    return {
        (
            guest["name"],
            f"{guest['state']} {guest['snapshot']}".strip(),
            "{code}:{subject}".format(**guest["verdict"]["findings"][0]),
        )
        for guest in document["guests"]
        if guest["effect"] == "affected"
    }


def drift_records(host: Host, since: str) -> list[guard.Record]:
    return host.journal(f"MESSAGE_ID={DRIFT}", since_cursor=since)


def start_daemon(host: Host) -> None:
    host.shell("systemctl reset-failed 'cpu-guardd*' || true")
    host.run("systemctl", "start", "cpu-guardd.socket", "cpu-guardd.service")


def read_anew(host: Host, *command: str) -> None:
    """Run *command*, and wait until the daemon has read the host since."""
    before = taken(host)
    host.wait_until(lambda: host.shell("date -u +%FT%TZ").stdout.strip() > before)
    host.run(*command)
    host.wait_until(lambda: taken(host) > before, timeout=60)


def taken(host: Host) -> str:
    """Tell when the host was read, "" while the daemon starts."""
    done = host.run("cpu-guardctl", "status", "--json", check=False)
    return str(json.loads(done.stdout)["snapshot_taken"]) if done.code == 0 else ""


def stop_daemon(host: Host) -> None:
    host.run("systemctl", "stop", "cpu-guardd.socket", "cpu-guardd.service")


@pytest.fixture
def updated(unguarded_after: Host) -> tuple[Host, str]:
    """Give a host that has just lost LOST, with guests, and the journal's end before that."""
    host = unguarded_after
    define(host, "poor", NEHALEM)
    define(host, "rich", requiring(LOST))
    define(host, "runs", MAXIMUM)
    define(host, "saved", MAXIMUM)
    define(host, "snapped", MAXIMUM, disk="/root/snapped.qcow2")
    machine = "pc-q35-7.2"
    host.wait_until(
        f"cpu-guardctl status --json | jq -e '.hypervisors | any(contains(\"{machine}\"))'"
    )
    stop_daemon(host)
    python(host, DOCTOR, LOST)
    host.virsh("start", "poor")
    for name in ("runs", "saved", "snapped"):
        boot(host, name)
    host.virsh("managedsave", "saved")
    host.virsh("snapshot-create-as", "snapped", "s1")
    host.virsh("destroy", "snapped")
    before = host.cursor()
    start_daemon(host)
    host.wait_until(lambda: bool(drift_records(host, before)), timeout=60)
    return host, before


# of a snapshot, and of what has a stamp, libvirt's XML tells it all
EXPECTED = {
    ("rich", "defined", f"missing-feature:{LOST}"),
    ("runs", "running", f"lost-feature:{LOST}"),
    ("saved", "saved", f"lost-feature:{LOST}"),
    ("snapped", "snapshot s1", f"lost-feature:{LOST}"),
}


def test_drift_names_the_right_guests(updated: tuple[Host, str]) -> None:
    """In the journal, a record for each, and by cpu-guardctl: who needs what was lost, no other."""
    host, before = updated
    names = {name for name, _, _ in EXPECTED}
    host.wait_until(lambda: len(drift_records(host, before)) > len(names), timeout=30)
    summary, *guests = drift_records(host, before)

    assert f"lost {LOST}" in summary["MESSAGE"]
    assert "microcode " in summary["MESSAGE"]
    assert "(was 0x1)" in summary["MESSAGE"]
    assert f"{len(names)} guests would be refused for it" in summary["MESSAGE"]
    assert summary["PRIORITY"] == "4"
    assert names == {record["GUARDD_DOMAIN"] for record in guests}
    by_name = {record["GUARDD_DOMAIN"]: record for record in guests}
    for name, state, finding in EXPECTED:
        assert f"{name} ({state}) would now be refused: " in by_name[name]["MESSAGE"]
        assert finding in by_name[name]["GUARDD_FINDINGS"].split()
    assert "poor" not in summary["GUARDD_REPORT"]

    status, document = ask(host, "drift")
    assert (1, EXPECTED) == (status, affected(document))
    assert any(change["what"] == "microcode" for change in document["changes"])
    shown = host.run("cpu-guardctl", "drift", check=False).stdout
    assert f"  lost: {LOST}" in shown.splitlines()
    assert shown.splitlines()[-1] == "4 of 5 guests affected"


def test_the_hook_agrees(updated: tuple[Host, str]) -> None:
    """What drift says is what happens: the saved guest is refused, stays saved, and is not lost."""
    host, _ = updated
    refused = host.virsh("start", "saved", check=False)

    assert "cpu-guardd[lost-feature]: saved has seen avx512f" in refused.stderr
    assert "cpu-guardd[missing-feature]" in host.virsh("start", "rich", check=False).stderr
    assert "yes" in host.virsh("dominfo", "saved").stdout.partition("Managed save:")[2]
    assert guard.state(host, "runs") == "running"


def test_said_once(updated: tuple[Host, str]) -> None:
    """Neither a restart of the daemon nor one of libvirtd is another change."""
    host, _ = updated
    before = host.cursor()
    for unit in ("cpu-guardd", "libvirtd"):
        read_anew(host, "systemctl", "restart", unit)
    # chores follow a reading: those of the last one are done when there is another
    read_anew(host, "systemctl", "reload", "cpu-guardd")

    assert [] == drift_records(host, before)
    assert 1 == ask(host, "drift")[0]


def test_a_package_put_in_again(guarded_host: Host) -> None:
    """The emulator's file is another, what it gives is the same: said, and no warning."""
    host = guarded_host
    define(host, "poor", NEHALEM)
    before = host.cursor()
    host.run("touch", "/usr/bin/qemu-system-x86_64")
    host.wait_until(lambda: bool(drift_records(host, before)), timeout=60)

    [record] = drift_records(host, before)
    assert "/usr/bin/qemu-system-x86_64 changed: nothing lost, nothing gained" in record["MESSAGE"]
    assert record["PRIORITY"] == "6"
    assert 0 == ask(host, "drift")[0]


def test_preflight(guarded_mixed_pair: tuple[Host, Host], tmp_path: Path) -> None:
    """Each release's QEMU has what the other lacks: asked beforehand, both ways."""
    older, newer = guarded_mixed_pair
    of = {"pcommit": older, "sha-ni": newer}
    for feature, host in of.items():
        define(host, "poor", NEHALEM)
        define(host, "picky", requiring(feature))
    for feature, host in of.items():
        other = newer if host is older else older
        copied = tmp_path / "snapshot.json"
        copied.write_text(other.run("cat", KEPT).stdout)
        host.push(copied, "/root/")
        status, document = ask(host, "preflight", "--with", "/root/snapshot.json")

        expected = {("picky", "defined", f"missing-feature:{feature}")}
        assert (1, expected) == (status, affected(document))
        assert other.name == document["now"]["hostname"]
    assert 0 == ask(older, "preflight", "--with", KEPT)[0]


def test_replay(guarded_host: Host) -> None:
    """A past start that was only warned about, as a stricter mode would have it."""
    host = guarded_host
    begun = host.shell("date '+%Y-%m-%d %H:%M:%S'").stdout.strip()
    guard.configure(host, 'mode = "warn"\n')
    define(host, "replayed", requiring(LOST, "Nehalem").replace("partial", "full"))
    before = host.cursor()
    host.virsh("start", "replayed", check=False)
    host.wait_until(lambda: bool(guard.verdicts(host, before, "replayed")))

    status, document = ask(host, "replay", "--since", begun, "--mode", "enforce", "replayed")
    assert (1, 1) == (status, document["counts"]["changed"])
    [changed] = document["changed"]
    assert ("prepare", "warn", "deny") == (
        changed["operation"],
        changed["then"]["decision"],
        changed["now"]["decision"],
    )
    assert 0 == host.run("cpu-guardctl", "replay", "--since", begun, "replayed").code
