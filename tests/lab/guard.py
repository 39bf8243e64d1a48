"""cpu-guardd on a host of the lab: installed from its package, configured, and read back."""

import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from guardd import __version__
from tests.lab.host import Host

ROOT = Path(__file__).parents[2]
DROP_IN = "/etc/cpu-guardd/guardd.toml.d/50-lab.toml"
CONFIG_READ = "6a7d4d3f6caa4c6e8bd9655b84bd0ab6"
SNAPSHOT_TAKEN = "676cdf36c47e4895bc08149161f0bd5c"
UNAVAILABLE = "f23a40b8a40542eb86fb0952638f40d2"
HOOK = "/etc/libvirt/hooks/qemu"
NEXT = f"{__version__}.1"  # a version that comes after this one
UNITS = ("cpu-guardd.service", "cpu-guardd-metrics.service", "cpu-guardd-textfile.service")
# A system call that the filter does not let through ends the program: nothing gets by unseen. But
# set_mempolicy: libnuma, which comes with libvirt, tries it as it is loaded, and minds no refusal.
STRICT = "[Service]\nSystemCallErrorNumber=kill\nSystemCallFilter=set_mempolicy\n"
KILLED = "status=31/SYS"
# what it takes to stop journald: any of the sockets starts it
JOURNALD = (
    "systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket"
    " systemd-journald.service"
)

Record = dict[str, str]


def build_package() -> Path:
    """Build the Debian package from this checkout; give its path."""
    subprocess.run(["make", "-C", str(ROOT), "deb"], check=True, capture_output=True, timeout=600)
    return max((ROOT / "dist").glob("cpu-guardd_*.deb"), key=lambda path: path.stat().st_mtime)


@contextmanager
def other_package(revision: str | None = None) -> Iterator[Path]:
    """Build the package of an older *revision* of git's; without one, a next version of this tree.

    Debian's version tells the two apart; what is in them is the same then, but for the version.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack = ["tar", "-c", "--exclude-vcs", "--exclude=./dist", "--exclude=./.venv", "."]
        if revision is not None:
            pack = ["git", "archive", revision]
        tree = subprocess.run(pack, cwd=ROOT, check=True, capture_output=True, timeout=60)
        subprocess.run(["tar", "-x"], cwd=folder, input=tree.stdout, check=True, timeout=60)
        if revision is None:
            for path in ("guardd/__init__.py", "debian/changelog"):
                text = (folder / path).read_text(encoding="utf-8")
                (folder / path).write_text(text.replace(__version__, NEXT, 1), encoding="utf-8")
        subprocess.run(["make", "deb"], cwd=folder, check=True, capture_output=True, timeout=600)
        yield next((folder / "dist").glob("cpu-guardd_*.deb"))


def install(host: Host, package: Path) -> None:
    """Install *package* with what Debian's installer does, and wait until the host is known."""
    # a run that was cut short may have left the hook in its second place, where it would stay
    host.shell(f"rm -f /root/cpu-guardd_*.deb {HOOK}.d/50-cpu-guardd")
    for unit in UNITS:
        host.write(f"/etc/systemd/system/{unit}.d/strict.conf", STRICT)
    host.run("systemctl", "daemon-reload")
    host.push(package, "/root/")
    host.run("dpkg", "--install", f"/root/{package.name}", timeout=300)
    configure(host, "")
    is_known = '.libvirt_connected and .snapshot_taken != ""'
    host.wait_until(f"cpu-guardctl status --json | jq -e '{is_known}'")


def configure(host: Host, toml: str) -> None:
    """Put *toml* in force as a drop-in; the empty text brings the defaults back."""
    before = host.cursor()
    if toml:
        host.write(DROP_IN, toml)
    else:
        host.run("rm", "-f", DROP_IN)
    # tests start it more often than a crash loop may
    host.shell("systemctl reset-failed 'cpu-guardd*' || true")
    host.run("systemctl", "start", "cpu-guardd.socket", "cpu-guardd.service")
    host.run("systemctl", "reload", "cpu-guardd")
    host.wait_until(
        lambda: bool(host.journal(f"MESSAGE_ID={CONFIG_READ}", since_cursor=before)), timeout=20
    )


def verdicts(host: Host, since: str, guest: str | None = None) -> list[Record]:
    """Give the verdict records since the journal's cursor *since*, oldest first."""
    match = ["SYSLOG_IDENTIFIER=cpu-guardd"]
    if guest is not None:
        match.append(f"GUARDD_DOMAIN={guest}")
    records = host.journal(*match, since_cursor=since)
    return [record for record in records if "GUARDD_DECISION" in record]


def decisions(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Give (operation, decision) of each verdict record."""
    return [(record["GUARDD_OPERATION"], record["GUARDD_DECISION"]) for record in records]


def codes(record: Record) -> set[str]:
    """Give the codes of a verdict record's findings."""
    return {finding.partition(":")[0] for finding in record["GUARDD_FINDINGS"].split()}


def state(host: Host, guest: str) -> str:
    """Give virsh's word for the guest's state, "" where there is no such guest."""
    return host.virsh("domstate", guest, check=False).stdout.strip()


def qemu_pid(host: Host, guest: str) -> str:
    """Give the process id of the guest's QEMU; it stays the same for as long as it lives."""
    return host.run("cat", f"/run/libvirt/qemu/{guest}.pid").stdout.strip()
