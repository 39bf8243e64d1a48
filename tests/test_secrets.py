"""A domain XML holds passwords when a guest arrives: only what a verdict needs is ever said."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardd import files, render, wire
from guardd.cpu import CPUMap
from guardd.judge import judge
from guardd.judge.finding import CheckRequest, Decision, Operation
from guardd.judge.policy import Policy
from guardd.probe.fingerprint import read_fingerprint
from tests.recordings import ROOT, recorded_host
from tests.test_daemon import NOBODY_THERE, Place, until

CANARY = "Canary"
HOST = recorded_host("epyc-libvirt9")
# each number stands in a place of its own, so that what is found says where it came from
DOMAIN = """\
<domain type='kvm' id='1' canary='Canary01' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web1</name>
  <uuid>6a7d4d3f-6caa-4c6e-8bd9-655b84bd0ab6</uuid>
  <title>Canary02</title>
  <description>Canary03 &amp; &lt;Canary04&gt;</description>
  <metadata><a:b xmlns:a='urn:Canary05' a:c='Canary06'>Canary07</a:b></metadata>
  <memory unit='KiB' canary='Canary08'>1048576</memory>
  <sysinfo type='smbios'><oemStrings><entry>Canary09</entry></oemStrings></sysinfo>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <kernel>/Canary10</kernel>
    <cmdline>password=Canary11 "'</cmdline>
    <nvram template='Canary12'>Canary13</nvram>
  </os>
  <!-- Canary14 --><?pi Canary15?>
  <cpu mode='custom' match='exact' check='partial'>
    <model fallback='forbid'>Skylake-Server</model>
    <numa><cell id='0' cpus='0' memory='1' unit='KiB' canary='Canary16'/></numa>
  </cpu>
  <clock offset='utc'><timer name='rtc' canary='Canary17'/></clock>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='network'><auth username='Canary18'><secret type='ceph' usage='Canary19'/></auth>
      <source protocol='rbd' name='Canary20'><cookies><cookie name='a'>Canary21</cookie></cookies>
      </source></disk>
    <interface type='ethernet'><mac address='Canary22'/></interface>
    <graphics type='vnc' passwd='Canary23' keymap="Canary24"><![CDATA[Canary25]]></graphics>
  </devices>
  <seclabel><label>Canary26</label></seclabel>
  <launchSecurity type='sev'><session>Canary27</session></launchSecurity>
  <qemu:commandline><qemu:env name='TOKEN' value='Canary28'/></qemu:commandline>
</domain>
"""


def broken() -> Iterator[str]:
    """Break the document at each secret, in ways that make libxml2 stumble over it."""
    places = [at for at in range(len(DOMAIN)) if DOMAIN.startswith(CANARY, at)]
    assert len(places) == 28
    for at in places:
        end, middle = at + len(CANARY) + 2, at + 3
        for where in (at - 1, at, middle, end, end + 1):
            yield DOMAIN[:where]
            yield DOMAIN[:where] + DOMAIN[where + 1 :]
            for stumbling in (
                "&",
                "<",
                ">",
                "'",
                '"',
                "='",
                "' ",
                ":",
                "\0",
                "\x1b",
                "\udcff",
                "]]>",
            ):
                yield DOMAIN[:where] + stumbling + DOMAIN[where:]
        yield DOMAIN[:at] + "' " + DOMAIN[at:end] + "='1' " + DOMAIN[at:end] + "='" + DOMAIN[end:]
        yield DOMAIN[:at] + f"&{DOMAIN[at:end]};" + DOMAIN[end:]
        yield DOMAIN[:at] + f"</{DOMAIN[at:end]}>" + DOMAIN[end:]
        yield DOMAIN[:at] + f"<{DOMAIN[at:end]}:x/>" + DOMAIN[end:]
        yield f"<!DOCTYPE d [<!ENTITY {DOMAIN[at:end]} '{DOMAIN[at:end]}'>]>{DOMAIN}"


def said_of(xml: str, operation: Operation, cpu_map: CPUMap) -> tuple[str, str]:
    """Give the decision, and all that is said of it to whomever."""
    request = CheckRequest(domain="web1", operation=operation, xml=xml)
    verdict = judge(request, HOST, Policy(), cpu_map)
    document = json.dumps(wire.verdict_to_dict(verdict))
    fields = json.dumps(dict(render.journal_fields(verdict, 1)))
    return verdict.decision, "\n".join(
        [document, fields, render.hook_line(verdict), render.report(verdict)]
    )


@pytest.mark.parametrize("operation", [Operation.PREPARE, Operation.MIGRATE])
def test_what_a_verdict_says(operation: Operation, cpu_map: CPUMap) -> None:
    """Of a document that is good, and of those that are broken in all kinds of ways."""
    decisions = set()
    for xml in [DOMAIN, *broken()]:
        decision, said = said_of(xml, operation, cpu_map)
        decisions.add(decision)
        assert CANARY.lower() not in said.lower(), xml

    good = Decision.DENY if operation is Operation.PREPARE else Decision.ALLOW
    assert {good, Decision.CANNOT_TELL} == decisions


def test_what_the_daemon_leaves(tmp_path: Path) -> None:
    """Neither on disk, nor in its output, its status, its numbers, nor in an answer."""
    place = Place(tmp_path)
    place.state.mkdir()
    files.keep_snapshot(HOST, place.state)
    texts = [DOMAIN, *list(broken())[::40]]
    with place.running(NOBODY_THERE) as daemon:
        until(lambda: daemon.status()["problems"])
        operations = ("migrate", "restore", "prepare")
        said = [json.dumps(daemon.check(x, operation=op)) for x in texts for op in operations]
        said += [json.dumps(daemon.status())]
    said += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]

    assert len(said) > len(texts) * 3 + 3
    assert [] == [text for text in said if CANARY.lower() in text.lower()]


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_what_the_command_says(words: list[str], tmp_path: Path) -> None:
    """Good or broken, on stdout and on stderr."""
    state, file = tmp_path / "state", tmp_path / "web1.xml"
    state.mkdir()
    emulators = [hypervisor.emulator for hypervisor in HOST.hypervisors]
    files.keep_snapshot(HOST._replace(fingerprint=read_fingerprint(emulators)), state)
    stumbling = DOMAIN.replace("'Canary23'", "'a'Canary23='b' Canary23='c'")
    for xml, status in ((DOMAIN.replace(" id='1'", ""), 1), (stumbling, 3)):
        file.write_text(xml)
        command = [sys.executable, "-m", "guardd.ctl", "check", str(file), *words]
        done = subprocess.run(
            [*command, "--state", str(state), "--config", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        assert status == done.returncode, done.stderr
        assert CANARY.encode() not in done.stdout + done.stderr
