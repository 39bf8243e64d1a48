"""cpu-guardctl replay over a recorded journal, and the moments that it takes."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path

import pytest

from guardd.ctl.when import moment
from guardd.journal import reader
from tests.ctl.commands import Done, run, write
from tests.recordings import DATA

UTC = dt.UTC
NOW = dt.datetime(2026, 11, 20, 15, 30, 45, tzinfo=UTC)
DATABASE1 = "00000000-0000-4000-8000-000000000009"


@pytest.fixture(scope="session")
def recorded_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the recorded journal; give its folder."""
    folder = tmp_path_factory.mktemp("journal")
    packed = DATA / "journal" / "verdicts.journal.gz"
    (folder / "system.journal").write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


class Shop:
    """The configuration below a folder, and the recorded journal."""

    def __init__(self, config: Path, recorded: Path) -> None:
        self.config = config
        self.recorded = recorded

    def replay(self, *words: str) -> Done:
        """Run replay."""
        folders = ("--config", self.config, "--directory", self.recorded)
        return run("replay", *folders, *words)


@pytest.fixture
def shop(tmp_path: Path, recorded_journal: Path) -> Shop:
    """Give a shop with the default configuration."""
    return Shop(tmp_path, recorded_journal)


def test_trusted_verdicts(recorded_journal: Path) -> None:
    """Oldest first: neither what another user wrote nor what is no verdict."""
    found = list(reader.verdicts(directory=recorded_journal))

    assert ["web1", "web1", "database1", "database1", "old1", "later12"] == [
        fields["GUARDD_DOMAIN"] for fields in found
    ]
    assert all("forged" not in fields["MESSAGE"] for fields in found)
    assert sorted(fields["time"] for fields in found) == [fields["time"] for fields in found]


@pytest.mark.parametrize("guest", ["database1", DATABASE1])
def test_verdicts_on_one_guest(recorded_journal: Path, guest: str) -> None:
    """By name or UUID."""
    found = list(reader.verdicts(guest=guest, directory=recorded_journal))

    assert ["warn", "allow"] == [fields["GUARDD_DECISION"] for fields in found]


def test_a_stretch_of_time(recorded_journal: Path) -> None:
    """All of it, nothing before it began, nothing after it ended."""
    everything = list(reader.verdicts(directory=recorded_journal))
    year = dt.timedelta(days=365)
    begun = dt.datetime.fromisoformat(everything[0]["time"]).astimezone()

    def between(since: dt.datetime, until: dt.datetime) -> int:
        return len(list(reader.verdicts(since=since, until=until, directory=recorded_journal)))

    assert len(everything) == between(begun - year, begun + year)
    assert 0 == between(begun + year, begun + 2 * year)
    assert 0 == between(begun - 2 * year, begun - year)


def test_stricter(shop: Shop) -> None:
    """What was only warned about would have been refused; what cannot be read is counted."""
    done = shop.replay("--mode", "enforce", "--rule", "silent-downgrade=enforce")

    assert (1, "") == (done.status, done.err)
    lines = [line.partition("  ")[2] for line in done.out.splitlines() if "->" in line]
    assert ["web1  migrate: warn -> deny", "database1  prepare: warn -> deny"] == lines
    assert "  missing-feature (enforce): avx512f, avx512bw" in done.out.splitlines()
    assert [
        "2 of 6 verdicts would have been others: 2 refused, 0 let through",
        "1 were written by another version and could not be read",
    ] == done.out.splitlines()[-2:]


def test_laxer(shop: Shop) -> None:
    """The other way round too."""
    done = shop.replay("--mode", "observe", "--json", "web1")

    assert 1 == done.status
    assert {"read": 2, "changed": 2, "refused": 0, "allowed": 1, "unknown": 0} == done.json[
        "counts"
    ]
    assert [("deny", "allow"), ("warn", "allow")] == [
        (each["then"]["decision"], each["now"]["decision"]) for each in done.json["changed"]
    ]
    assert "observe" == done.json["changed"][0]["findings"][0]["mode"]


