"""cpu-guardctl models: virsh cpu-models, without libvirtd."""

from __future__ import annotations

import click

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch
from guardd.ctl.common import (
    choice,
    cpu_map_option,
    json_option,
    own_arch,
    print_json,
    shown_errors,
)


@click.command()
@click.argument("arch", required=False, type=choice(Arch), metavar="[ARCH]")
@cpu_map_option
@json_option
@shown_errors
def models(arch: str | None, cpu_map: CPUMap, *, as_json: bool) -> None:
    """List the CPU models of ARCH, or of this machine's, as virsh cpu-models does.

    Exit status: 0 done, 3 the CPU map has none for it, or cannot be read.
    """
    family = own_arch() if arch is None else Arch(arch)
    names = cpu.models(cpu_map, family)
    if as_json:
        print_json({"arch": family, "models": names})
        return
    for name in names:
        click.echo(name)
    if not names:
        click.echo("all CPU models are accepted", err=True)
