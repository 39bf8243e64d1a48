"""Who may ask the daemon what, by systemd's own varlinkctl; and how it is locked in."""

import json
import re
from collections.abc import Iterator, Mapping

import pytest

from tests.lab import guard
from tests.lab.guests import domain_xml
from tests.lab.host import Host
from tests.lab.process import Completed
from tests.test_secrets import CANARY, DOMAIN, broken

SOCKET = "/run/cpu-guardd/guard.sock"
INTERFACE = "io.cpuguardd.Guard"
CHECK = json.dumps({"domain": "by-hand", "operation": "prepare", "xml": "<domain/>"})
MEMBER = "lab-member"
MAX_EXPOSURE = 1.5
FITS = "<cpu mode='custom' match='exact' check='none'><model>Nehalem</model></cpu>"


@pytest.fixture
def trixie(guarded: Mapping[str, Host]) -> Iterator[Host]:
    """A host with varlinkctl, and a member of group libvirt on it."""
    host = guarded["hostc"]
    host.shell(f"id {MEMBER} >/dev/null 2>&1 || useradd --groups libvirt {MEMBER}")
    yield host
    host.run("userdel", MEMBER)


def call(host: Host, user: str, method: str, parameters: str) -> Completed:
    command = ["varlinkctl", "call", "--json=short", SOCKET, f"{INTERFACE}.{method}", parameters]
    return host.run("runuser", "-u", user, "--", *command, check=False)


def test_introspection(trixie: Host) -> None:
    """A client that knows nothing of cpu-guardd finds its methods."""
    shown = trixie.run("varlinkctl", "introspect", SOCKET, INTERFACE).stdout

    assert "method Check(" in shown
    assert "method GetStatus(" in shown


def test_root_may_check(trixie: Host) -> None:
    """As the hook does; this one cannot be judged, and the configured answer is allow."""
    before = trixie.cursor()
    answer = json.loads(call(trixie, "root", "Check", CHECK).stdout)

    assert answer["refused"] is False
    assert answer["verdict"]["decision"] == "cannot-tell"
    assert guard.decisions(guard.verdicts(trixie, before)) == [("prepare", "cannot-tell")]


def test_member_of_libvirt_may_read_the_status(trixie: Host) -> None:
    """And cannot have anything judged."""
    for method in ("GetStatus", "GetMetrics"):
        assert json.loads(call(trixie, MEMBER, method, "{}").stdout)["version"]
    check = call(trixie, MEMBER, "Check", CHECK)

    assert check.code != 0
    assert f"{INTERFACE}.NotPermitted" in check.stderr


@pytest.mark.parametrize("user", [MEMBER, "nobody"])
def test_others_may_not_touch_the_daemon(trixie: Host, user: str) -> None:
    """Neither end it, nor look into it, nor change what it keeps, reads or listens on."""
    pid = trixie.run("systemctl", "show", "--property=MainPID", "--value", "cpu-guardd").stdout
    attempts = (
        "kill $PID",
        "kill -HUP $PID",
        "cat /proc/$PID/environ",
        "cat /proc/$PID/mem",
        "cat /var/lib/cpu-guardd/good-config.json",
        "rm -f /var/lib/cpu-guardd/snapshot.json",
        "touch /var/lib/cpu-guardd/new",
        "rm -f /run/cpu-guardd/guard.sock",
        "touch /run/cpu-guardd/new",
        "touch /etc/cpu-guardd/guardd.toml.d/new.toml",
        "systemctl stop --no-ask-password cpu-guardd",
    )
    for attempt in attempts:
        script = f"PID={pid.strip()}; {attempt}"
        tried = trixie.run("runuser", "-u", user, "--", "bash", "-c", script, check=False)
        assert tried.code != 0, attempt
    after = trixie.run("systemctl", "show", "--property=MainPID", "--value", "cpu-guardd").stdout

    assert after == pid


