"""Metrics as an administrator turns them on: by systemd's sockets and timers, in sandboxes."""

from collections.abc import Iterator, Mapping

import pytest

from tests.lab import guard
from tests.lab.guests import domain_xml
from tests.lab.host import Host

# a guest that QEMU's own emulation lacks something for
REFUSED = "<cpu mode='custom' match='exact' check='partial'><model>Skylake-Server</model></cpu>"
UNITS = ("cpu-guardd-metrics.socket", "cpu-guardd-metrics.service", "cpu-guardd-textfile.timer")
DROP_INS = "/etc/systemd/system/cpu-guardd-metrics.socket.d"
FOLDER = "/var/lib/prometheus/node-exporter"
TEXTFILE = f"{FOLDER}/cpu-guardd.prom"
PAGE = "http://127.0.0.1:19177/metrics"
SCRAPE = (
    "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())"
)
UNIX_SCRAPE = r"""
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    print(connection.makefile().read())
"""


@pytest.fixture(params=["hosta", "hostc"])
def host_of_metrics(guarded: Mapping[str, Host], request: pytest.FixtureRequest) -> Iterator[Host]:
    """A guarded host of each release; metrics are off before and after."""
    host = guarded[request.param]
    turn_off(host)
    host.run("systemctl", "restart", "cpu-guardd")
    yield host
    turn_off(host)


def turn_off(host: Host) -> None:
    host.run("systemctl", "disable", "--now", *UNITS)
    host.run("rm", "-rf", DROP_INS, FOLDER)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "reset-failed")


def scrape(host: Host) -> str:
    return host.run("python3", "-c", SCRAPE, PAGE).stdout


def listen_on(host: Host, *lines: str) -> None:
    """Let the socket be another one."""
    host.run("mkdir", "-p", DROP_INS)
    host.write(f"{DROP_INS}/lab.conf", "\n".join(["[Socket]", "ListenStream=", *lines, ""]))
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", "cpu-guardd-metrics.socket")


def test_page(host_of_metrics: Host) -> None:
    """Off until it is enabled; then it counts, and shows when the daemon is gone."""
    host = host_of_metrics
    before = host.run("python3", "-c", SCRAPE, PAGE, check=False)
    host.run("systemctl", "enable", "--now", "cpu-guardd-metrics.socket")
    refused = host.virsh("create", "/dev/stdin", stdin=domain_xml("web1", cpu=REFUSED), check=False)
    text = scrape(host)

    assert before.code != 0
    assert refused.code != 0
    assert '\ncpu_guardd_refusals_total{code="missing-feature"} 1.0\n' in text
    assert '\ncpu_guardd_verdicts_total{decision="deny",operation="prepare"} 1.0\n' in text
    host.run("systemctl", "stop", "cpu-guardd.socket", "cpu-guardd.service")
    assert "\ncpu_guardd_up 0.0\n" in scrape(host)
    host.run("systemctl", "start", "cpu-guardd.socket", "cpu-guardd.service")
    host.wait_until(lambda: "\ncpu_guardd_libvirt_connected 1.0\n" in scrape(host))


def test_sandbox(host_of_metrics: Host) -> None:
    """It has no network but the socket that it was given, and does not see libvirt's."""
    host = host_of_metrics
    host.run("systemctl", "start", "cpu-guardd-metrics.socket")
    scrape(host)
    inside = "nsenter --mount --net -t $(systemctl show -P MainPID cpu-guardd-metrics) "
    links = host.shell(inside + "ip -o link").stdout.splitlines()

    assert [True] == [": lo: " in link for link in links]
    assert host.shell(inside + "ls /run/libvirt/libvirt-sock", check=False).code != 0
    assert host.shell(inside + "ls /run/cpu-guardd/guard.sock").code == 0
    owner = host.shell("ps -o user= -p $(systemctl show -P MainPID cpu-guardd-metrics)").stdout
    assert owner.strip() not in ("root", "cpu-guardd")


def test_unix_socket(host_of_metrics: Host) -> None:
    """As docs/metrics.md has it."""
    host = host_of_metrics
    path = "/run/cpu-guardd/metrics.sock"
    listen_on(host, f"ListenStream={path}", "SocketMode=0660", "SocketGroup=daemon")

    assert "\ncpu_guardd_up 1.0\n" in host.run("python3", "-c", UNIX_SCRAPE, path).stdout
    assert "660 root daemon" == host.run("stat", "-c", "%a %U %G", path).stdout.strip()


def test_a_socket_that_others_can_reach(host_of_metrics: Host) -> None:
    """Nothing is served, the journal says why, and guests are judged."""
    host = host_of_metrics
    before = host.cursor()
    listen_on(host, "ListenStream=0.0.0.0:19177")

    assert host.run("python3", "-c", SCRAPE, PAGE, check=False).code != 0
    records = host.journal("_SYSTEMD_UNIT=cpu-guardd-metrics.service", since_cursor=before)
    assert any("metrics are not served on 0.0.0.0" in record["MESSAGE"] for record in records)
    assert "mode enforce" in host.run("cpu-guardctl", "status").stdout


def test_textfile(host_of_metrics: Host) -> None:
    """The timer writes at once, for anybody to read; without the folder its service says so."""
    host = host_of_metrics
    failed = host.run("systemctl", "start", "cpu-guardd-textfile.service", check=False)
    host.run("mkdir", "-p", FOLDER)
    host.run("chown", "daemon:", FOLDER)
    host.run("systemctl", "enable", "--now", "cpu-guardd-textfile.timer")
    host.wait_until(f"test -e {TEXTFILE}")
    # a start while it still runs would be that same run
    host.wait_until(f"! systemctl is-active {UNITS[2].replace('timer', 'service')} | grep -q ing")

    assert failed.code != 0
    assert "\ncpu_guardd_up 1.0\n" in host.run("cat", TEXTFILE).stdout
    assert "644" == host.run("stat", "-c", "%a", TEXTFILE).stdout.strip()
    host.run("systemctl", "stop", "cpu-guardd.socket", "cpu-guardd.service")
    host.run("systemctl", "start", "cpu-guardd-textfile.service")
    text = host.run("cat", TEXTFILE).stdout
    host.run("systemctl", "start", "cpu-guardd.socket", "cpu-guardd.service")
    assert text.endswith("\ncpu_guardd_up 0.0\n")


def test_package(host_of_metrics: Host) -> None:
    """An upgrade keeps what was enabled, with the new program; the package's end is theirs."""
    host = host_of_metrics
    host.run("mkdir", "-p", FOLDER)
    host.run("systemctl", "enable", "--now", *UNITS)
    scrape(host)
    main = "systemctl show -P MainPID cpu-guardd-metrics.service"
    before = host.shell(main).stdout
    [package] = host.shell("ls /root/cpu-guardd_*.deb").stdout.split()
    host.run("dpkg", "--install", package, timeout=300)

    assert "\ncpu_guardd_up 1.0\n" in scrape(host)
    assert before != host.shell(main).stdout
    assert "active" == host.run("systemctl", "is-active", UNITS[2]).stdout.strip()
    host.run("dpkg", "--remove", "cpu-guardd", timeout=300)
    left = host.shell("systemctl list-units --all --plain 'cpu-guardd-*' | grep -w active || true")
    host.run("dpkg", "--install", package, timeout=300)
    guard.configure(host, "")
    assert "" == left.stdout
