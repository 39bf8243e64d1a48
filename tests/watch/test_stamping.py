"""Who gets a stamp, when, and what it says: on guests of libvirt's test driver."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import pytest

from guardd import libvirtconn
from guardd.cpu.definition import Arch, CPUDef, FeaturePolicy, Mode
from guardd.facts.domain import Guest, parse_domain
from guardd.facts.domcaps import Hypervisor
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.stamp import NAMESPACE, PREFIX, Stamp, format_stamp
from guardd.journal import Kind
from guardd.judge.finding import Operation
from guardd.judge.policy import Policy
from guardd.libvirtconn import Connection, GuestEvent, Happening
from guardd.watch.asked import Asked
from guardd.watch.chore import Desk, Known
from guardd.watch.stamping import MAX_TRIES, Deed, Stamping, choose_deed
from guardd.watch.starting import Starting
from tests.recordings import small_map

MAP = small_map()
FIELDS = {"GUARDD_DOMAIN", "GUARDD_DOMAIN_UUID", "GUARDD_ELAPSED_USEC"}
NODE = "<node><cpu><mhz>1</mhz><model>m</model><active>1</active></cpu></node>"
OPEN, CUSTOM = "<cpu mode='maximum'/>", "<cpu check='full'><model>Nehalem</model></cpu>"
UNTOLD = "<cpu check='partial'><model>Nehalem</model></cpu>"

GIVES = CPUDef(model="Nehalem", features=MappingProxyType({"aes": FeaturePolicy.REQUIRE}))
HOST = HostSnapshot(
    hostname="here",
    taken="2026-11-22T21:00:00Z",
    libvirt="9.0.0",
    qemu="7.2.0",
    arch=Arch.X86_64,
    host_cpu=None,
    hypervisors=(
        Hypervisor(
            virt_type="test",
            arch=Arch.X86_64,
            machine="m",
            emulator="/e",
            modes=frozenset(Mode),
            host_model=GIVES,
        ),
    ),
    fingerprint=MappingProxyType({"kernel": "6.1.0 #1", "microcode": "0x1"}),
)
ELSEWHERE = Stamp(
    uuid="7d0a5d4e-30d5-4a4b-9a5f-9d3c8f6c2f0e",
    taken="2026-01-01T00:00:00Z",
    host="there",
    virt_type="test",
    arch=Arch.X86_64,
    model="Haswell",
    features=frozenset({"aes", "avx"}),
    tsc=2_000_000_000,
)


@dataclass
class Seen:
    """All that a chore tells."""

    said: list[tuple[str, str]] = field(default_factory=list)  # priority and message
    counts: Counter[str] = field(default_factory=Counter)
    notes: dict[str, str] = field(default_factory=dict)
    host: HostSnapshot = HOST

    def say(self, kind: str, priority: str, message: str, **fields: str) -> None:
        assert Kind.STAMP == kind
        assert fields.keys() <= FIELDS
        self.said.append((priority, message))

    def desk(self) -> Desk:
        return Desk(
            known=lambda: Known(host=self.host, policy=Policy(), cpu_map=MAP),
            say=self.say,
            count=lambda what: self.counts.update([what]),
            note=self.notes.__setitem__,
        )

    def problems(self) -> list[str]:
        return [problem for problem in self.notes.values() if problem]


@dataclass
class Bench:
    """A chore, its libvirt, and guests in there."""

    connection: Connection
    seen: Seen = field(default_factory=Seen)
    asked: Asked = field(default_factory=Asked)

    def __post_init__(self) -> None:
        self.chore = Stamping(self.seen.desk(), self.asked)

    def start(self, name: str, cpu: str, stamp: str = "") -> None:
        """Start a guest; *stamp* is what its definition has in <metadata>."""
        self.connection.createXML(
            f"<domain type='test'><name>{name}</name><metadata>{stamp}</metadata>"
            f"<memory>1024</memory><os><type arch='x86_64'>hvm</type></os>{cpu}</domain>"
        )

    def pause(self, name: str) -> None:
        """Pause a guest and have it run on: libvirt forgets how it came to run."""
        domain = self.connection.lookupByName(name)
        domain.suspend()
        domain.resume()

    def event(self, name: str, what: Happening, at: float | None = None) -> GuestEvent:
        uuid = self.connection.lookupByName(name).UUIDString()
        event = GuestEvent(uuid=uuid, name=name, what=what)
        return event if at is None else replace(event, at=at)

    def happens(self, name: str, what: Happening) -> None:
        self.chore.happened(self.connection, self.event(name, what))

    def put(self, name: str, stamp: Stamp | None) -> None:
        """Write a stamp as it came from elsewhere, or take it away."""
        uuid = self.event(name, Happening.BOOTED).uuid
        text = None if stamp is None else format_stamp(stamp._replace(uuid=uuid))
        assert libvirtconn.set_metadata(self.connection, uuid, text, PREFIX, NAMESPACE)

    def guest(self, name: str) -> Guest:
        return parse_domain(self.connection.lookupByName(name).XMLDesc())

    def stamp(self, name: str) -> Stamp | None:
        guest = self.guest(name)
        assert "" == guest.stamp_problem
        return guest.stamp


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A libvirt of its own: the test driver's default one is shared by the whole process."""
    libvirtconn.silence_stderr()
    (tmp_path / "node.xml").write_text(NODE)
    connection = libvirtconn.open_connection(f"test://{tmp_path}/node.xml")
    yield Bench(connection)
    libvirtconn.close(connection)


