#!/usr/bin/python3
"""A lab of four libvirt hosts on one machine, for cpu-guardd's tests.

Each host is a container with its own systemd, journal, libvirtd and QEMU (x86 and PowerPC):

  hosta, hostb   Debian 12 (bookworm): libvirt 9.0, QEMU 7.2     10.77.0.1, 10.77.0.2
  hostc, hostd   Debian 13 (trixie): libvirt 11.3, QEMU 10       10.77.0.3, 10.77.0.4

They share one private wire with no way out; guests migrate to qemu+tcp://HOST/system.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

# Run as a plain script, Python looks for modules beside this file, not in the checkout.
sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.lab import containers, hosts  # noqa: E402
from tests.lab.host import HOSTS, push_all  # noqa: E402
from tests.lab.process import LabError  # noqa: E402

_EPILOG = """\
The hosts' state is kept in /var/tmp/cpu-guardd-lab; set GUARDD_LAB_STATE for another folder.
The first `up` builds one base a release (about a minute, needs apt and its mirror); what a host
changes goes to an overlay of its own, which lasts until `up --fresh` or `down --purge`.

  lab.py up && lab.py sh hosta virsh list --all
  lab.py push hosta hooks/qemu /etc/libvirt/hooks/qemu
  lab.py sh hosta 'systemctl reload libvirtd && journalctl -b -u libvirtd | tail'
"""


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="lab.py", description=__doc__, epilog=_EPILOG, formatter_class=raw
    )
    commands = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)

    up = commands.add_parser("up", help="bring the hosts up, building their bases if need be")
    up.add_argument("hosts", nargs="*", metavar="HOST", help="only these (default: all four)")
    up.add_argument("--fresh", action="store_true", help="forget what the hosts' overlays hold")

    down = commands.add_parser("down", help="halt all hosts and take the wire down")
    down.add_argument("--purge", action="store_true", help="drop the overlays too, not the bases")

    sh = commands.add_parser(
        "sh",
        help="run a command inside a host",
        description="Run a command inside HOST. Its input, output and exit status pass through.",
    )
    sh.add_argument("host", choices=HOSTS, metavar="HOST")
    sh.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="CMD [ARG...]",
        help="one word is a script for bash -c, more are a command and its arguments",
    )

    push = commands.add_parser(
        "push",
        help="copy files or folders into a host",
        description="Copy SRC to the name DST inside HOST; several SRC, or one if DST ends in /, "
        "into the folder DST. Modes are kept; files are renamed into place.",
    )
    push.add_argument("host", choices=HOSTS, metavar="HOST")
    push.add_argument("sources", nargs="+", type=Path, metavar="SRC")
    push.add_argument("destination", metavar="DST")

    commands.add_parser("status", help="show what runs, and the bases")
    return parser


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    match args.verb:
        case "up":
            unknown = [name for name in args.hosts if name not in HOSTS]
            if unknown:
                parser.error(f"no such host: {', '.join(unknown)} (hosts: {', '.join(HOSTS)})")
            names = args.hosts or HOSTS
            hosts.up([host for host in HOSTS.values() if host.name in names], fresh=args.fresh)
        case "down":
            hosts.down(purge=args.purge)
        case "sh":
            if not args.command:
                parser.error("sh needs a command")
            script = ["bash", "-c"] if len(args.command) == 1 else []
            command = containers.entering(HOSTS[args.host], [*script, *args.command])
            os.execvp(command[0], command)
        case "push":
            _push(args.host, args.sources, args.destination)
        case "status":
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `status | head` ends in silence
            print("\n".join(hosts.status()))
    return 0


def _push(name: str, sources: Sequence[Path], destination: str) -> None:
    for source in sources:
        if not source.exists():
            raise LabError(f"{source}: no such file or folder")
    if len(sources) == 1:
        HOSTS[name].push(sources[0], destination)
    else:
        push_all(HOSTS[name], sources, destination)


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    try:
        return _run(parser, parser.parse_args(argv))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
