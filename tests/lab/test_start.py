"""Starts on a guarded host: what virsh prints, what the journal has, what state results."""

import json

import pytest

from tests.lab import guard
from tests.lab.guests import domain_xml
from tests.lab.host import Host


def custom(model: str, check: str) -> str:
    return f"<cpu mode='custom' match='exact' check='{check}'><model>{model}</model></cpu>"


def define(host: Host, name: str, cpu: str | None, virt: str = "qemu") -> None:
    host.virsh("define", "/dev/stdin", stdin=domain_xml(name, cpu=cpu, virt=virt))


def require_kvm(host: Host) -> None:
    if host.run("test", "-w", "/dev/kvm", check=False).code != 0:
        pytest.skip(f"{host.name} has no /dev/kvm")


@pytest.mark.parametrize(
    "cpu",
    [
        pytest.param(None, id="no-cpu"),
        pytest.param(custom("Nehalem", "none"), id="Nehalem"),
        pytest.param("<cpu mode='host-model'/>", id="host-model"),
        pytest.param("<cpu mode='maximum'/>", id="maximum"),
    ],
)
def test_fitting_guest_starts(guarded_host: Host, cpu: str | None) -> None:
    """What TCG can give starts, and the journal has one record of it that allows."""
    define(guarded_host, "fits", cpu)
    before = guarded_host.cursor()
    guarded_host.virsh("start", "fits")

    assert guard.state(guarded_host, "fits") == "running"
    records = guard.verdicts(guarded_host, before, "fits")
    assert [("prepare", "no")] == [(r["GUARDD_OPERATION"], r["GUARDD_REFUSED"]) for r in records]


def test_refused_before_libvirts_own_check(guarded_host: Host) -> None:
    """check='partial' of what TCG lacks: our line, not libvirt's, and QEMU never runs."""
    define(guarded_host, "web1", custom("Skylake-Server", "partial"))
    before = guarded_host.cursor()
    started = guarded_host.virsh("start", "web1", check=False)

    assert started.code == 1
    assert "cpu-guardd[missing-feature]: web1 needs " in started.stderr
    assert "see: cpu-guardctl explain web1" in started.stderr
    assert "Host CPU does not provide" not in started.stderr
    assert guard.state(guarded_host, "web1") == "shut off"
    [record] = guard.verdicts(guarded_host, before, "web1")
    assert record["GUARDD_DECISION"] == "deny"
    assert guard.codes(record) == {"missing-feature"}
    assert "avx512f" in record["GUARDD_REPORT"]
    assert "<cpu" not in json.dumps(record)


def test_explanation_is_found(guarded_host: Host) -> None:
    """What the line promises works: explain, journalctl by guest, and the catalog page."""
    define(guarded_host, "web1", custom("Skylake-Server", "partial"))
    guarded_host.virsh("start", "web1", check=False)
    guarded_host.run("journalctl", "--sync")

    explained = guarded_host.run("cpu-guardctl", "explain", "web1").stdout
    assert "avx512f" in explained
    shown = guarded_host.run("journalctl", "-u", "cpu-guardd", "-x", "-n", "30").stdout
    assert "cpu-guardd[missing-feature]: web1" in shown
    assert "cpu-guardctl" in shown.partition("░░")[2]
    by_guest = guarded_host.run("journalctl", "GUARDD_DOMAIN=web1", "-o", "cat").stdout
    assert "cpu-guardd[missing-feature]: web1" in by_guest


def test_silent_downgrade_warns(guarded_host: Host) -> None:
    """check='none' starts without what TCG lacks; the journal says so, where nobody else does."""
    define(guarded_host, "quiet", custom("Skylake-Server", "none"))
    before = guarded_host.cursor()
    guarded_host.virsh("start", "quiet")

    [record] = guard.verdicts(guarded_host, before, "quiet")
    assert record["GUARDD_DECISION"] == "warn"
    assert guard.codes(record) == {"silent-downgrade"}
    assert record["PRIORITY"] == "4"


def test_silent_downgrade_enforced(guarded_host: Host) -> None:
    """The same guest is refused where the administrator wants it so."""
    guard.configure(guarded_host, '[rules]\nsilent-downgrade = "enforce"\n')
    define(guarded_host, "quiet", custom("Skylake-Server", "none"))
    started = guarded_host.virsh("start", "quiet", check=False)

    assert "cpu-guardd[silent-downgrade]: quiet" in started.stderr
    assert guard.state(guarded_host, "quiet") == "shut off"


