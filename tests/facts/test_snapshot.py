"""The kept snapshot: written by one run of the daemon, read by the next and by the hook."""

import json
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.cpu.arm.host import ArmHost
from guardd.cpu.arm.midr import MIDR
from guardd.cpu.definition import Arch
from guardd.errors import BadSnapshot
from guardd.facts.domcaps import parse_domcaps
from guardd.facts.snapshot import (
    FORMAT,
    HostSnapshot,
    Origin,
    snapshot_from_json,
    snapshot_to_json,
    with_hypervisor,
    with_present,
)
from tests.recordings import DATA, recorded, recorded_host
from tests.strategies import values

HOSTS = [
    "epyc-libvirt9",
    "epyc-libvirt11",
    "haswell",
    "haswell11",
    "power9",
    "power11",
    "neoverse",
    "nameless",
]
HASWELL = snapshot_to_json(recorded_host("haswell"))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", HOSTS)
def test_round_trip(name: str) -> None:
    """All that a verdict looks at survives; only the origin tells where it is from."""
    snapshot = recorded_host(name)

    read = snapshot_from_json(snapshot_to_json(snapshot))

    assert snapshot._replace(origin=Origin.KEPT) == read


def test_that_of_the_first_version() -> None:
    """An upgrade finds it on disk: until libvirt answers, guests are judged by it."""
    read = snapshot_from_json((DATA / "old/snapshot.json").read_bytes())

    assert ("hosta", "9.0.0", "") == (read.hostname, read.libvirt, read.qemu)
    assert read.host_cpu is not None
    assert ("kvm64", "AMD") == (read.host_cpu.model, read.host_cpu.vendor)
    known = {(hypervisor.virt_type, hypervisor.arch) for hypervisor in read.hypervisors}
    assert {(virt, arch) for virt in ("kvm", "qemu") for arch in (Arch.I686, Arch.X86_64)} == known
    assert all("Nehalem" in hypervisor.models for hypervisor in read.hypervisors)
    assert read == snapshot_from_json(snapshot_to_json(read))


ARM_HOSTS = st.builds(
    ArmHost,
    cores=st.frozensets(st.integers(0, 2**32 - 1).map(MIDR.of), max_size=4),
    features=st.frozensets(st.text()),
    registers=st.dictionaries(st.text(), st.integers(0, 2**64 - 1)).map(MappingProxyType),
    page_size=st.sampled_from([4096, 16384, 65536]),
)
ARM = ArmHost(
    cores=frozenset({MIDR.of(0x413FD0C1), MIDR.of(0x410FD083)}),
    features=frozenset({"fp", "sve"}),
    registers=MappingProxyType({"ID_AA64PFR0_EL1": 0x11}),
    page_size=65536,
)


@given(
    values(
        HostSnapshot,
        hostname=st.text(),
        taken=st.text(),
        libvirt=st.text(),
        qemu=st.text(),
        arm=st.none() | ARM_HOSTS,
        arch=st.sampled_from(Arch),
        host_cpu=st.sampled_from([recorded_host(name).host_cpu for name in HOSTS]),
        hypervisors=st.sampled_from([recorded_host(name).hypervisors for name in HOSTS]),
        machines=st.dictionaries(
            st.sampled_from(Arch), st.dictionaries(st.text(), st.text()), max_size=2
        ),
        fingerprint=st.dictionaries(st.text(), st.text()),
    )
)
def test_round_trip_of_any_text(snapshot: HostSnapshot) -> None:
    """Host names, paths and machine names are somebody else's."""
    assert snapshot._replace(origin=Origin.KEPT) == snapshot_from_json(snapshot_to_json(snapshot))


def test_what_is_read_cannot_be_changed() -> None:
    """A snapshot is swapped whole between threads."""
    read = snapshot_from_json(HASWELL)

    assert isinstance(read.fingerprint, MappingProxyType)
    assert isinstance(read.machines, MappingProxyType)
    assert isinstance(read.machines[Arch.X86_64], MappingProxyType)
    assert isinstance(read.hypervisors[0].models, MappingProxyType)


