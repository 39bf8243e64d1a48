"""cpu-guardctl host: what this host and its hypervisors can give."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from guardd.cpu import CPUMap
from guardd.cpu.xml import format_cpu
from guardd.ctl.common import (
    Exit,
    arch_option,
    cpu_map_option,
    json_option,
    print_json,
    shown_errors,
    state_option,
)
from guardd.ctl.cpufile import print_cpu
from guardd.ctl.hardware import hardware_lines, hardware_to_dict
from guardd.ctl.known import host_snapshot
from guardd.errors import LibvirtFailed
from guardd.facts.domcaps import Hypervisor, Usable
from guardd.facts.snapshot import HostSnapshot, snapshot_to_json
from guardd.probe.hardware import Hardware, read_hardware

_HARDWARE, _HYPERVISOR = "hardware", "hypervisor"


@click.command()
@click.option("--hardware", "view", flag_value=_HARDWARE, help="Read the processors themselves.")
@click.option(
    "--hypervisor", "view", flag_value=_HYPERVISOR, help="Print what a guest's host-model is here."
)
@click.option("--virttype", metavar="TYPE", help="Show hypervisors of this type, as kvm, only.")
@click.option("--xml", "as_xml", is_flag=True, help="Print the host's CPU as XML, for compare.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default="/",
    help="With --hardware: the folder that /proc, /sys and /dev are in.",
)
@arch_option
@state_option
@cpu_map_option
@json_option
@shown_errors
def host(  # noqa: PLR0913 (its options)
    view: str | None,
    virttype: str | None,
    root: Path,
    arch: str | None,
    state: Path,
    cpu_map: CPUMap,
    *,
    as_xml: bool,
    as_json: bool,
) -> None:
    """Show this host's CPU and what each hypervisor here can give a guest.

    It is what libvirt says; with --hardware what the processors say, without libvirt. What
    --xml and --hypervisor print can be given to compare and baseline.

    Exit status: 0 done, 3 it is not known.
    """
    if view == _HARDWARE:
        hardware = read_hardware(cpu_map, root, machine=arch)
        _show_hardware(hardware, as_xml=as_xml, as_json=as_json)
        return
    snapshot = host_snapshot(state)
    shown = [h for h in snapshot.hypervisors if virttype in (None, h.virt_type)]
    if view == _HYPERVISOR:
        _show_hypervisors(shown, as_json=as_json)
    elif as_json:
        print_json(json.loads(snapshot_to_json(snapshot)))
    elif as_xml:
        if snapshot.host_cpu is None:
            raise LibvirtFailed("libvirt could not name this host's CPU")
        click.echo(format_cpu(snapshot.host_cpu))
    else:
        _show_snapshot(snapshot, shown)


def _show_hardware(hardware: Hardware, *, as_xml: bool, as_json: bool) -> None:
    if as_json:
        print_json(hardware_to_dict(hardware), "host-hardware")
    elif not as_xml:
        click.echo("\n".join(hardware_lines(hardware)))
    elif hardware.cpu is not None:
        print_cpu(hardware.cpu, as_json=False)
    for note in hardware.notes:
        click.echo(f"note: {note}", err=True)
    if hardware.cpu is None:
        sys.exit(Exit.CANNOT_TELL)


def _show_hypervisors(shown: Sequence[Hypervisor], *, as_json: bool) -> None:
    """Print each host-model CPU, its hypervisor in a comment above it."""
    found = [(h, h.host_model) for h in shown if h.host_model is not None]
    if as_json:
        listed = [
            {
                "virt_type": hypervisor.virt_type,
                "arch": hypervisor.arch,
                "machine": hypervisor.machine,
                "emulator": hypervisor.emulator,
                "xml": format_cpu(host_model),
            }
            for hypervisor, host_model in found
        ]
        print_json({"hypervisors": listed}, "host-hypervisor")
    elif not found:
        raise LibvirtFailed("libvirt tells no host-model CPU of such a hypervisor")
    else:
        for hypervisor, host_model in found:
            name = " ".join(word or "" for word in hypervisor.key).replace("--", "- -")
            click.echo(f"<!-- {name} -->\n{format_cpu(host_model)}")


def _show_snapshot(snapshot: HostSnapshot, shown: Sequence[Hypervisor]) -> None:
    model = snapshot.host_cpu.model if snapshot.host_cpu else "unknown"
    vendor = (snapshot.host_cpu and snapshot.host_cpu.vendor) or "unknown"
    click.echo(f"Host:      {snapshot.hostname}, {snapshot.arch}")
    click.echo(f"CPU:       {model}, vendor {vendor}")
    click.echo(f"libvirt:   {snapshot.libvirt}")
    click.echo(f"Known by:  {snapshot.origin} snapshot of {snapshot.taken}")
    table = Table(box=None, pad_edge=False)
    for title in ("Type", "Arch", "Machine", "host-model", "Usable", "Emulator"):
        table.add_column(title, overflow="fold")
    for hypervisor in shown:
        table.add_row(*_row(hypervisor))
    Console().print(table)


def _row(hypervisor: Hypervisor) -> list[str]:
    models = hypervisor.models.values()
    usable = sum(model.usable is Usable.YES for model in models)
    host_model = hypervisor.host_model
    return [
        hypervisor.virt_type,
        hypervisor.arch,
        hypervisor.machine,
        "-" if host_model is None else host_model.model or "-",
        f"{usable} of {len(models)}",
        hypervisor.emulator,
    ]