@pytest.mark.parametrize("mode", ["warn", "observe"])
def test_milder_modes_start_it(guarded_host: Host, mode: str) -> None:
    """In warn and observe the finding is recorded; libvirt's own check then decides."""
    guard.configure(guarded_host, f'mode = "{mode}"\n')
    define(guarded_host, "web1", custom("Skylake-Server", "partial"))
    before = guarded_host.cursor()
    started = guarded_host.virsh("start", "web1", check=False)

    assert "cpu-guardd" not in started.stderr
    [record] = guard.verdicts(guarded_host, before, "web1")
    assert guard.codes(record) == {"missing-feature"}
    assert record["GUARDD_REFUSED"] == "no"


def test_guest_exception(guarded_host: Host) -> None:
    """One guest can be let through by name while the host enforces."""
    guard.configure(
        guarded_host, '[guests]\nquiet = "observe"\n[rules]\nsilent-downgrade = "enforce"\n'
    )
    define(guarded_host, "quiet", custom("Skylake-Server", "none"))
    guarded_host.virsh("start", "quiet")

    assert guard.state(guarded_host, "quiet") == "running"


def test_kvm_refused(guarded_host: Host) -> None:
    """KVM here lacks much of EPYC-Milan: refused with check='partial'."""
    require_kvm(guarded_host)
    define(guarded_host, "milan", custom("EPYC-Milan", "partial"), virt="kvm")
    started = guarded_host.virsh("start", "milan", check=False)

    assert "cpu-guardd[missing-feature]: milan needs " in started.stderr
    assert ", KVM) lacks them" in started.stderr
    assert guard.state(guarded_host, "milan") == "shut off"


def test_kvm_silent_downgrade(guarded_host: Host) -> None:
    """And with check='none' it starts, with a warning."""
    require_kvm(guarded_host)
    define(guarded_host, "milan", custom("EPYC-Milan", "none"), virt="kvm")
    before = guarded_host.cursor()
    guarded_host.virsh("start", "milan")

    [record] = guard.verdicts(guarded_host, before, "milan")
    assert guard.codes(record) == {"silent-downgrade"}


def test_bad_configuration_is_not_taken(guarded_host: Host) -> None:
    """A mistake is named with file, line and key; what was in force goes on."""
    guard.configure(guarded_host, 'mode = "warn"\n')
    before = guarded_host.cursor()
    guarded_host.write(guard.DROP_IN, 'mode = "observe"\n\n[rules]\nsilent-downgrad = "warn"\n')
    guarded_host.run("systemctl", "reload", "cpu-guardd")
    place = f"{guard.DROP_IN}:4: unknown rule 'silent-downgrad', did you mean 'silent-downgrade'?"
    match = f"MESSAGE_ID={guard.CONFIG_READ}"
    guarded_host.wait_until(
        lambda: any(place in r["MESSAGE"] for r in guarded_host.journal(match, since_cursor=before))
    )

    status = json.loads(guarded_host.run("cpu-guardctl", "status", "--json").stdout)
    assert status["mode"] == "warn"
    assert any(place in problem for problem in status["problems"])


def test_unsupported_mode(guarded_host: Host) -> None:
    """host-passthrough cannot be had under TCG; libvirt's own words for it come later."""
    define(guarded_host, "pass", "<cpu mode='host-passthrough' check='none'/>")
    started = guarded_host.virsh("start", "pass", check=False)

    assert "cpu-guardd[unsupported-mode]: pass needs CPU mode host-passthrough" in started.stderr


def test_names_of_any_kind(guarded_host: Host) -> None:
    """A guest's name may be any UTF-8; it comes back whole in the line and in the journal."""
    name = "web 1'\"ü漢"
    define(guarded_host, name, custom("Skylake-Server", "partial"))
    before = guarded_host.cursor()
    started = guarded_host.virsh("start", name, check=False)

    assert f"cpu-guardd[missing-feature]: {name} needs " in started.stderr
    assert len(guard.verdicts(guarded_host, before, name)) == 1