START = [Happening.MIGRATED, Happening.RESTORED, Happening.REVERTED, Happening.WOKEN]


@pytest.mark.parametrize(
    ("what", "facts", "deed"),
    [
        # a boot is always written down, whatever the definition brought along
        *(
            (Happening.BOOTED, facts, "write")
            for facts in ("", "stamp", "open", "open stamp", "open stamp given here")
        ),
        # what comes with a stamp keeps it
        *((what, facts, "keep") for what in START for facts in ("stamp", "open stamp given here")),
        # what comes without: a guest's XML tells its features, unless it takes what there is
        *((what, "", "write-less") for what in START),
        *((what, "open", "leave-without") for what in START),
        *((what, "open given", "leave-without") for what in START),
        # a reset
        (Happening.RESET, "", "write"),
        (Happening.RESET, "stamp", "write"),
        (Happening.RESET, "open given", "write"),
        (Happening.RESET, "open stamp given", "write"),
        (Happening.RESET, "open stamp here", "write"),
        (Happening.RESET, "open stamp", "take-away"),
        (Happening.RESET, "open", "leave-without"),
    ],
)
def test_deeds(what: Happening, facts: str, deed: str) -> None:
    """What happened, what is known of the guest, what is done."""
    assert Deed(deed) is choose_deed(
        what,
        is_open="open" in facts,
        has_stamp="stamp" in facts,
        is_given_known="given" in facts,
        is_of_here="here" in facts,
    )


@pytest.mark.parametrize(
    ("cpu", "features"), [(OPEN, {"aes", "sse2"}), (CUSTOM, {"sse2"})], ids=["open", "custom"]
)
def test_a_boot(bench: Bench, cpu: str, features: set[str]) -> None:
    """It says who, where, by what, and names the features."""
    bench.start("web1", cpu)
    bench.happens("web1", Happening.BOOTED)
    stamp = bench.stamp("web1")

    assert stamp is not None
    assert stamp.features >= features
    assert ("aes" in features) is ("aes" in stamp.features)
    assert (bench.guest("web1").uuid, "here", "test", Arch.X86_64, "Nehalem") == (
        stamp.uuid,
        stamp.host,
        stamp.virt_type,
        stamp.arch,
        stamp.model,
    )
    assert {
        "libvirt": "9.0.0",
        "qemu": "7.2.0",
        "kernel": "6.1.0",
        "microcode": "0x1",
    } == stamp.versions
    ((priority, message),) = bench.seen.said
    assert "6" == priority
    assert message.startswith(f"web1 was stamped: {len(stamp.features)} features of Nehalem, in ")
    assert {"stamped": 1} == bench.seen.counts
    assert [] == bench.seen.problems()


def test_a_definition_with_an_old_stamp(bench: Bench) -> None:
    """As after `virsh dumpxml | virsh define`: a boot makes it void."""
    old = format_stamp(ELSEWHERE).replace("<stamp", f"<stamp xmlns='{NAMESPACE}'")
    bench.start("web1", OPEN, old)
    bench.happens("web1", Happening.BOOTED)

    stamp = bench.stamp("web1")
    assert stamp is not None
    assert "here" == stamp.host


