"""Advice on guests that are defined: one record when there is something new to say, else none."""

import libvirt
import pytest

from guardd.errors import LibvirtFailed
from guardd.facts.stamp import NAMESPACE, PREFIX, format_stamp
from guardd.journal import Kind, Priority
from guardd.libvirtconn import GuestEvent, Happening
from guardd.watch.advice import Advice
from tests.judge.table import HASWELL, UUID, cpu, domain, mode, policy_of
from tests.judge.test_advice import STAMP
from tests.watch.conftest import Driver
from tests.watch.notes import Notes

MEMORY = "<memory>1024</memory>"


def xml(cpu_xml: str, virt: str = "kvm") -> str:
    """Give a domain that libvirt takes."""
    return domain(f"{MEMORY}{cpu_xml}", virt=virt, machine="pc").replace(" machine='pc'", "")


SOUND = xml(cpu("Haswell-noTSX", attributes="check='partial'"))
NO_CHECK = xml(cpu("Nehalem", attributes="check='none'"))
NEVER = xml(mode("host-passthrough", attributes="migratable='off'"))
TOO_MUCH = xml(cpu("Skylake-Server", attributes="check='partial'"))


@pytest.fixture
def notes() -> Notes:
    """Give notes on the recorded Haswell host."""
    return Notes(HASWELL)


@pytest.mark.parametrize(
    ("text", "findings", "priority"),
    [
        pytest.param(NEVER, "never-migrates:migratable='off'", Priority.NOTICE, id="notice"),
        pytest.param(NO_CHECK, "no-check:Nehalem", Priority.NOTICE, id="no-check"),
        pytest.param(
            TOO_MUCH,
            " ".join(
                f"missing-feature:{n}" for n in ("hle", "rtm", "avx512f", "avx512cd", "avx512bw")
            ),
            Priority.WARNING,
            id="could not start",
        ),
    ],
)
def test_defined(
    driver: Driver, notes: Notes, text: str, findings: str, priority: Priority
) -> None:
    """One record, with the guest's name and UUID, and all there is to say."""
    driver.define(text)
    driver.hand_on(Advice(notes.desk))

    [record] = notes.records
    assert {
        "MESSAGE_ID": Kind.ADVICE,
        "PRIORITY": priority,
        "GUARDD_DOMAIN": "web1",
        "GUARDD_DOMAIN_UUID": UUID,
        "GUARDD_FINDINGS": findings,
    } == {k: v for k, v in record.items() if k not in ("MESSAGE", "GUARDD_REPORT")}
    assert record["GUARDD_REPORT"].startswith("web1:\n")
    assert {"advised": 1} == notes.counted


def test_sound(driver: Driver, notes: Notes) -> None:
    """Nothing to say: not a word."""
    driver.define(SOUND)
    driver.hand_on(Advice(notes.desk))

    assert ([], {}) == (notes.records, notes.counted)


def test_said_once(driver: Driver, notes: Notes) -> None:
    """Redefined alike, nothing; with something else, that; mended and spoiled again, again."""
    advice = Advice(notes.desk)
    for text in (NO_CHECK, NO_CHECK, NEVER, SOUND, SOUND, NEVER, NEVER):
        driver.define(text)
        driver.hand_on(advice)

    assert [
        "no-check:Nehalem",
        "never-migrates:migratable='off'",
        "never-migrates:migratable='off'",
    ] == [record["GUARDD_FINDINGS"] for record in notes.records]


def test_undefined(driver: Driver, notes: Notes) -> None:
    """Another guest may come by the same UUID; and nothing is kept of those that went."""
    advice = Advice(notes.desk)
    for _ in range(3):
        defined = driver.define(NO_CHECK)
        driver.hand_on(advice)
        defined.undefine()
        driver.hand_on(advice)

    assert 3 == len(notes.records)


def test_the_definition_counts(driver: Driver, notes: Notes) -> None:
    """Of a guest that runs, what the next start will take, not what it has now."""
    advice = Advice(notes.desk)
    driver.define(NO_CHECK).create()
    driver.hand_on(advice, 2)
    driver.define(NEVER)
    driver.hand_on(advice)

    assert ["no-check:Nehalem", "never-migrates:migratable='off'"] == [
        record["GUARDD_FINDINGS"] for record in notes.records
    ]


def test_a_stamp_in_the_definition(driver: Driver, notes: Notes) -> None:
    """As after `virsh dumpxml` of a running guest and `virsh define` of that."""
    guest = driver.define(SOUND)
    guest.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        format_stamp(STAMP),
        PREFIX,
        NAMESPACE,
        libvirt.VIR_DOMAIN_AFFECT_CONFIG,
    )
    driver.define(guest.XMLDesc())
    advice = Advice(notes.desk)
    driver.hand_on(advice, 2)

    [record] = notes.records
    assert "bad-stamp:web1" == record["GUARDD_FINDINGS"]


def test_nothing_is_known_of_this_host(driver: Driver) -> None:
    """Nothing is said then, and nothing is taken for said."""
    notes = Notes()
    advice = Advice(notes.desk)
    driver.define(NO_CHECK)
    driver.hand_on(advice)
    assert [] == notes.records

    notes.host = HASWELL
    driver.define(NO_CHECK)
    driver.hand_on(advice)
    assert 1 == len(notes.records)


def test_wanted_louder(driver: Driver, notes: Notes) -> None:
    """The administrator's mode for the rule makes it a warning."""
    notes.policy = policy_of('[rules]\nno-check = "warn"')
    driver.define(NO_CHECK)
    driver.hand_on(Advice(notes.desk))

    assert [Priority.WARNING] == [record["PRIORITY"] for record in notes.records]


def test_gone_again(driver: Driver, notes: Notes) -> None:
    """Undefined before anybody looked: an error of libvirt's, which the watcher notes."""
    event = GuestEvent(uuid=UUID, name="web1", what=Happening.DEFINED)

    with pytest.raises(LibvirtFailed, match="read the definition"):
        Advice(notes.desk).happened(driver.connection, event)
    assert [] == notes.records
