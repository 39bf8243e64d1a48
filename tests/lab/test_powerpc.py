"""PowerPC guests under TCG are judged by the ppc64 driver."""

import pytest

from tests.lab import guard
from tests.lab.guests import domain_xml
from tests.lab.host import Host


def define(host: Host, name: str, model: str) -> None:
    cpu = f"<cpu mode='custom' match='exact'><model>{model}</model></cpu>"
    host.virsh("define", "/dev/stdin", stdin=domain_xml(name, arch="ppc64le", cpu=cpu))


def test_known_model_starts(guarded_host: Host) -> None:
    """POWER9 starts and was looked at."""
    define(guarded_host, "power", "POWER9")
    before = guarded_host.cursor()
    guarded_host.virsh("start", "power")

    assert guard.state(guarded_host, "power") == "running"
    [record] = guard.verdicts(guarded_host, before, "power")
    assert record["GUARDD_DECISION"] == "allow"
    assert record["GUARDD_HOST_CPU"] == "ppc64le, TCG"


def test_legacy_name_at_a_start(guarded_host: Host) -> None:
    """A name of old is converted on PowerPC hosts only; here libvirt refuses, and the guard."""
    define(guarded_host, "power", "POWER8_v1.0")
    started = guarded_host.virsh("start", "power", check=False)

    assert "cpu-guardd[unsupported-model]: power needs CPU model POWER8_v1.0" in started.stderr


@pytest.mark.parametrize(
    ("model", "exit_code", "said"),
    [
        ("POWER8", 0, "is identical to host CPU"),
        ("POWER8_v1.0", 0, "is identical to host CPU"),
        ("POWER9", 1, "model-mismatch: POWER9"),
        ("POWER11", 3, "Unknown CPU model POWER11"),
    ],
)
def test_compare_with_a_power8_host(
    guarded_host: Host, model: str, exit_code: int, said: str
) -> None:
    """By hand, against a PowerPC host: as the ppc64 driver of libvirt would answer there."""
    guarded_host.write("/root/host.xml", "<cpu><arch>ppc64le</arch><model>POWER8</model></cpu>")
    guarded_host.write("/root/guest.xml", f"<cpu><model>{model}</model></cpu>")
    compared = guarded_host.run(
        "cpu-guardctl", "compare", "/root/guest.xml", "--host", "/root/host.xml", check=False
    )

    assert compared.code == exit_code
    assert said in compared.stdout + compared.stderr


def test_too_new_model(guarded_host: Host) -> None:
    """POWER11 is in no map yet, and QEMU here does not have it."""
    define(guarded_host, "power", "POWER11")
    started = guarded_host.virsh("start", "power", check=False)

    assert "cpu-guardd[unsupported-model]: power needs CPU model POWER11" in started.stderr
    assert guard.state(guarded_host, "power") == "shut off"


def test_ceiling(guarded_host: Host) -> None:
    """POWER9 is above a ceiling of POWER8, POWER8 is not."""
    guard.configure(guarded_host, '[ceiling]\nppc64 = "POWER8"\n')
    define(guarded_host, "newer", "POWER9")
    define(guarded_host, "older", "POWER8")
    started = guarded_host.virsh("start", "newer", check=False)
    guarded_host.virsh("start", "older")

    assert "cpu-guardd[above-ceiling]: newer would have POWER9" in started.stderr
    assert guard.state(guarded_host, "older") == "running"
