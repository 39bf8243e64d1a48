"""What the daemon notices by itself.

Definitions that will not do, guests that nobody asked about, and where libvirt thinks otherwise.
"""

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from guardd.facts.stamp import NAMESPACE
from guardd.journal import Kind
from tests.lab import guard
from tests.lab.guard import Record
from tests.lab.guests import domain_xml
from tests.lab.host import Host

SOUND = "<cpu mode='custom' match='exact' check='partial'><model>Nehalem</model></cpu>"
OFF = "<cpu mode='host-passthrough' migratable='off'/>"
TIMER = "<clock offset='utc'><timer name='tsc' frequency='{}'/></clock>"
TICK_SECONDS = 60  # twice the daemon's longest period


def custom(model: str, check: str, *, features: str = "") -> str:
    model = f"<model>{model}</model>"
    return f"<cpu mode='custom' match='exact' check='{check}'>{model}{features}</cpu>"


INVTSC = "<feature policy='require' name='invtsc'/>"
NO_SSE3 = "<feature policy='disable' name='pni'/>"  # which KVM in a nested host may hide
# guest: virt type, <cpu>, codes that are told of it
DEFINITIONS = {
    "tcg-plain": ("qemu", None, set()),
    "tcg-sound": ("qemu", SOUND, set()),
    "tcg-host-model": ("qemu", "<cpu mode='host-model'/>", set()),
    "tcg-maximum": ("qemu", "<cpu mode='maximum' migratable='off'/>", set()),
    "tcg-too-much": ("qemu", custom("Skylake-Server", "partial"), {"missing-feature"}),
    "tcg-less": ("qemu", custom("Skylake-Server", "none"), {"silent-downgrade"}),
    "tcg-passthrough": ("qemu", "<cpu mode='host-passthrough'/>", {"unsupported-mode"}),
    "kvm-sound": ("kvm", custom("kvm64", "partial", features=NO_SSE3), set()),
    "kvm-host-model": ("kvm", "<cpu mode='host-model'/>", set()),
    "kvm-passthrough": ("kvm", "<cpu mode='host-passthrough'/>", set()),
    "kvm-plain": ("kvm", None, {"default-cpu"}),  # and what of qemu64 this host lacks
    "kvm-no-check": ("kvm", custom("kvm64", "none"), {"no-check"}),
    "kvm-never": ("kvm", OFF, {"never-migrates"}),
    "kvm-invtsc": ("kvm", custom("kvm64", "partial", features=INVTSC), {"invtsc"}),
}


def has_kvm(host: Host) -> bool:
    return host.run("test", "-w", "/dev/kvm", check=False).code == 0


def require_kvm(host: Host) -> None:
    if not has_kvm(host):
        pytest.skip(f"{host.name} has no /dev/kvm")


def define(host: Host, name: str, cpu: str | None, virt: str = "qemu", clock: str = "") -> None:
    xml = domain_xml(name, cpu=cpu, virt=virt).replace("<devices>", f"{clock}<devices>")
    host.virsh("define", "/dev/stdin", stdin=xml)


def told(host: Host, kind: Kind, since: str) -> list[Record]:
    return host.journal(f"MESSAGE_ID={kind}", since_cursor=since)


def status(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.run("cpu-guardctl", "status", "--json").stdout)
    return found


def counters(host: Host) -> dict[str, int]:
    return Counter(status(host)["events"])


def advice_until_now(host: Host, since: str) -> list[Record]:
    """Give all advice since *since*: events come in order, so a last one is made and waited for."""
    name = f"last-{uuid.uuid4()}"
    define(host, name, custom("Skylake-Server", "partial"))
    host.wait_until(lambda: any(r["GUARDD_DOMAIN"] == name for r in told(host, Kind.ADVICE, since)))
    host.virsh("undefine", name)
    return [r for r in told(host, Kind.ADVICE, since) if not r["GUARDD_DOMAIN"].startswith("last-")]


