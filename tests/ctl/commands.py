"""Runs cpu-guardctl in this process, and writes the files that it reads."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from click.testing import CliRunner

from guardd import files
from guardd.ctl.main import main
from guardd.facts.capabilities import parse_capabilities
from guardd.facts.domcaps import parse_domcaps
from guardd.facts.snapshot import HostSnapshot
from guardd.probe.fingerprint import read_fingerprint
from tests.cpu.maps import FILES
from tests.ctl.schemas import validate

CAPABILITIES = """\
<?xml version='1.0' encoding='UTF-8'?>
<capabilities>
  <host>
    <cpu>
      <arch>{arch}</arch>
      {cpu}
      <topology sockets='1' dies='1' cores='4' threads='2'/>
      {features}
      <pages unit='KiB' size='4'/>
    </cpu>
  </host>
</capabilities>
"""

DOMCAPS = """\
<domainCapabilities>
  <path>/nowhere/qemu</path>
  <domain>{type}</domain>
  <machine>pc-1</machine>
  <arch>{arch}</arch>
  <cpu>
    <mode name='host-passthrough' supported='yes'/>
    <mode name='host-model' supported='yes'>
      {cpu}
    </mode>
    <mode name='custom' supported='yes'>
      {models}
    </mode>
  </cpu>
</domainCapabilities>
"""

DOMAIN = """\
<domain type='{type}'>
  <name>web1</name>
  <os><type arch='{arch}' machine='pc-1'>hvm</type></os>
  {cpu}
</domain>
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command ended with."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 (it is what the command printed)
        """Read stdout as JSON, hold it against its schema, and give it without that one's name."""
        document = json.loads(self.out)
        validate(document)
        return {key: value for key, value in document.items() if key != "schema"}


def subcommands(group: click.Group) -> dict[str, click.Command]:
    """Give the commands of *group* by name."""
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def run(*words: str | Path, stdin: str | bytes = b"") -> Done:
    """Run cpu-guardctl with *words*; anything but an exit is an error of the test."""
    # click before 8.2 mixes stdout and stderr unless it is told
    options: dict[str, Any] = {}
    if "mix_stderr" in inspect.signature(CliRunner).parameters:
        options = {"mix_stderr": False}
    runner = CliRunner(**options)
    done = runner.invoke(main, [str(word) for word in words], input=stdin, prog_name="cpu-guardctl")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def write_map(folder: Path, spoiled: Mapping[str, str] = MappingProxyType({})) -> Path:
    """Write the CPU map of the tests, some of its files replaced by *spoiled*; give its folder."""
    folder.mkdir()
    for name, text in {**FILES, **spoiled}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def capabilities(cpu: str, *features: str, arch: str = "x86_64") -> str:
    """Give a host's capabilities; *cpu* is a model, or XML."""
    text = cpu if "<" in cpu else f"<model>{cpu}</model>"
    listed = "".join(f"<feature name='{name}'/>" for name in features)
    return CAPABILITIES.format(arch=arch, cpu=text, features=listed)


def domcaps(cpu: str, *models: str, arch: str = "x86_64", virt_type: str = "kvm") -> str:
    """Give domain capabilities; *cpu* is what host-model is made of, *models* can all be used."""
    offered = "".join(f"<model usable='yes'>{name}</model>" for name in models)
    return DOMCAPS.format(type=virt_type, arch=arch, cpu=cpu, models=offered)


def domain(cpu: str, *, arch: str = "x86_64", virt_type: str = "kvm") -> str:
    """Give a domain named web1 with the <cpu> element *cpu*."""
    return DOMAIN.format(type=virt_type, arch=arch, cpu=cpu)


def write(path: Path, text: str) -> Path:
    """Write *text* and give *path*."""
    path.write_text(text, encoding="utf-8")
    return path


def keep_snapshot(folder: Path, host: str, *hypervisors: str) -> Path:
    """Keep the snapshot of a host as the daemon does; its documents as texts. Give the folder."""
    supported = parse_capabilities(host.partition("?>")[2])
    known = tuple(parse_domcaps(text) for text in hypervisors)
    folder.mkdir(exist_ok=True)
    snapshot = HostSnapshot(
        hostname="host1",
        taken="2026-11-22T21:00:00Z",
        libvirt="9.0.0",
        arch=supported.arch,
        host_cpu=supported.host_cpu,
        hypervisors=known,
        fingerprint=read_fingerprint(hypervisor.emulator for hypervisor in known),
    )
    files.keep_snapshot(snapshot, folder)
    return folder
