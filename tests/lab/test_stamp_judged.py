"""Guests that take their host's CPU, judged by their stamp where they arrive; and bad stamps."""

from collections.abc import Callable, Mapping

import pytest

from guardd.facts.stamp import NAMESPACE, format_stamp
from tests.lab import guard, stamps
from tests.lab.guests import guest_uuid
from tests.lab.host import Host
from tests.lab.test_stamp import MAXIMUM, NEHALEM, OPEN_KINDS, SAVED, save_to, start

CEILING = '[ceiling]\nx86_64 = "Penryn"\n'
STRICT = 'on_cannot_tell = "deny"\n'


def assert_goes_on(source: Host, destination: Host, name: str, pid: str) -> None:
    """It runs where it ran, in the same process, and nothing of it is left where it went."""
    assert guard.state(source, name) == "running"
    assert guard.qemu_pid(source, name) == pid
    assert destination.guests() == ()


@pytest.mark.parametrize(("virt", "cpu"), OPEN_KINDS)
def test_an_older_qemu_gives_less(
    guarded_mixed_pair: tuple[Host, Host], virt: str, cpu: str
) -> None:
    """From QEMU 10 to QEMU 7.2, which libvirt lets through: refused, with the reason at virsh."""
    older, newer = guarded_mixed_pair
    start(newer, "roamer", cpu, virt)
    stamp = stamps.await_stamp(newer, "roamer")
    pid, before = guard.qemu_pid(newer, "roamer"), older.cursor()
    moved = newer.migrate("roamer", older, check=False)

    assert moved.code == 1
    assert "cpu-guardd[lost-feature]: roamer " in moved.stderr
    assert_goes_on(newer, older, "roamer", pid)
    [record] = guard.verdicts(older, before, "roamer")
    assert ("migrate", "deny") == (record["GUARDD_OPERATION"], record["GUARDD_DECISION"])
    lost = {
        word.partition(":")[2]
        for word in record["GUARDD_FINDINGS"].split()
        if word.startswith("lost-feature:")
    }
    assert lost
    assert lost <= stamp.features
    # and it is so: the same guest, started there, does not have them
    newer.virsh("destroy", "roamer")
    start(older, "roamer", cpu, virt)
    assert set() == lost & stamps.await_stamp(older, "roamer").features


@pytest.mark.parametrize(("virt", "cpu"), OPEN_KINDS)
def test_libvirt_alone_lets_it_through(
    guarded_mixed_pair: tuple[Host, Host], virt: str, cpu: str
) -> None:
    """The same without the hook: that is what the stamp is for."""
    older, newer = guarded_mixed_pair
    start(newer, "roamer", cpu, virt)
    stamps.await_stamp(newer, "roamer")
    older.shell("cpu-guardctl hook remove && systemctl reload libvirtd")
    try:
        newer.migrate("roamer", older)
    finally:
        older.shell("cpu-guardctl hook install && systemctl reload libvirtd")

    assert guard.state(older, "roamer") == "running"


@pytest.mark.parametrize(("virt", "cpu"), OPEN_KINDS)
def test_saved_there_and_restored_here(
    guarded_mixed_pair: tuple[Host, Host], virt: str, cpu: str
) -> None:
    """The saved guest stays saved, and restores where it came from."""
    older, newer = guarded_mixed_pair
    start(newer, "sleeper", cpu, virt)
    stamps.await_stamp(newer, "sleeper")
    save_to(newer, older, "sleeper")
    restored = older.virsh("restore", SAVED, check=False)

    assert restored.code == 1
    assert "cpu-guardd[lost-feature]: sleeper " in restored.stderr
    assert older.guests() == ()
    newer.virsh("restore", SAVED)
    assert guard.state(newer, "sleeper") == "running"


@pytest.mark.parametrize(("virt", "cpu"), OPEN_KINDS)
def test_a_newer_qemu_gives_more(
    guarded_mixed_pair: tuple[Host, Host], virt: str, cpu: str
) -> None:
    """Goes through; what the guest gets on top is recorded."""
    older, newer = guarded_mixed_pair
    # which no CPU ever had, and QEMU 10 no more
    without = "<cpu mode='maximum'><feature policy='disable' name='pcommit'/></cpu>"
    start(older, "roamer", without if cpu == MAXIMUM else cpu, virt)
    stamps.await_stamp(older, "roamer")
    before = newer.cursor()
    older.migrate("roamer", newer)

    assert guard.state(newer, "roamer") == "running"
    codes = {code for r in guard.verdicts(newer, before, "roamer") for code in guard.codes(r)}
    assert codes <= {"new-feature", "tsc-change"}
    assert "new-feature" in codes