@pytest.mark.parametrize("size", range(0, len(HASWELL) - 2, 97))
def test_truncated(size: int) -> None:
    """A disk that ran full in the middle of a write of some other program."""
    with pytest.raises(BadSnapshot):
        snapshot_from_json(HASWELL[:size])


@pytest.mark.parametrize("text", [b"", b"\0" * 100, b"\xff\xfe", b"[" * 100_000, b"null", b"[]"])
def test_not_a_snapshot(text: bytes) -> None:
    """A file of zeros is what some filesystems leave after a crash."""
    with pytest.raises(BadSnapshot):
        snapshot_from_json(text)


def test_garbage_is_not_quoted() -> None:
    """All of it would go to the journal."""
    with pytest.raises(BadSnapshot, match=r"\Akept snapshot is not UTF-8\Z"):
        snapshot_from_json(b"{\xc8" * 10_000)


def _changed(change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(HASWELL)
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (key, value)
        for key, found in json.loads(HASWELL).items()
        for value in (7, False, ["x"], "x", {"x": 7})
        if not (value == "x" and isinstance(found, str) and key != "arch")
    ]
    + [("host_cpu", "x")],
)
def test_wrong_type(key: str, value: object) -> None:
    """Whatever stands in the place of a value, it is one error and never half a snapshot."""
    with pytest.raises(BadSnapshot):
        snapshot_from_json(_changed(lambda document: document.update({key: value})))


def _changed_arm(change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(snapshot_to_json(recorded_host("neoverse")._replace(arm=ARM)))
    change(document["arm"])
    return json.dumps(document)


def test_registers_of_arm() -> None:
    """Whatever there is to know of the cores comes back."""
    assert ARM == snapshot_from_json(_changed_arm(lambda _arm: None)).arm


@pytest.mark.parametrize("key", ["cores", "features", "registers", "page_size"])
def test_missing_key_of_arm(key: str) -> None:
    """Half of it is none of it."""
    with pytest.raises(BadSnapshot):
        snapshot_from_json(_changed_arm(lambda arm: arm.pop(key)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cores", [1.5]),
        ("cores", ["0x41"]),
        ("cores", [True]),
        ("cores", 7),
        ("features", "fp"),
        ("features", [7]),
        ("registers", []),
        ("registers", {"ID_AA64PFR0_EL1": "0x11"}),
        ("page_size", None),
        ("page_size", "4096"),
        ("page_size", True),
    ],
)
def test_wrong_type_of_arm(key: str, value: object) -> None:
    """The same one level down."""
    with pytest.raises(BadSnapshot):
        snapshot_from_json(_changed_arm(lambda arm: arm.update({key: value})))


LATER_KEYS = {"qemu", "arm"}  # that the first snapshots lack


@pytest.mark.parametrize("key", sorted(LATER_KEYS))
def test_first_snapshots_are_read(key: str) -> None:
    """After an upgrade, the host is known until libvirt answers."""
    assert snapshot_from_json(_changed(lambda document: document.pop(key))) is not None


@pytest.mark.parametrize("key", json.loads(HASWELL).keys() - sorted(LATER_KEYS))
def test_missing_key(key: str) -> None:
    """A stranger's file is not guessed at."""
    with pytest.raises(BadSnapshot):
        snapshot_from_json(_changed(lambda document: document.pop(key)))


@pytest.mark.parametrize("key", json.loads(HASWELL)["hypervisors"][0])
def test_missing_key_of_a_hypervisor(key: str) -> None:
    """The same one level down."""
    with pytest.raises(BadSnapshot):
        snapshot_from_json(_changed(lambda document: document["hypervisors"][0].pop(key)))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d.update(format=FORMAT + 1), id="a newer format"),
        pytest.param(lambda d: d.update(arch="pdp11"), id="unknown arch"),
        pytest.param(lambda d: d.update(host_cpu="<cpu"), id="host CPU is no XML"),
        pytest.param(lambda d: d.update(host_cpu="<cpu/>"), id="host CPU without arch"),
        pytest.param(lambda d: d["machines"].update(pdp11={}), id="machines of unknown arch"),
        pytest.param(lambda d: d["fingerprint"].update(kernel=7), id="fingerprint of numbers"),
        pytest.param(lambda d: d["hypervisors"][0].update(modes=["best"]), id="unknown mode"),
        pytest.param(lambda d: d["hypervisors"][0].update(modes=[["custom"]]), id="mode in a list"),
        pytest.param(lambda d: d["hypervisors"][0].update(host_model="<a/>"), id="host model"),
        pytest.param(lambda d: d["hypervisors"][0].update(models=[]), id="models in a list"),
        pytest.param(lambda d: d["hypervisors"][0].update(emulator=None), id="no emulator"),
        pytest.param(
            lambda d: d["hypervisors"][0]["models"]["Haswell"].update(usable="maybe"), id="usable"
        ),
        pytest.param(
            lambda d: d["hypervisors"][0]["models"]["Haswell"].update(blockers=[7]), id="blockers"
        ),
    ],
)
def test_wrong_word(change: Callable[[dict[str, Any]], object]) -> None:
    """Words that this program does not know are refused, not dropped."""
    with pytest.raises(BadSnapshot):
        snapshot_from_json(_changed(change))


