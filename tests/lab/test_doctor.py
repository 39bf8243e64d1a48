"""cpu-guardctl doctor on a real host: each break is found, and the command it gives mends it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.lab import guard
from tests.lab.host import Host

SNAPSHOT = "/var/lib/cpu-guardd/snapshot.json"
SHIPPED = "/usr/libexec/cpu-guardd/hook"


@dataclass(frozen=True)
class Break:
    """What somebody did to a host, the check that finds it, and words of the command for it."""

    script: str
    check: str
    mend: str
    state: str = "broken"


BREAKS = {
    "hook-gone": Break(f"rm {guard.HOOK}", "hook", "cpu-guardctl hook install"),
    "not-executable": Break(f"chmod -x {guard.HOOK}", "hook", "cpu-guardctl hook install"),
    "not-noticed": Break(
        f"cpu-guardctl hook remove && install -m 755 {SHIPPED} {guard.HOOK}",
        "noticed",
        "cpu-guardctl hook install",
    ),
    "stopped": Break(
        "systemctl stop cpu-guardd.socket cpu-guardd.service", "daemon", "systemctl restart"
    ),
    "another-host": Break(
        f'sed -i \'s/"kernel": "/&older /\' {SNAPSHOT}', "snapshot", "systemctl reload cpu-guardd"
    ),
    "no-catalog": Break(
        "rm /var/lib/systemd/catalog/database",
        "catalog",
        "journalctl --update-catalog",
        state="warning",
    ),
}


@pytest.fixture
def patient(guarded: Mapping[str, Host]) -> Iterator[Host]:
    """A guarded host, put right in the end whatever a test leaves."""
    host = guarded["hosta"]
    host.reset()
    guard.configure(host, "")
    yield host
    host.shell("cpu-guardctl hook install; journalctl --update-catalog")
    guard.configure(host, "")


def examined(host: Host, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Give the exit status and each check by its name."""
    done = host.run("cpu-guardctl", "doctor", "--json", *options, check=False)
    return done.code, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_healthy(patient: Host) -> None:
    """All is proven by a guest that comes and goes; who is not root learns less, and is told."""
    code, checks = examined(patient, "--try")
    user = patient.run("runuser", "-u", "nobody", "--", "cpu-guardctl", "doctor", check=False)

    assert (0, {"ok"}) == (code, {check["state"] for check in checks.values()})
    assert () == patient.guests()
    assert (3, True) == (user.code, "(run it as root)" in user.stdout)


@pytest.mark.parametrize("name", BREAKS)
def test_what_it_says_mends_it(patient: Host, name: str) -> None:
    """The printed command is run as it is printed."""
    broken = BREAKS[name]
    patient.shell(broken.script)
    code, checks = examined(patient)
    found = checks[broken.check]

    assert (int(broken.state == "broken"), broken.state) == (code, found["state"])
    assert broken.mend in found["mend"]
    patient.shell(found["mend"])
    patient.wait_until("cpu-guardctl doctor --json | jq -e '.summary | .broken + .warning == 0'")


def test_not_noticed_is_proven_by_trying(patient: Host) -> None:
    """A guest starts, and nobody was asked; after the reload somebody is, and all is well."""
    patient.shell(BREAKS["not-noticed"].script)
    code, checks = examined(patient, "--try")
    patient.shell(checks["trial"]["mend"])
    mended, all_well = examined(patient, "--try")

    assert (1, "broken") == (code, checks["trial"]["state"])
    assert (0, "ok") == (mended, all_well["trial"]["state"])