def test_nothing_kept_for_all_names_a_guest(guarded_host: Host) -> None:
    """Whoever may read it: what is kept, and what the daemon tells members of libvirt."""
    guarded_host.virsh("create", "/dev/stdin", stdin=domain_xml("unforgettable", cpu=FITS))
    guard.configure(guarded_host, '[guests]\nunforgettable = "warn"\n')
    kept = guarded_host.run(
        "runuser", "-u", "nobody", "--", "bash", "-c", "cat /var/lib/cpu-guardd/*", check=False
    )
    told = guarded_host.shell("cpu-guardctl status --json; cpu-guardctl metrics").stdout

    assert '"fingerprint"' in kept.stdout
    assert "good-config.json: Permission denied" in kept.stderr
    assert "unforgettable" not in kept.stdout + told


def test_others_may_not_connect(trixie: Host) -> None:
    """The socket's mode keeps them out."""
    status = call(trixie, "nobody", "GetStatus", "{}")

    assert status.code != 0
    assert "Permission denied" in status.stderr


@pytest.mark.parametrize("unit", guard.UNITS)
def test_exposure(guarded_host: Host, unit: str) -> None:
    """What systemd thinks of it, 10 being the worst."""
    words = guarded_host.shell(f"systemd-analyze security {unit} | tail -n 1").stdout.split()

    assert float(words[words.index(f"{unit}:") + 1]) <= MAX_EXPOSURE


def test_sandbox_is_in_force(guarded_host: Host) -> None:
    """In a container systemd may leave parts of it out without a word: the kernel knows."""
    pid = guarded_host.run("systemctl", "show", "--property=MainPID", "--value", "cpu-guardd")
    folder = f"/proc/{pid.stdout.strip()}"
    status = guarded_host.run("cat", f"{folder}/status").stdout
    found = dict(line.split(":\t", 1) for line in status.splitlines())

    assert ("2", "1") == (found["Seccomp"], found["NoNewPrivs"])
    assert {"0" * 16} == {found[name] for name in found if name.startswith("Cap")}
    assert "0" not in found["Uid"].split() + found["Gid"].split() + found["Groups"].split()
    for space in ("mnt", "net", "ipc", "uts"):
        spaces = guarded_host.run("readlink", f"{folder}/ns/{space}", f"/proc/1/ns/{space}")
        assert len(set(spaces.stdout.split())) == len(spaces.stdout.split()), space
    limits = guarded_host.run("cat", f"{folder}/limits").stdout
    assert re.search(r"^Max core file size +1 +1 ", limits, re.MULTILINE)
    mounts = guarded_host.run("cat", f"{folder}/mountinfo").stdout.splitlines()
    options = {line.split()[4]: line.split()[5].split(",") for line in mounts}
    assert ("ro", "rw") == (options["/"][0], options["/var/lib/cpu-guardd"][0])


@pytest.mark.parametrize("daemon", ["runs", "is away"])
def test_no_secret_is_told(unguarded_after: Host, daemon: str) -> None:
    """By daemon or hook, to journal, disk or who tried: of documents that are good or broken."""
    host = unguarded_after
    before = host.cursor()
    if daemon == "is away":
        host.run("systemctl", "stop", "cpu-guardd.socket", "cpu-guardd.service")
    said = ""
    for xml in [DOMAIN, *list(broken())[::150]]:
        sent = xml.encode("utf-8", "surrogateescape")
        done = host.run(guard.HOOK, "web1", "prepare", "begin", "-", stdin=sent, check=False)
        said += done.stdout + done.stderr
    host.run("journalctl", "--sync")
    export = ["journalctl", "--output=export", "--all", f"--after-cursor={before}"]
    written = host.run(*export).stdout
    kept = host.shell("cat /var/lib/cpu-guardd/* /run/cpu-guardd/* 2>/dev/null", check=False)

    assert "web1 needs " in said
    assert "GUARDD_DECISION=cannot-tell" in written
    assert CANARY not in said + written + kept.stdout
