"""Drift in words."""

import json
from types import MappingProxyType

from guardd.facts.drift import Change, Drift, HypervisorDrift, Moved, compare_hosts
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.states import GuestState, Standing
from guardd.judge.drift import Judged, judge_all
from guardd.render.drift import (
    affected_fields,
    affected_line,
    by_guest,
    drift_lines,
    drift_to_dict,
    judged_to_dict,
    summary,
)
from tests.judge.table import HASWELL, OWN_MAP, UUID, cpu, domain, policy_of
from tests.recordings import recorded_host, without

POORER = without(HASWELL, "avx2", "umip", "vme")._replace(
    taken="2026-11-23T06:00:00Z",
    qemu="7.2.1",
    fingerprint=MappingProxyType({"kernel": "6.1.0"}),
)
RICHER = HASWELL._replace(
    qemu="7.2.0", fingerprint=MappingProxyType({"kernel": "6.1.0", "microcode": "0x1"})
)


def compared(before: HostSnapshot, now: HostSnapshot) -> Drift:
    """Compare with the small map."""
    return compare_hosts(before, now, OWN_MAP)


def lines_of(drift: Drift) -> list[str]:
    """Give all lines."""
    return list(drift_lines(drift))


def guests(*standings: str, name: str = "web1") -> list[Judged]:
    """Judge a guest that needs avx2 in some of its states, before and after it was lost."""
    xml = domain(cpu("Haswell-noTSX", attributes="check='full'"))
    states = [
        GuestState(name=name, uuid=UUID, standing=Standing(word), xml=xml, snapshot=tag)
        for word, _, tag in (standing.partition(" ") for standing in standings)
    ]
    return list(judge_all(states, HASWELL, POORER, policy_of(""), OWN_MAP))


def test_lost() -> None:
    """The versions, then what went, alike machines in one."""
    drift = compared(RICHER, POORER)

    assert (
        "QEMU 7.2.1 (was 7.2.0), host CPU Nehalem (was Haswell-noTSX): lost avx2, umip (+1)"
    ) == summary(drift)
    assert [
        "QEMU 7.2.1 (was 7.2.0)",
        "host CPU Nehalem (was Haswell-noTSX)",
        "host CPU lost: avx2, umip, vme",
        "KVM x86_64 (pc-q35-7.2) of /usr/bin/qemu-system-x86_64:",
        "  lost: avx2, umip, vme",
        "  models not usable any more: Haswell-noTSX",
        "TCG x86_64 (pc-q35-7.2) of /usr/bin/qemu-system-x86_64:",
        "  lost: avx2, vme",
        "  models not usable any more: EPYC, Haswell-noTSX",
    ] == lines_of(drift)


def test_machines_of_one_emulator() -> None:
    """They are told once."""
    kvm = HASWELL.hypervisors[0]
    pair = HASWELL._replace(hypervisors=(kvm, kvm._replace(machine="pc-i440fx-7.2")))

    lines = lines_of(compared(pair, without(pair, "avx2")))

    assert "KVM x86_64 (pc-q35-7.2, pc-i440fx-7.2) of /usr/bin/qemu-system-x86_64:" in lines
    assert 1 == sum(line.startswith("  lost") for line in lines)


def test_nothing_lost() -> None:
    """A package that was put in again: said, and said to be harmless."""
    again = HASWELL._replace(fingerprint=MappingProxyType({"kernel": "6.1.1"}))

    drift = compared(HASWELL, again)

    assert "kernel 6.1.1 (was 6.1.0): nothing lost, nothing gained" == summary(drift)
    assert ["kernel 6.1.1 (was 6.1.0)", "nothing lost, nothing gained"] == lines_of(drift)
    assert [] == lines_of(Drift())


def test_models_only() -> None:
    """A new QEMU knows more names; no feature moved."""
    kvm = HASWELL.hypervisors[0]
    more = kvm._replace(models=MappingProxyType({**kvm.models, "Old": kvm.models["Nehalem"]}))
    now = HASWELL._replace(hypervisors=(more, *HASWELL.hypervisors[1:]))

    assert "no feature lost, none gained" == summary(compared(HASWELL, now))
    assert "models not usable any more: Old" == summary(compared(now, HASWELL))


def test_gone() -> None:
    """No KVM any more."""
    now = HASWELL._replace(hypervisors=HASWELL.hypervisors[1:])

    assert "no KVM x86_64 any more" == summary(compared(HASWELL, now))
    assert "  is not there any more" in lines_of(compared(HASWELL, now))


def test_many_changes() -> None:
    """The one line stays one."""
    changes = tuple(Change(f"/usr/bin/qemu-{number}") for number in range(9))

    line = summary(Drift(changes=changes))

    assert line.startswith("/usr/bin/qemu-0 changed, /usr/bin/qemu-1 changed,")
    assert line.endswith("changed (+5): nothing lost, nothing gained")


def test_no_control_characters() -> None:
    """A snapshot may be somebody else's file."""
    moved = Moved(lost=frozenset({"a\x1b[31m\n"}))
    key = HASWELL.hypervisors[0].key._replace(machine="m\n", emulator="/e\x07")
    drift = Drift(
        changes=(Change("k\n", "\x1b", "\r"),),
        host=moved,
        hypervisors=(HypervisorDrift(key=key, features=moved, modes=moved, problem="p\n"),),
    )

    assert all(line.isprintable() for line in [summary(drift), *drift_lines(drift)])


def test_affected() -> None:
    """One line for all states of a guest, and one record."""
    judged = guests("running", "saved", "snapshot before update")

    assert (
        "web1 (running, saved, snapshot before update) would now be refused: web1 needs avx2 from"
        " Haswell-noTSX; this host (Haswell-noTSX, KVM) lacks it"
    ) == affected_line(judged)
    fields = affected_fields(judged)
    assert ("web1", UUID) == (fields["GUARDD_DOMAIN"], fields["GUARDD_DOMAIN_UUID"])
    assert "missing-feature:avx2" == fields["GUARDD_FINDINGS"]
    assert 3 == fields["GUARDD_REPORT"].count("web1: ")
    # a verdict has it, and `explain` goes by that
    assert "GUARDD_DECISION" not in fields


def test_by_guest() -> None:
    """States of one guest together, in order."""
    one, other, same = (*guests("running"), *guests("saved", name="db1"), *guests("saved"))

    assert [[one, same], [other]] == by_guest([one, other, same])


def test_json() -> None:
    """It can be written, and holds all."""
    other = recorded_host("haswell11")
    document = json.loads(json.dumps(drift_to_dict(compared(HASWELL, other), HASWELL, other)))

    assert ["haswell", "haswell11"] == [document[word]["hostname"] for word in ("before", "now")]
    assert ["pni"] == document["hypervisors"][0]["features"]["lost"]
    [judged] = guests("running")
    guest = json.loads(json.dumps(judged_to_dict(judged)))
    assert ("web1", "running", "affected") == (guest["name"], guest["state"], guest["effect"])
    assert "missing-feature" == guest["verdict"]["findings"][0]["code"]
