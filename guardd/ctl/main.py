"""The command line's entry point."""

from __future__ import annotations

import sys

import click

from guardd import __version__
from guardd.ctl.baseline import baseline
from guardd.ctl.check import check
from guardd.ctl.compare import compare
from guardd.ctl.decode import decode
from guardd.ctl.doctor.command import doctor
from guardd.ctl.drift import drift
from guardd.ctl.events import events
from guardd.ctl.explain import explain
from guardd.ctl.fix import fix
from guardd.ctl.guests import guests
from guardd.ctl.hook import hook
from guardd.ctl.host import host
from guardd.ctl.metrics import metrics
from guardd.ctl.models import models
from guardd.ctl.preflight import preflight
from guardd.ctl.replay import replay
from guardd.ctl.report import report
from guardd.ctl.status import status
from guardd.ctl.terminal import guard
from guardd.ctl.update import update

COMMANDS = (
    baseline,
    check,
    compare,
    decode,
    doctor,
    drift,
    events,
    explain,
    fix,
    guests,
    hook,
    host,
    metrics,
    models,
    preflight,
    replay,
    report,
    status,
    update,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="cpu-guardctl %(version)s")
def main() -> None:
    """Ask cpu-guardd's questions by hand.

    Can a guest's CPU be honoured here, and if not, why?

    Exit status: 0 compatible, 1 incompatible, 2 usage, 3 cannot tell, 69 no daemon.
    """
    sys.stdout, sys.stderr = guard(sys.stdout), guard(sys.stderr)


for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main()