def test_the_error_says_which_format() -> None:
    """After a downgrade of the package the journal must say why nothing is known."""
    with pytest.raises(BadSnapshot, match="its format is 2, this program reads 1"):
        snapshot_from_json(_changed(lambda document: document.update(format=2)))


@given(JSON)
def test_any_json(document: object) -> None:
    """No JSON at all makes it raise anything else, or be taken for a snapshot."""
    with pytest.raises(BadSnapshot):
        snapshot_from_json(json.dumps(document))


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    """The same for bytes."""
    with pytest.raises(BadSnapshot):
        snapshot_from_json(data)


@given(st.data())
def test_any_value_in_any_place(data: st.DataObject) -> None:
    """A changed value is read as a snapshot or refused; nothing else can happen."""
    document = json.loads(HASWELL)
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not (place[key] and isinstance(place[key], (dict, list)) and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = data.draw(JSON)

    try:
        snapshot = snapshot_from_json(json.dumps(document))
    except BadSnapshot:
        return

    assert snapshot == snapshot_from_json(snapshot_to_json(snapshot))


def test_with_hypervisor() -> None:
    """What libvirt says now replaces what it said of the same guests; others stay."""
    snapshot = recorded_host("haswell")
    kvm, tcg = snapshot.hypervisors
    newer = kvm._replace(host_model=None)
    other = parse_domcaps(recorded("ppc64le-epyc-libvirt9-tcg"))

    assert (tcg, newer) == with_hypervisor(snapshot, newer).hypervisors
    assert (kvm, tcg, other) == with_hypervisor(snapshot, other).hypervisors


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ({"kernel": "6.1.0"}, Origin.KEPT),
        ({"kernel": "6.1.1"}, Origin.STALE),
        ({}, Origin.STALE),
        ({"kernel": "6.1.0", "microcode": "0x1"}, Origin.STALE),
    ],
)
def test_with_present(present: dict[str, str], expected: Origin) -> None:
    """A kept snapshot is only believed while the host is still the same."""
    kept = snapshot_from_json(HASWELL)

    assert expected is with_present(kept, MappingProxyType(present)).origin


def test_canonical_machine() -> None:
    """An alias stands for another machine on each host; without one the name is its own."""
    snapshot = recorded_host("haswell")

    assert "pc-q35-7.2" == snapshot.canonical_machine(Arch.X86_64, "q35")
    assert "pc-q35-6.0" == snapshot.canonical_machine(Arch.X86_64, "pc-q35-6.0")
    assert "q35" == snapshot.canonical_machine(Arch.PPC64, "q35")