@pytest.mark.parametrize("what", START)
@pytest.mark.parametrize("cpu", [OPEN, CUSTOM], ids=["open", "custom"])
def test_an_arrival_keeps_its_stamp(bench: Bench, what: Happening, cpu: str) -> None:
    """Byte for byte, and nothing is said."""
    bench.start("web1", cpu)
    bench.pause("web1")
    bench.put("web1", ELSEWHERE)
    before = bench.connection.lookupByName("web1").XMLDesc()
    bench.happens("web1", what)

    assert before == bench.connection.lookupByName("web1").XMLDesc()
    assert ([], Counter(), []) == (bench.seen.said, bench.seen.counts, bench.seen.problems())


@pytest.mark.parametrize(
    "text", ["<stamp version='2'/>", "<stamp/>", "<other/>", "<stamp a='&lt;'/>"]
)
def test_an_arrival_with_a_bad_stamp(bench: Bench, text: str) -> None:
    """It is left as it is: who judges the guest elsewhere shall see that it is bad."""
    bench.start("web1", OPEN, text.replace(" ", f" xmlns='{NAMESPACE}' ", 1))
    before = bench.connection.lookupByName("web1").XMLDesc()
    bench.happens("web1", Happening.MIGRATED)

    assert before == bench.connection.lookupByName("web1").XMLDesc()


def test_an_arrival_without_a_stamp(bench: Bench) -> None:
    """Its XML tells the features; nothing is said of a host that nobody knows."""
    bench.start("web1", CUSTOM)
    bench.happens("web1", Happening.MIGRATED)
    stamp = bench.stamp("web1")

    assert stamp is not None
    assert "sse2" in stamp.features
    assert ({}, None, "", None) == (stamp.versions, stamp.tsc, stamp.vendor, stamp.phys_bits)


def test_an_open_arrival_without_a_stamp(bench: Bench) -> None:
    """Nobody can tell what it saw: no stamp, and that is said, for as long as it runs."""
    bench.start("web1", OPEN)
    bench.happens("web1", Happening.MIGRATED)

    assert bench.stamp("web1") is None
    assert [
        ("4", "web1 runs here with a CPU that only a stamp could tell, and has none")
    ] == bench.seen.said
    assert {"unstamped": 1} == bench.seen.counts
    assert [
        "1 running guest has a CPU that only a stamp could tell, and none"
    ] == bench.seen.problems()
    bench.happens("web1", Happening.STOPPED)
    assert [] == bench.seen.problems()


def test_a_reset_renews(bench: Bench) -> None:
    """A guest that came from elsewhere sees, after a reset, what this host gives."""
    bench.start("web1", OPEN)
    bench.put("web1", ELSEWHERE)
    bench.happens("web1", Happening.MIGRATED)
    # an update meanwhile changes nothing of what the guest's QEMU gives, which runs already
    bench.seen.host = HOST._replace(qemu="8.0.0", hypervisors=())
    bench.happens("web1", Happening.RESET)
    stamp = bench.stamp("web1")

    assert stamp is not None
    assert ("here", "7.2.0") == (stamp.host, stamp.versions["qemu"])
    assert "aes" in stamp.features
    assert "avx" not in stamp.features
    # KVM goes on with the frequency that came along
    assert ELSEWHERE.tsc == stamp.tsc


def test_a_reset_of_a_guest_that_started_before_the_daemon(bench: Bench) -> None:
    """Its stamp is of this host as it is: nothing was updated, so it gives what is known."""
    bench.start("web1", OPEN)
    bench.happens("web1", Happening.BOOTED)
    old = bench.stamp("web1")
    later = Bench(bench.connection)
    assert old is not None
    later.put("web1", old._replace(taken=ELSEWHERE.taken))
    later.chore.connected(bench.connection)
    later.happens("web1", Happening.RESET)

    new = later.stamp("web1")
    assert new is not None
    assert new.taken > ELSEWHERE.taken
    assert old._replace(taken=new.taken) == new


@pytest.mark.parametrize("stamp", [ELSEWHERE, ELSEWHERE._replace(host="here")])
def test_a_reset_of_a_guest_that_nobody_saw_start(bench: Bench, stamp: Stamp) -> None:
    """Its stamp is of another host, or of this one before an update: it would be a guess now."""
    bench.start("web1", OPEN)
    bench.put("web1", stamp)
    bench.chore.connected(bench.connection)
    assert [] == bench.seen.problems()
    bench.happens("web1", Happening.RESET)

    assert bench.stamp("web1") is None
    ((priority, message),) = bench.seen.said
    assert "4" == priority
    assert message.startswith("web1 lost its stamp: it reset, and ")
    assert 1 == len(bench.seen.problems())