def test_the_configuration_in_force(shop: Shop) -> None:
    """Without options: what it would say now. What an option sets, it does not."""
    write(shop.config / "guardd.toml", 'on_cannot_tell = "deny"\n[guests]\nweb1 = "warn"\n')

    done = shop.replay("old1")
    assert (1, True) == (done.status, "cannot-tell -> cannot-tell, refused" in done.out)
    # a guest's own mode bounds the host's
    assert "deny -> warn" in shop.replay("--mode", "enforce", "web1").out


def test_nothing_different(shop: Shop) -> None:
    """It is said how many were looked at."""
    done = shop.replay("database1")

    assert (0, "0 of 2 verdicts would have been others\n") == (done.status, done.out)
    assert [] == shop.replay("database1", "--json").json["changed"]


@pytest.mark.parametrize("words", [("nobody",), ("--until", "2001-01-01"), ("--since", "now")])
def test_no_verdict(shop: Shop, words: tuple[str, ...]) -> None:
    """It cannot be told from a journal that one may not read."""
    done = shop.replay(*words)

    assert (3, "error: no such verdict in the journal that you may read\n") == (
        done.status,
        done.err,
    )
    assert 0 == shop.replay(*words, "--json").json["counts"]["read"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--mode", "strict"), "'strict' is not one of"),
        (("--rule", "silent-downgrade"), "is not written CODE=MODE"),
        (("--rule", "silent-downgrad=warn"), "did you mean 'silent-downgrade'?"),
        (("--rule", "unchecked=warn"), "unknown rule 'unchecked'"),
        (("--rule", "missing-feature=deny"), "'deny' is no mode: enforce, warn, observe"),
        (("--since", "lately"), "'lately' is no time: write now, today"),
        (("--directory", "/nowhere"), "does not exist"),
    ],
)
def test_usage(shop: Shop, words: tuple[str, ...], problem: str) -> None:
    """Each mistake says what would have been right."""
    done = shop.replay(*words)

    assert (2, True) == (done.status, problem in done.err)


def test_bad_configuration(shop: Shop) -> None:
    """It is named with its line."""
    write(shop.config / "guardd.toml", "moode = 1")

    assert (3, True) == ((done := shop.replay()).status, "guardd.toml:1" in done.err)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("today", dt.datetime(2026, 11, 20)),  # noqa: DTZ001 (local)
        ("yesterday", dt.datetime(2026, 11, 19)),  # noqa: DTZ001
        ("tomorrow", dt.datetime(2026, 11, 21)),  # noqa: DTZ001
        ("-2h", NOW - dt.timedelta(hours=2)),
        ("-30min", NOW - dt.timedelta(minutes=30)),
        ("-90s", NOW - dt.timedelta(seconds=90)),
        ("2 hours ago", NOW - dt.timedelta(hours=2)),
        ("1 day ago", NOW - dt.timedelta(days=1)),
        ("-1week", NOW - dt.timedelta(days=7)),
        ("2026-11-01", dt.datetime(2026, 11, 1)),  # noqa: DTZ001
        (" 2026-11-01  12:05 ", dt.datetime(2026, 11, 1, 12, 5)),  # noqa: DTZ001
        ("2026-11-01 12:05:06", dt.datetime(2026, 11, 1, 12, 5, 6)),  # noqa: DTZ001
        ("2026-11-01T12:05:06Z", dt.datetime(2026, 11, 1, 12, 5, 6, tzinfo=UTC)),
        ("9:05", dt.datetime(2026, 11, 20, 9, 5)),  # noqa: DTZ001
        ("12:05:06", dt.datetime(2026, 11, 20, 12, 5, 6)),  # noqa: DTZ001
    ],
)
def test_moments(text: str, expected: dt.datetime) -> None:
    """As journalctl takes them."""
    assert expected == moment(text, NOW)


@pytest.mark.parametrize(
    "text",
    ["", "later", "-2", "-2y", "h", "-h", "25:00", "2026-13-01", "2026-11-31", "-9999999w", "\0"],
)
def test_no_moments(text: str) -> None:
    """What is taken is said."""
    with pytest.raises(ValueError, match="is no time: write now, today"):
        moment(text, NOW)
