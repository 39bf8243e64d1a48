"""Boot: the guard judges before libvirtd starts anybody."""

from tests.lab import guard
from tests.lab.guests import domain_xml
from tests.lab.host import Host


def test_autostarted_guests_are_judged(guarded_host: Host) -> None:
    """After a reboot, by the kept snapshot, before libvirtd answers anyone."""
    cpus = {
        "fits": "<cpu mode='custom' match='exact' check='none'><model>Nehalem</model></cpu>",
        "does-not": "<cpu mode='custom' check='partial'><model>Skylake-Server</model></cpu>",
    }
    for name, cpu in cpus.items():
        guarded_host.virsh("define", "/dev/stdin", stdin=domain_xml(name, cpu=cpu))
        guarded_host.virsh("autostart", name)
    before = guarded_host.cursor()
    guarded_host.reboot()
    guarded_host.wait_until('test "$(virsh domstate fits)" = running')

    records = {r["GUARDD_DOMAIN"]: r for r in guard.verdicts(guarded_host, before)}
    assert guard.state(guarded_host, "does-not") == "shut off"
    assert records["fits"]["GUARDD_REFUSED"] == "no"
    assert records["does-not"]["GUARDD_REFUSED"] == "yes"
    assert records["does-not"]["GUARDD_SOURCE"].startswith("snapshot kept since")