@pytest.mark.parametrize(("virt", "cpu"), OPEN_KINDS)
def test_a_ceiling(guarded_pair: tuple[Host, Host], virt: str, cpu: str) -> None:
    """A ceiling that is below what the guest has seen: it goes on where it is."""
    source, destination = guarded_pair
    start(source, "roamer", cpu, virt)
    stamps.await_stamp(source, "roamer")
    guard.configure(destination, CEILING)
    pid = guard.qemu_pid(source, "roamer")
    moved = source.migrate("roamer", destination, check=False)

    assert moved.code == 1
    assert "cpu-guardd[above-ceiling]: roamer " in moved.stderr
    assert_goes_on(source, destination, "roamer", pid)
    save_to(source, destination, "roamer")
    restored = destination.virsh("restore", SAVED, check=False)
    assert "cpu-guardd[above-ceiling]: roamer " in restored.stderr
    source.virsh("restore", SAVED)
    assert guard.state(source, "roamer") == "running"


def test_a_stamp_that_names_what_this_host_lacks(guarded_pair: tuple[Host, Host]) -> None:
    """As of a guest that booted on a better host and has come by one without a guard."""
    source, destination = guarded_pair
    start(source, "roamer", MAXIMUM)
    stamp = stamps.await_stamp(source, "roamer")
    better = stamp._replace(features=stamp.features | {"avx512f", "avx512bw"})
    stamps.put(source, "roamer", format_stamp(better))
    pid = guard.qemu_pid(source, "roamer")
    moved = source.migrate("roamer", destination, check=False)

    assert "cpu-guardd[lost-feature]: roamer " in moved.stderr
    assert "avx512bw" in moved.stderr
    assert_goes_on(source, destination, "roamer", pid)


def test_no_stamp(guarded_pair: tuple[Host, Host]) -> None:
    """Cannot be told: goes through with a warning, unless that is set otherwise."""
    source, destination = guarded_pair
    start(source, "roamer", MAXIMUM)
    stamps.await_stamp(source, "roamer")
    source.virsh("metadata", "roamer", "--live", "--uri", NAMESPACE, "--remove")
    before = destination.cursor()
    source.migrate("roamer", destination)

    assert "unstamped" in guard.codes(guard.verdicts(destination, before, "roamer")[0])
    destination.wait_until(
        lambda: any(p.endswith("and none") for p in stamps.problems(destination))
    )
    [said] = stamps.records(destination, before, "roamer")
    assert "4" == said["PRIORITY"]
    guard.configure(source, STRICT)
    moved = destination.migrate("roamer", source, check=False)
    assert "cpu-guardd[unstamped]: " in moved.stderr
    assert guard.state(destination, "roamer") == "running"


def test_an_arrival_that_tells_gets_a_stamp(guarded_pair: tuple[Host, Host]) -> None:
    """From a host without a guard, with mode custom: libvirt brings its features along."""
    source, destination = guarded_pair
    start(source, "roamer", NEHALEM)
    born = stamps.await_stamp(source, "roamer")
    source.virsh("metadata", "roamer", "--live", "--uri", NAMESPACE, "--remove")
    source.migrate("roamer", destination)
    stamp = stamps.await_stamp(destination, "roamer")

    assert born.features == stamp.features
    assert {} == stamp.versions
    assert [] == stamps.problems(destination)


TAMPERED: Mapping[str, Callable[[str], str]] = {
    "garbage": lambda _: "<stamp>\u00e4 <![CDATA[ &]]><x/></stamp>",
    "other": lambda _: "<something/>",
    "empty": lambda _: "<stamp/>",
    "newer": lambda text: text.replace("version='1'", "version='2'"),
    "more": lambda text: text.replace("features='", "features='avx512f "),
    "less": lambda text: text.replace(" sse2", ""),
    "cut": lambda text: text[: len(text) // 2] + "'/>",
    "nested": lambda text: f"<a>{text}</a>",
    "huge": lambda text: text.replace("host='", "host='" + 60_000 * "x"),
}


@pytest.mark.parametrize("how", [*TAMPERED, "of-another-guest"])
def test_a_bad_stamp(guarded_mixed_pair: tuple[Host, Host], how: str) -> None:
    """Never a crash, never trusted: cannot be told, and policy decides."""
    source, destination = guarded_mixed_pair
    start(source, "roamer", MAXIMUM)
    stamp = stamps.await_stamp(source, "roamer")
    if how == "of-another-guest":
        text = format_stamp(stamp._replace(uuid=guest_uuid("another")))
    else:
        text = TAMPERED[how](format_stamp(stamp))
    stamps.put(source, "roamer", text)
    kept = stamps.text_of(source, "roamer")
    guard.configure(destination, STRICT)
    pid, before = guard.qemu_pid(source, "roamer"), destination.cursor()
    moved = source.migrate("roamer", destination, check=False)

    assert "cpu-guardd[bad-stamp]: " in moved.stderr
    assert_goes_on(source, destination, "roamer", pid)
    guard.configure(destination, "")
    source.migrate("roamer", destination)
    records = guard.verdicts(destination, before, "roamer")
    assert ["cannot-tell"] * 3 == [record["GUARDD_DECISION"] for record in records]
    # it is left as it is, for the next host to see
    assert kept == stamps.text_of(destination, "roamer")
    assert [] == [
        r
        for r in destination.journal("_SYSTEMD_UNIT=cpu-guardd.service", since_cursor=before)
        if "Traceback" in r["MESSAGE"]
    ]
