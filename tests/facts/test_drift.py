"""What two snapshots tell apart: recorded hosts, whole, doctored and of other releases."""

from types import MappingProxyType

import pytest

from guardd.cpu import CPUMap
from guardd.cpu.definition import FeaturePolicy, Mode
from guardd.facts.domcaps import Hypervisor
from guardd.facts.drift import Change, Drift, Moved, compare_hosts, fitted
from guardd.facts.snapshot import HostSnapshot, Origin, snapshot_from_json, snapshot_to_json
from tests.recordings import recorded_host, small_map, without

OWN_MAP = small_map()
HASWELL = recorded_host("haswell")
POWER9 = recorded_host("power9")
NEOVERSE = recorded_host("neoverse")
NAMELESS = recorded_host("nameless")
QEMU = "/usr/bin/qemu-system-x86_64"


def marked(snapshot: HostSnapshot, **fingerprint: str) -> HostSnapshot:
    """Give *snapshot* with another fingerprint; "_" in a key is "-"."""
    words = {key.replace("_", "-"): text for key, text in fingerprint.items()}
    return snapshot._replace(fingerprint=MappingProxyType(words))


def of_type(snapshot: HostSnapshot, *virt_types: str) -> HostSnapshot:
    """Give *snapshot* with hypervisors of these types only."""
    kept = tuple(each for each in snapshot.hypervisors if each.virt_type in virt_types)
    return snapshot._replace(hypervisors=kept)


def first(snapshot: HostSnapshot, hypervisor: Hypervisor) -> HostSnapshot:
    """Give *snapshot* with *hypervisor* in the place of its first."""
    return snapshot._replace(hypervisors=(hypervisor, *snapshot.hypervisors[1:]))


KVM = HASWELL.hypervisors[0]
NEW_MACHINE = KVM._replace(machine="pc-q35-6.2")

NO_DRIFT = [
    pytest.param(HASWELL, HASWELL, id="the same"),
    pytest.param(HASWELL, snapshot_from_json(snapshot_to_json(HASWELL)), id="kept and read"),
    pytest.param(HASWELL, HASWELL._replace(taken="2027", origin=Origin.STALE), id="time, origin"),
    pytest.param(
        HASWELL,
        HASWELL._replace(hypervisors=HASWELL.hypervisors[::-1]),
        id="asked about in another order",
    ),
    pytest.param(
        HASWELL,
        HASWELL._replace(hypervisors=(*HASWELL.hypervisors, NEW_MACHINE)),
        id="a machine learned for a new guest",
    ),
    pytest.param(
        HASWELL._replace(hypervisors=(*HASWELL.hypervisors, NEW_MACHINE)),
        HASWELL,
        id="a machine whose guest is gone",
    ),
    pytest.param(of_type(HASWELL, "kvm"), HASWELL, id="a type learned for a new guest"),
    pytest.param(HASWELL._replace(qemu=""), HASWELL._replace(qemu="7.2.0"), id="an old snapshot"),
    pytest.param(POWER9, POWER9, id="PowerPC"),
    pytest.param(NEOVERSE, NEOVERSE, id="an architecture without features"),
    pytest.param(NAMELESS, NAMELESS, id="a CPU without a name"),
]


@pytest.mark.parametrize(("before", "now"), NO_DRIFT)
def test_no_drift(before: HostSnapshot, now: HostSnapshot) -> None:
    """What a guest's CPU does not depend on is no news."""
    drift = compare_hosts(before, now, OWN_MAP)

    assert (True, False) == (drift.is_empty, drift.loses)


CHANGES = [
    pytest.param(
        HASWELL._replace(libvirt="9.0.0", qemu="7.2.0"),
        HASWELL._replace(libvirt="9.0.1", qemu="7.2.9"),
        [Change("libvirt", "9.0.0", "9.0.1"), Change("QEMU", "7.2.0", "7.2.9")],
        id="libvirt and QEMU",
    ),
    pytest.param(
        marked(HASWELL, kernel="6.1.0-18 #1 SMP", microcode="0x1", cpu_map="a"),
        marked(HASWELL, kernel="6.1.0-20 #1 SMP", microcode="0x2", cpu_map="b"),
        [
            Change("kernel", "6.1.0-18", "6.1.0-20"),
            Change("microcode", "0x1", "0x2"),
            Change("CPU map"),
        ],
        id="kernel, microcode, map",
    ),
    pytest.param(
        marked(HASWELL, kernel="6.1.0 #1 SMP"),
        marked(HASWELL, kernel="6.1.0 #2 SMP"),
        [Change("kernel", "6.1.0 #1 SMP", "6.1.0 #2 SMP")],
        id="a kernel built anew",
    ),
    pytest.param(
        marked(HASWELL, microcode=""),
        marked(HASWELL, microcode="0x2"),
        [Change("microcode", "unknown", "0x2")],
        id="microcode could not be read",
    ),
    pytest.param(
        HASWELL._replace(fingerprint=MappingProxyType({QEMU: "1 2 3"})),
        HASWELL._replace(fingerprint=MappingProxyType({QEMU: "1 2 4", "/other": "1 1 1"})),
        [Change(QEMU)],
        id="an emulator's file, and one more emulator",
    ),
    pytest.param(
        NEOVERSE,
        NEOVERSE._replace(host_cpu=None),
        [Change("host CPU", "Neoverse-N1", "unknown")],
        id="the host's CPU has no name any more",
    ),
]


