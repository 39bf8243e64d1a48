"""Shows cpu-guardd at work on two real hosts: python3 -m tests.lab.demo, as root."""

import sys
import time

from tests.lab import guard, hosts
from tests.lab.guests import domain_xml
from tests.lab.host import HOSTS, Host

BOLD, PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")

FITS = "<cpu mode='custom' match='exact' check='none'><model>Nehalem</model></cpu>"
DOES_NOT = "<cpu mode='custom' match='exact' check='partial'><model>Skylake-Server</model></cpu>"
CEILING = '[ceiling]\nx86_64 = "Penryn"\n'


def say(text: str) -> None:
    print(f"\n{BOLD}# {text}{PLAIN}", flush=True)


def show(host: Host, command: str) -> None:
    """Run *command* in a shell on *host*, with all that it prints."""
    print(f"{BOLD}{host.name}#{PLAIN} {command}", flush=True)
    done = host.shell(f"{command} 2>&1", check=False)
    print(done.stdout.rstrip() or "(no output)", flush=True)


def main() -> None:
    begun = time.monotonic()
    reason = hosts.obstacle()
    if reason is not None:
        sys.exit(f"demo: {reason}")
    say("Two hosts: containers with their own systemd, journald, libvirtd and QEMU")
    hosts.up()
    source, destination = HOSTS["hosta"], HOSTS["hostb"]
    say("cpu-guardd from its Debian package, on both")
    package = guard.build_package()
    for host in (source, destination):
        host.reset()
        guard.install(host, package)
    for name, cpu in (("web1", FITS), ("web2", DOES_NOT)):
        source.virsh("define", "/dev/stdin", stdin=domain_xml(name, cpu=cpu))
    show(source, "cpu-guardctl status")

    say("A guest that fits starts")
    show(source, "virsh start web1")
    say("A guest that this host cannot honour does not, and the person at virsh reads why")
    show(source, "virsh start web2")
    say("The journal explains it at length")
    show(source, "journalctl --sync; journalctl -q -x -n 1 GUARDD_DOMAIN=web2")
    show(source, "cpu-guardctl explain web2")

    say("The other host may give no more than a Penryn: the live migration is refused there")
    guard.configure(destination, CEILING)
    show(source, "virsh migrate --live web1 qemu+tcp://hostb/system")
    say("The guest runs on where it was, the other host is clean")
    show(source, "virsh list --all")
    show(destination, "virsh list --all")
    show(destination, "journalctl --sync; journalctl -o cat -n 2 GUARDD_DOMAIN=web1")
    say("Without that ceiling it goes through")
    guard.configure(destination, "")
    show(source, "virsh migrate --live web1 qemu+tcp://hostb/system")
    show(destination, "virsh list --all")

    for host in (source, destination):
        host.reset()
    say(f"Done in {time.monotonic() - begun:.0f} s. The hosts stay up, and can be looked at:")
    print("python3 tests/lab/lab.py sh hosta virsh list --all")
    print("python3 tests/lab/lab.py down")


if __name__ == "__main__":
    main()