def test_a_daemon_that_comes_late(bench: Bench) -> None:
    """What runs already: an XML that tells is stamped, the rest is named, to who reads journals."""
    bench.start("told", CUSTOM)
    for number in range(7):
        bench.start(f"open{number}", OPEN)
    bench.chore.connected(bench.connection)

    assert bench.stamp("told") is not None
    assert [None] * 7 == [bench.stamp(f"open{number}") for number in range(7)]
    line = "7 running guests have a CPU that only a stamp could tell, and none"
    assert [line] == bench.seen.problems()
    assert [f"{line}: open0, open1, open2, open3, open4 (+2)"] == [
        said for priority, said in bench.seen.said if priority == "4"
    ]
    bench.chore.connected(bench.connection)
    assert 1 == len([said for priority, said in bench.seen.said if priority == "4"])


def test_events_that_were_missed(bench: Bench) -> None:
    """The hook saw it start from nothing while libvirt was away: that is as good as the event."""
    bench.asked.note("web1", Operation.PREPARE)
    bench.asked.note("came", Operation.MIGRATE)
    bench.asked.note("came", Operation.PREPARE)
    bench.start("web1", OPEN)
    bench.start("came", OPEN)
    bench.chore.connected(bench.connection)

    assert bench.stamp("web1") is not None
    assert bench.stamp("came") is None
    # found again, it is left as it is
    bench.put("web1", ELSEWHERE)
    bench.chore.connected(bench.connection)
    stamp = bench.stamp("web1")
    assert stamp is not None
    assert ELSEWHERE.host == stamp.host


def test_a_start_that_was_missed(bench: Bench) -> None:
    """It stopped and started again meanwhile: what was known of its last run is void."""
    bench.asked.note("web1", Operation.PREPARE)
    bench.start("web1", OPEN)
    bench.happens("web1", Happening.BOOTED)
    bench.put("web1", None)
    bench.asked.note("web1", Operation.PREPARE)
    bench.chore.connected(bench.connection)

    assert bench.stamp("web1") is not None


@pytest.mark.parametrize("what", ["", "updated", "attended"])
def test_a_boot_that_another_process_was_asked_about(
    bench: Bench, tmp_path: Path, what: str
) -> None:
    """It was killed before the guest ran: the next one stamps it, on a host that is as it was."""
    gone = Asked(starting=Starting(tmp_path / "starting"))
    gone.note("web1", Operation.PREPARE)
    gone.allowed("web1")
    bench.start("web1", OPEN)
    bench.pause("web1")
    later = Bench(bench.connection, asked=Asked(starting=Starting(tmp_path / "starting")))
    if what == "updated":
        later.chore.changed(bench.connection, HOST, HOST._replace(qemu="8.0.0"))
    elif what == "attended":
        Bench(bench.connection, asked=gone).happens("web1", Happening.BOOTED)
        later.put("web1", ELSEWHERE)
        later = Bench(bench.connection, asked=Asked(starting=Starting(tmp_path / "starting")))
    later.chore.connected(bench.connection)

    stamp = later.stamp("web1")
    assert {"": "here", "updated": None, "attended": "there"}[what] == (stamp and stamp.host)
    assert [] == list((tmp_path / "starting").iterdir())


def test_a_guest_that_has_stopped(bench: Bench) -> None:
    """Before it was stamped: nothing happens, nothing is said."""
    bench.start("web1", OPEN)
    event = bench.event("web1", Happening.BOOTED)
    bench.connection.lookupByName("web1").destroy()
    bench.chore.happened(bench.connection, event)

    assert ([], Counter(), []) == (bench.seen.said, bench.seen.counts, bench.seen.problems())
    assert not libvirtconn.set_metadata(bench.connection, event.uuid, "<stamp/>", PREFIX, NAMESPACE)


