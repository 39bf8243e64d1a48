"""cpu-guardctl host: what this host and its hypervisors can give."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from guardd.cpu.xml import format_cpu
from guardd.ctl.common import json_option, print_json, shown_errors
from guardd.ctl.known import host_snapshot
from guardd.facts.domcaps import Hypervisor, Usable
from guardd.facts.snapshot import snapshot_to_json


@click.command()
@click.option("--xml", "as_xml", is_flag=True, help="Print the host's CPU as XML, for compare.")
@json_option
@shown_errors
def host(*, as_xml: bool, as_json: bool) -> None:
    """Show this host's CPU and what each hypervisor here can give a guest."""
    snapshot = host_snapshot()
    if as_json:
        print_json(json.loads(snapshot_to_json(snapshot)))
        return
    if as_xml:
        click.echo("" if snapshot.host_cpu is None else format_cpu(snapshot.host_cpu))
        return
    model = snapshot.host_cpu.model if snapshot.host_cpu else "unknown"
    vendor = (snapshot.host_cpu and snapshot.host_cpu.vendor) or "unknown"
    click.echo(f"Host:      {snapshot.hostname}, {snapshot.arch}")
    click.echo(f"CPU:       {model}, vendor {vendor}")
    click.echo(f"libvirt:   {snapshot.libvirt}")
    click.echo(f"Known by:  {snapshot.origin} snapshot of {snapshot.taken}")
    table = Table(box=None, pad_edge=False)
    for title in ("Type", "Arch", "Machine", "host-model", "Usable", "Emulator"):
        table.add_column(title, overflow="fold")
    for hypervisor in snapshot.hypervisors:
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