@pytest.mark.parametrize(("before", "now", "changes"), CHANGES)
def test_versions(before: HostSnapshot, now: HostSnapshot, changes: list[Change]) -> None:
    """They are told, and nothing is lost by them alone."""
    drift = compare_hosts(before, now, OWN_MAP)

    assert (tuple(changes), False) == (drift.changes, drift.loses)


def test_features_are_lost_and_come_back() -> None:
    """Of the host's CPU, of each hypervisor, with the models that need them."""
    poorer = without(HASWELL, "avx2", "umip")

    drift = compare_hosts(HASWELL, poorer, OWN_MAP)

    kvm, tcg = drift.hypervisors
    lost = frozenset({"avx2", "umip"})
    assert [lost] * 3 == [drift.host.lost, kvm.features.lost, drift.features.lost]
    assert {"Haswell-noTSX"} == set(kvm.usable.lost)
    assert {"avx2"} == set(tcg.features.lost)
    assert drift.loses

    back = compare_hosts(poorer, HASWELL, OWN_MAP)
    assert (kvm.features.lost, False) == (back.hypervisors[0].features.gained, back.loses)


def test_a_new_release_of_libvirt_and_qemu() -> None:
    """The default machine has another name, the host model another model: the silicon is one."""
    drift = compare_hosts(of_type(HASWELL, "kvm"), recorded_host("haswell11"), OWN_MAP)

    [kvm] = drift.hypervisors
    assert ("pc-q35-7.2", False) == (kvm.key.machine, kvm.is_gone)
    assert (Moved(lost=frozenset({"pni"})), Moved()) == (kvm.features, drift.host)
    assert {"Haswell-v2", "Skylake-Server-v1"} == set(kvm.offered.gained)


def test_no_kvm_any_more() -> None:
    """Switched off in the firmware: its guests have nowhere to go."""
    drift = compare_hosts(HASWELL, of_type(HASWELL, "qemu"), OWN_MAP)

    assert [("kvm", True)] == [(each.key.virt_type, each.is_gone) for each in drift.hypervisors]
    assert drift.loses


def test_an_emulator_at_another_place() -> None:
    """It is the same hypervisor when it is the only one of its kind."""
    moved = KVM._replace(emulator="/usr/libexec/qemu-kvm", modes=KVM.modes - {Mode.MAXIMUM})

    drift = compare_hosts(of_type(HASWELL, "kvm"), first(of_type(HASWELL, "kvm"), moved), OWN_MAP)

    assert [frozenset({"maximum"})] == [each.modes.lost for each in drift.hypervisors]


def test_powerpc_by_model() -> None:
    """It has no features: host-model's name is what counts."""
    tcg = POWER9.hypervisors[0]
    assert tcg.host_model is not None
    other = tcg._replace(host_model=tcg.host_model._replace(model="POWER8"))

    drift = compare_hosts(POWER9, first(POWER9, other), OWN_MAP)

    [changed] = drift.hypervisors
    assert (Change("host-model", tcg.host_model.model or "", "POWER8"),) == changed.changes


def test_a_model_that_the_map_does_not_have() -> None:
    """Nobody can tell what was lost, and that is said."""
    assert KVM.host_model is not None
    strange = KVM._replace(host_model=KVM.host_model._replace(model="Next-Lake"))

    drift = compare_hosts(HASWELL, first(HASWELL, strange), OWN_MAP)

    assert "Unknown CPU model Next-Lake" == drift.hypervisors[0].problem
    assert drift.loses
    assert compare_hosts(first(HASWELL, strange), first(HASWELL, strange), OWN_MAP).is_empty


def test_fitted() -> None:
    """A feature that this map does not know cannot be asked for here, and spoils nothing."""
    assert KVM.host_model is not None
    features = {**KVM.host_model.features, "amx-next": FeaturePolicy.REQUIRE}
    newer = first(
        HASWELL,
        KVM._replace(host_model=KVM.host_model._replace(features=MappingProxyType(features))),
    )

    assert (HASWELL, frozenset({"amx-next"})) == fitted(newer, OWN_MAP)
    assert (POWER9, frozenset()) == fitted(POWER9, OWN_MAP)
    assert (NEOVERSE, frozenset()) == fitted(NEOVERSE, OWN_MAP)


def test_the_installed_map(cpu_map: CPUMap) -> None:
    """With libvirt's own map too, and a recorded host of each release."""
    for release in ("9", "11"):
        host = recorded_host(f"epyc-libvirt{release}")
        assert Drift() == compare_hosts(host, host, cpu_map)