def test_definitions(guarded_host: Host) -> None:
    """Of each that will not do exactly one record, of a sound one none, and none for a second."""
    host = guarded_host
    rows = {
        name: row for name, row in DEFINITIONS.items() if row[0] == "qemu" or has_kvm(guarded_host)
    }
    before = host.cursor()
    for name, (virt, cpu, _) in rows.items():
        define(host, name, cpu, virt)
    records = advice_until_now(host, before)

    expected = {name: codes for name, (_, _, codes) in rows.items() if codes}
    actual = {r["GUARDD_DOMAIN"]: guard.codes(r) for r in records}
    for name in actual.keys() & {"kvm-plain", "kvm-no-check", "kvm-invtsc"}:
        actual[name].discard("silent-downgrade")  # by what KVM hides here
    assert expected == actual
    assert len(expected) == len(records)
    refused = {"tcg-too-much", "tcg-passthrough"}
    assert refused == {r["GUARDD_DOMAIN"] for r in records if r["PRIORITY"] == "4"}

    again = host.cursor()
    for name, (virt, cpu, _) in rows.items():
        define(host, name, cpu, virt)
        host.virsh("desc", name, "--config", "changed")
        host.virsh(
            "metadata", name, "http://example.org/x", "--config", "--key", "k", "--set", "<x/>"
        )
    assert [] == advice_until_now(host, again)
    assert counters(host)["advised"] >= len(records)


def test_what_never_migrates_cannot_be_saved(guarded_host: Host) -> None:
    """The advice is true, and so is its way out: the frequency, fixed."""
    host = guarded_host
    require_kvm(host)
    known = host.shell('virsh capabilities | grep -o "frequency=\'[0-9]*" | head -1').stdout
    before = host.cursor()
    define(host, "never", custom("kvm64", "none", features=INVTSC), "kvm")
    define(
        host,
        "fixed",
        custom("kvm64", "none", features=INVTSC),
        "kvm",
        TIMER.format(known.partition("'")[2].strip()),
    )
    records = {r["GUARDD_DOMAIN"]: r for r in advice_until_now(host, before)}
    host.virsh("start", "never")
    host.virsh("start", "fixed")

    assert {"invtsc", "no-check"} <= guard.codes(records["never"])
    assert "invtsc" not in guard.codes(records["fixed"])
    assert "invtsc" in host.virsh("save", "never", "/root/never.save", check=False).stderr
    assert 0 == host.virsh("save", "fixed", "/root/fixed.save").code


def test_definition_from_a_running_guest(guarded_host: Host) -> None:
    """A stamp in the definition is told of, and the way out that the record names works."""
    host = guarded_host
    before = host.cursor()
    stamp = f"<guardd:stamp xmlns:guardd='{NAMESPACE}' version='1'/>"
    host.virsh("define", "/dev/stdin", stdin=domain_xml("copied", cpu=SOUND, metadata=stamp))
    [record] = advice_until_now(host, before)

    assert {"bad-stamp"} == guard.codes(record)
    command = record["GUARDD_REPORT"].split("`")[1]
    assert command.startswith("virsh metadata 'copied' ")
    host.shell(command)
    assert NAMESPACE not in host.virsh("dumpxml", "--inactive", "copied").stdout


def test_check_shows_it(guarded_host: Host) -> None:
    """By hand, below the verdict; what is not refused for it stays so."""
    host = guarded_host
    require_kvm(host)
    define(host, "web1", OFF, "kvm")
    shown = host.run("cpu-guardctl", "check", "web1")
    document = json.loads(host.run("cpu-guardctl", "check", "--json", "web1").stdout)

    assert "\nadvice:\n  never-migrates (observe):\n" in shown.stdout
    assert ["never-migrates"] == [finding["code"] for finding in document["advice"]]
    assert "allow" == document["decision"]


# -- guests that nobody asked about


@pytest.fixture
def hookless(guarded_host: Host) -> Iterator[Host]:
    """A guarded host whose hook a test may break; it is put back."""
    define(guarded_host, "web1", SOUND)
    yield guarded_host
    mend(guarded_host)


def mend(host: Host) -> None:
    host.run("cpu-guardctl", "hook", "install")
    host.wait_until("virsh --quiet list")


