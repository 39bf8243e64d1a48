"""The daemon's numbers as Prometheus reads them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from guardd.counts import Counts
from guardd.judge.finding import Code, Decision, Enforcement, Finding, Operation, Verdict

pytest.importorskip("prometheus_client")

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from guardd.metrics import EVENTS, exposition

# the library leaves it without types
parse: Callable[[str], Iterable[Metric]] = text_string_to_metric_families

GUEST = "web1-of-a-customer"


def numbers(**changes: object) -> dict[str, Any]:
    """Give a reply to GetMetrics after two verdicts, with *changes*."""
    counts = Counts()
    missing = Finding(Code.MISSING_FEATURE, "vme", f"{GUEST} needs vme")
    refused = Verdict(
        domain=GUEST,
        operation=Operation.PREPARE,
        decision=Decision.DENY,
        refused=True,
        findings=(missing, Finding(Code.INVTSC, GUEST, GUEST, mode=Enforcement.OBSERVE)),
    )
    allowed = Verdict(
        domain=GUEST,
        operation=Operation.RESTORE,
        decision=Decision.ALLOW,
        refused=False,
        would_refuse=True,
    )
    counts.note(refused, 150)
    counts.note(allowed, 2_000_000)
    return {
        "version": "0.1.0",
        "libvirt": "9.0.0",
        "qemu": 'a "quoted"\nversion',
        "mode": "warn",
        "start_time": 1_795_395_456.5,
        "libvirt_connected": True,
        "snapshot_time": 1_795_395_400.0,
        "snapshot_origin": "kept",
        "hypervisors": 4,
        "problems": 1,
        **counts.to_dict(),
        "events": {"disagreements": 2, "moved": 1},
        "journal_lost": 3,
        **changes,
    }


Labels = frozenset[tuple[str, str]]


def samples(text: bytes) -> Mapping[tuple[str, Labels], float]:
    """Read *text* as the library's own parser does."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("up", {}, 1),
        (
            "build_info",
            {"version": "0.1.0", "libvirt": "9.0.0", "qemu": 'a "quoted"\nversion'},
            1,
        ),
        ("start_time_seconds", {}, 1_795_395_456.5),
        ("mode", {"mode": "warn"}, 1),
        ("mode", {"mode": "enforce"}, 0),
        ("libvirt_connected", {}, 1),
        ("snapshot_timestamp_seconds", {}, 1_795_395_400),
        ("snapshot_origin", {"origin": "kept"}, 1),
        ("snapshot_origin", {"origin": "libvirt"}, 0),
        ("hypervisors", {}, 4),
        ("problems", {}, 1),
        ("verdicts_total", {"operation": "prepare", "decision": "deny"}, 1),
        ("verdicts_total", {"operation": "migrate", "decision": "cannot-tell"}, 0),
        ("refusals_total", {"code": "missing-feature"}, 1),
        ("refusals_total", {"code": "vendor-mismatch"}, 0),
        ("refusals_withheld_total", {}, 1),
        ("findings_total", {"code": "missing-feature", "mode": "enforce"}, 1),
        ("findings_total", {"code": "invtsc", "mode": "observe"}, 1),
        ("check_duration_seconds_bucket", {"le": "0.0001"}, 0),
        ("check_duration_seconds_bucket", {"le": "0.00025"}, 1),
        ("check_duration_seconds_bucket", {"le": "1.0"}, 1),
        ("check_duration_seconds_bucket", {"le": "+Inf"}, 2),
        ("check_duration_seconds_count", {}, 2),
        ("check_duration_seconds_sum", {}, 2.00015),
        ("events_total", {"event": "disagreements"}, 2),
        ("events_total", {"event": "unstamped"}, 0),
        ("events_total", {"event": "moved"}, 1),
        ("journal_records_lost_total", {}, 3),
    ],
)
def test_sample(name: str, labels: Mapping[str, str], value: float) -> None:
    """Dashboards hold these names: they never change."""
    found = samples(exposition(numbers()))

    assert value == found[f"cpu_guardd_{name}", frozenset(labels.items())]


def test_the_daemon_is_away() -> None:
    """A number that is not known is not there; only that it is away."""
    assert {("cpu_guardd_up", frozenset()): 0} == samples(exposition(None))


def test_nothing_is_known_of_the_host() -> None:
    """No time of a snapshot, rather than one of 1970."""
    found = samples(exposition(numbers(snapshot_time=0.0, snapshot_origin="", libvirt="", qemu="")))

    assert not [name for name, _ in found if name == "cpu_guardd_snapshot_timestamp_seconds"]
    assert {0.0} == {
        value for (name, _), value in found.items() if name == "cpu_guardd_snapshot_origin"
    }


def test_series_are_there_from_the_start() -> None:
    """An alert on an increase sees the first refusal only of a series that was 0 before."""
    empty = {**numbers(), **Counts().to_dict(), "events": {}}
    found = samples(exposition(empty))

    def count(name: str) -> int:
        return sum(1 for sample, _ in found if sample == f"cpu_guardd_{name}")

    assert len(Operation) * len(Decision) == count("verdicts_total")
    assert len(Code) == count("refusals_total")
    assert len(EVENTS) == count("events_total")


def test_no_guest_is_named() -> None:
    """Series stay few, whatever guests come and go, and there is nothing to hide."""
    assert GUEST not in exposition(numbers()).decode()


def test_conventions() -> None:
    """Each has our prefix, a type and a sentence that explains it; counters end in _total."""
    text = exposition(numbers()).decode()
    families = list(parse(text))

    for family in families:
        assert family.name.startswith("cpu_guardd_")
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
    assert text.count("# TYPE") == text.count("# HELP") == len(families)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing() -> None:
    """Prometheus' own linter has no complaint."""
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposition(numbers()),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )

    assert (0, b"") == (checked.returncode, checked.stdout)