def test_a_libvirt_that_fails(bench: Bench, tmp_path: Path) -> None:
    """It is tried again at each tick, and not for ever."""
    bench.start("web1", OPEN)
    event = bench.event("web1", Happening.BOOTED)
    gone = libvirtconn.open_connection(f"test://{tmp_path}/node.xml")
    gone.close()
    bench.chore.happened(gone, event)
    bench.chore.ticked(gone)
    bench.chore.ticked(bench.connection)

    assert bench.stamp("web1") is not None
    bench.put("web1", None)
    bench.chore.happened(gone, event)
    for _ in range(MAX_TRIES):
        bench.chore.ticked(gone)
    bench.chore.ticked(bench.connection)
    assert bench.stamp("web1") is None


def test_a_revert_to_a_guest_that_was_off(bench: Bench) -> None:
    """libvirt calls the event a revert, and the state booted: that it is."""
    bench.start("web1", OPEN)
    bench.happens("web1", Happening.REVERTED)

    assert bench.stamp("web1") is not None


def test_a_guest_that_gets_none(bench: Bench) -> None:
    """Nothing tells what it sees: said once, as it is nobody's mistake."""
    bench.start("web1", UNTOLD)
    bench.start("web2", UNTOLD)
    bench.happens("web1", Happening.BOOTED)
    bench.happens("web2", Happening.BOOTED)

    assert bench.stamp("web1") is None
    assert [
        ("6", "guests like web1 get no stamp: libvirt does not tell its CPU in force")
    ] == bench.seen.said


@pytest.mark.parametrize("cpu", [OPEN, CUSTOM], ids=["open", "custom"])
def test_a_hypervisor_that_is_told_of_later(bench: Bench, cpu: str) -> None:
    """The guest waits for its stamp until libvirt has told what its hypervisor gives."""
    bench.seen.host = HOST._replace(hypervisors=())
    bench.start("web1", cpu)
    bench.happens("web1", Happening.BOOTED)
    for _ in range(MAX_TRIES + 1):
        bench.chore.ticked(bench.connection)

    assert bench.stamp("web1") is None
    ((priority, message),) = bench.seen.said
    assert "6" == priority
    assert "guests like web1 get no stamp before libvirt tells more: " in message
    # as it is told of after libvirtd came back: not an update
    bench.chore.changed(bench.connection, bench.seen.host, HOST)
    bench.seen.host = HOST
    bench.chore.ticked(bench.connection)
    stamp = bench.stamp("web1")
    assert stamp is not None
    assert (HOST.hostname, "7.2.0") == (stamp.host, stamp.versions["qemu"])
    assert [] == bench.seen.problems()


def test_a_hypervisor_that_is_updated_before_it_is_told_of(bench: Bench) -> None:
    """What the guest's QEMU gives is not what the new one does: as for a guest found running."""
    bench.seen.host = HOST._replace(hypervisors=())
    for name, cpu in (("open", OPEN), ("told", CUSTOM)):
        bench.start(name, cpu)
        bench.pause(name)
        bench.happens(name, Happening.BOOTED)
    bench.seen.host, before = HOST._replace(qemu="8.0.0"), bench.seen.host
    bench.chore.changed(bench.connection, before, bench.seen.host)
    bench.chore.ticked(bench.connection)

    assert bench.stamp("open") is None
    stamp = bench.stamp("told")
    assert stamp is not None
    assert {} == stamp.versions
    assert ["1 running guest has a CPU that only a stamp could tell, and none"] == (
        bench.seen.problems()
    )


def test_a_read_only_connection(bench: Bench) -> None:
    """Said once, shown in the status, tried on, and over when it is mended."""
    may, may_not = (
        libvirtconn.open_connection("test:///default", read_only=only) for only in (False, True)
    )
    bench.seen.host = HOST._replace(hypervisors=(HOST.hypervisors[0]._replace(arch=Arch.I686),))
    may.createXML(
        "<domain type='test'><name>ro</name><memory>1024</memory><os><type arch='i686'>hvm</type>"
        f"</os>{CUSTOM}</domain>"
    )
    event = GuestEvent(uuid=may.lookupByName("ro").UUIDString(), name="ro", what=Happening.BOOTED)
    bench.chore.happened(may_not, event)
    bench.chore.ticked(may_not)
    problem = (
        f"stamps cannot be written: cannot write metadata of guest {event.uuid}: operation"
        " forbidden: read only access prevents virDomainSetMetadata"
    )

    assert [("4", problem)] == bench.seen.said
    assert [problem] == bench.seen.problems()
    bench.chore.ticked(may)
    assert [] == bench.seen.problems()
    assert {"stamped": 1} == bench.seen.counts
    may.lookupByName("ro").destroy()