BROKEN = {
    "not executable": (f"chmod -x {guard.HOOK}", f"{guard.HOOK} is not executable"),
    "removed": (f"rm {guard.HOOK}", "it is not installed"),
    "not reloaded": (
        f"mv {guard.HOOK} /root/hook; systemctl restart libvirtd; mv /root/hook {guard.HOOK}",
        "libvirtd was not reloaded",
    ),
    "another's": (
        f"echo '#!/bin/true' >/root/other; chmod +x /root/other; mv /root/other {guard.HOOK}",
        "is another program's",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_unasked(hookless: Host, how: str) -> None:
    """It is recorded with its cause, shown by `status`, does no harm, and passes when mended."""
    host, (script, cause) = hookless, BROKEN[how]
    before, known = host.cursor(), status(host)["snapshot_taken"]
    host.shell(script)
    if "restart libvirtd" in script:  # what starts before the daemon is back is not told of
        host.wait_until(lambda: status(host)["snapshot_taken"] != known)
    host.virsh("start", "web1")
    host.wait_until(lambda: bool(told(host, Kind.UNASKED, before)), timeout=TICK_SECONDS)

    [record] = told(host, Kind.UNASKED, before)
    assert ("web1", "4") == (record["GUARDD_DOMAIN"], record["PRIORITY"])
    assert cause in record["MESSAGE"]
    assert any(cause in problem for problem in status(host)["problems"])
    assert guard.state(host, "web1") == "running"
    assert counters(host)["unasked"] >= 1

    if how == "another's":
        host.run("rm", guard.HOOK)
    mend(host)
    host.virsh("destroy", "web1")
    host.virsh("start", "web1")
    host.wait_until(
        lambda: not any("without the hook" in text for text in status(host)["problems"])
    )


def unasked_until_now(host: Host, since: str) -> list[str]:
    """Give who was told of since *since*: one more is made, and waited for."""
    name = f"last-{uuid.uuid4()}"
    host.run("chmod", "-x", guard.HOOK)
    host.virsh("create", "/dev/stdin", stdin=domain_xml(name, cpu=SOUND))
    host.run("chmod", "+x", guard.HOOK)

    def names() -> list[str]:
        return [record["GUARDD_DOMAIN"] for record in told(host, Kind.UNASKED, since)]

    host.wait_until(lambda: name in names(), timeout=TICK_SECONDS)
    host.virsh("destroy", name)
    return [name for name in names() if not name.startswith("last-")]


def connections(host: Host, since: str) -> list[guard.Record]:
    """Give what was said of the connection to libvirt since *since*."""
    return host.journal(f"MESSAGE_ID={Kind.LIBVIRT}", since_cursor=since)


def is_connected_anew(records: list[Record]) -> bool:
    """Whether libvirt was lost and found; who it was before may still be told of at first."""
    lines = "\n".join(record["MESSAGE"] for record in records)
    return "connected to libvirt" in lines.partition("libvirt is away")[2]


def test_no_false_alarm(unguarded_after: Host) -> None:
    """Starts without end, saves, reverts, a daemon that hangs or is new, a libvirtd that is new."""
    host = unguarded_after
    define(host, "web1", SOUND)
    before = host.cursor()
    host.shell("for i in 1 2 3 4 5 6 7 8; do virsh -q start web1; virsh -q destroy web1; done")
    host.shell("virsh -q start web1; virsh -q managedsave web1; virsh -q start web1")
    host.shell("virsh -q save web1 /root/web1.save; virsh -q restore /root/web1.save")
    host.shell("virsh -q suspend web1; virsh -q resume web1; virsh -q reset web1")
    host.shell(
        "virsh -q destroy web1; systemctl kill --signal=STOP cpu-guardd.service"
        "; virsh -q start web1; systemctl kill --signal=CONT cpu-guardd.service"
    )
    host.shell("virsh -q destroy web1; systemctl restart cpu-guardd; virsh -q start web1")
    host.shell(
        "virsh -q destroy web1; systemctl kill --signal=KILL cpu-guardd; virsh -q start web1"
    )
    host.wait_until("cpu-guardctl status --json | jq -e .libvirt_connected")
    restarted = host.cursor()
    host.shell("systemctl restart libvirtd; virsh -q destroy web1; virsh -q start web1")
    host.wait_until(lambda: is_connected_anew(connections(host, restarted)))

    assert [] == unasked_until_now(host, before)


def test_arrivals(guarded_mixed_pair: tuple[Host, Host]) -> None:
    """A migration is asked about where it arrives; where the hook is not looked for, it is said."""
    source, destination = guarded_mixed_pair
    before = destination.cursor()
    source.virsh(
        "create", "/dev/stdin", stdin=domain_xml("web1", cpu=SOUND.replace("partial", "none"))
    )
    source.migrate("web1", destination)
    assert [] == unasked_until_now(destination, before)

    source.virsh(
        "create", "/dev/stdin", stdin=domain_xml("web2", cpu=SOUND.replace("partial", "none"))
    )
    destination.run("chmod", "-x", guard.HOOK)
    source.migrate("web2", destination)
    destination.run("chmod", "+x", guard.HOOK)
    assert ["web2"] == unasked_until_now(destination, before)
    [record] = [r for r in told(destination, Kind.UNASKED, before) if r["GUARDD_DOMAIN"] == "web2"]
    assert "(migrated)" in record["MESSAGE"]


# -- libvirt's opinion

OPINIONS = ("agreements", "disagreements", "no-opinion")


def opinions(host: Host) -> dict[str, int]:
    return {name: counters(host)[name] for name in OPINIONS}


def try_models(host: Host, virt: str, models: list[str]) -> None:
    """Start a guest of each model, whatever comes of it."""
    for model in models:
        xml = domain_xml(f"of-{model}", cpu=custom(model, "partial"), virt=virt)
        done = host.virsh("create", "/dev/stdin", "--paused", stdin=xml, check=False)
        if done.code == 0:
            host.virsh("destroy", f"of-{model}")


@pytest.mark.parametrize("virt", ["qemu", "kvm"])
def test_libvirt_agrees(guarded_host: Host, virt: str) -> None:
    """On every model that libvirt offers; each is asked about once, however often it starts."""
    host = guarded_host
    if virt == "kvm":
        require_kvm(host)
    host.run("systemctl", "restart", "cpu-guardd")
    host.wait_until("cpu-guardctl status --json | jq -e '.snapshot_origin == \"libvirt\"'")
    machine = "pc-q35-7.2"
    offered = host.shell(
        f"virsh domcapabilities --virttype {virt} --machine {machine} --arch x86_64"
        ' | sed -n "s/.*<model usable=[^>]*>\\([^<]*\\)<.*/\\1/p"'
    ).stdout.split()
    assert len(offered) > 20
    before = host.cursor()
    models = offered[:25]
    try_models(host, virt, models)
    host.wait_until(lambda: sum(opinions(host).values()) >= len(models))
    disagreements = [r["MESSAGE"] for r in told(host, Kind.DISAGREEMENT, before)]

    assert [] == disagreements
    assert {"agreements": len(models), "disagreements": 0, "no-opinion": 0} == opinions(host)

    try_models(host, virt, [*models[:3], offered[25]])
    host.wait_until(lambda: opinions(host)["agreements"] > len(models))
    assert len(models) + 1 == opinions(host)["agreements"]


@pytest.fixture
def misled(guarded_host: Host) -> Iterator[Host]:
    """A host whose daemon reads another CPU map than libvirtd did: Nehalem has AVX-512 there."""
    host, drop_in = guarded_host, "/etc/systemd/system/cpu-guardd.service.d/map.conf"
    host.shell(
        "rm -rf /srv/cpu_map; cp -a /usr/share/libvirt/cpu_map /srv/cpu_map"
        "; sed -i \"s|</model>|<feature name='avx512f'/></model>|\" /srv/cpu_map/x86_Nehalem.xml"
    )
    host.write(drop_in, "[Service]\nBindReadOnlyPaths=/srv/cpu_map:/usr/share/libvirt/cpu_map\n")
    restart = (
        "systemctl daemon-reload; systemctl reset-failed 'cpu-guardd*'; systemctl restart"
        " cpu-guardd.service"
    )
    host.shell(restart)
    host.wait_until("cpu-guardctl status --json | jq -e '.snapshot_origin == \"libvirt\"'")
    yield host
    host.shell(f"rm {drop_in}; {restart}")


def test_libvirt_disagrees(misled: Host) -> None:
    """It is recorded with both answers and counted, once."""
    before = misled.cursor()
    for name in ("web1", "web2"):
        # with a feature, or libvirt 11.3.0 takes QEMU's word for the whole model
        aes = "<feature policy='require' name='aes'/>"
        xml = domain_xml(name, cpu=custom("Nehalem", "partial", features=aes))
        misled.virsh("create", "/dev/stdin", stdin=xml, check=False)
    misled.wait_until(lambda: opinions(misled)["disagreements"] > 0)

    [record] = told(misled, Kind.DISAGREEMENT, before)
    assert ("web1", "superset", "incompatible: missing-feature avx512f", "4") == (
        record["GUARDD_DOMAIN"],
        record["GUARDD_LIBVIRT_ANSWER"],
        record["GUARDD_OWN_ANSWER"],
        record["PRIORITY"],
    )
    assert "Noticed:   " in misled.run("cpu-guardctl", "status").stdout
    assert 1 == opinions(misled)["disagreements"]
