"""The daemon's numbers as Prometheus reads them; text out, the only door to prometheus_client.

Importing it raises MissingPackage where prometheus_client is not installed. Names: Prometheus,
"Metric and label naming": base units, _total for what only grows. No label ever holds a guest's
name: Prometheus keeps every series that there ever was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from guardd.errors import MissingPackage
from guardd.facts.snapshot import Origin
from guardd.judge.finding import Code, Decision, Enforcement, Operation

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
        Metric,
    )
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    from prometheus_client.registry import Collector
except ModuleNotFoundError as exc:  # only who wants metrics needs it
    raise MissingPackage(
        "Python's prometheus_client is missing",
        hint="install python3-prometheus-client (Debian, Ubuntu) or python3-prometheus_client",
    ) from exc

CONTENT_TYPE = CONTENT_TYPE_LATEST

# There from the start, with 0: an alert on an increase would miss the first of a series that is new
EVENTS = ("advised", "agreements", "disagreements", "stamped", "unasked", "unstamped")

_USEC_PER_SECOND = 1e6


def exposition(numbers: Mapping[str, Any] | None) -> bytes:
    """Give the text that Prometheus reads, of a reply to GetMetrics; None: the daemon is away."""
    registry = CollectorRegistry()
    registry.register(_Answer(numbers))
    return generate_latest(registry)


class _Answer(Collector):
    """What one reply to GetMetrics says, in the library's terms."""

    def __init__(self, numbers: Mapping[str, Any] | None) -> None:
        self._numbers = numbers

    def collect(self) -> Iterable[Metric]:
        numbers = self._numbers
        is_up = numbers is not None
        yield GaugeMetricFamily(
            "cpu_guardd_up", "Whether cpu-guardd answers (1) or not (0).", is_up
        )
        if numbers is not None:
            yield from _state(numbers)
            yield from _verdicts(numbers)
            yield from _others(numbers)


def _state(numbers: Mapping[str, Any]) -> Iterator[Metric]:
    """Say what is so now."""
    versions = {name: numbers[name] for name in ("version", "libvirt", "qemu")}
    yield InfoMetricFamily(
        "cpu_guardd_build", "Versions of cpu-guardd and of the libvirt and QEMU it knows.", versions
    )
    yield GaugeMetricFamily(
        "cpu_guardd_start_time_seconds",
        "When cpu-guardd started, in seconds since the epoch.",
        numbers["start_time"],
    )
    yield _choice("mode", "Whether this is the host's mode.", Enforcement, numbers["mode"])
    yield GaugeMetricFamily(
        "cpu_guardd_libvirt_connected",
        "Whether libvirt answers cpu-guardd (1) or is away (0).",
        numbers["libvirt_connected"],
    )
    if numbers["snapshot_time"]:
        yield GaugeMetricFamily(
            "cpu_guardd_snapshot_timestamp_seconds",
            "When libvirt was last asked what this host is, in seconds since the epoch.",
            numbers["snapshot_time"],
        )
    yield _choice(
        "snapshot_origin",
        "Whether guests are judged by what libvirt says (libvirt), by what it said before"
        " cpu-guardd started (kept), or by that of a host that has changed since (stale).",
        Origin,
        numbers["snapshot_origin"],
        label="origin",
    )
    yield GaugeMetricFamily(
        "cpu_guardd_hypervisors",
        "Kinds of hypervisor of which it is known what they give.",
        numbers["hypervisors"],
    )
    yield GaugeMetricFamily(
        "cpu_guardd_problems",
        "Problems that cpu-guardctl status shows now.",
        numbers["problems"],
    )


def _choice(
    name: str, text: str, words: Iterable[str], chosen: str, label: str | None = None
) -> Metric:
    """Give a series for each of *words*, 1 for the one that is so."""
    family = GaugeMetricFamily(f"cpu_guardd_{name}", text, labels=[label or name])
    for word in words:
        family.add_metric([word], word == chosen)
    return family


def _verdicts(numbers: Mapping[str, Any]) -> Iterator[Metric]:
    """Say what was judged since the start."""
    verdicts = CounterMetricFamily(
        "cpu_guardd_verdicts",
        "Verdicts given to libvirt's hook.",
        labels=["operation", "decision"],
    )
    given = {(v["operation"], v["decision"]): v["count"] for v in numbers["verdicts"]}
    for operation in Operation:
        for decision in Decision:
            verdicts.add_metric([operation, decision], given.get((operation, decision), 0))
    yield verdicts
    refusals = CounterMetricFamily(
        "cpu_guardd_refusals", "Guests refused, by the finding that decided.", labels=["code"]
    )
    refused = {**dict.fromkeys(Code, 0), **numbers["refusals"]}
    for code, count in refused.items():
        refusals.add_metric([code], count)
    yield refusals
    yield CounterMetricFamily(
        "cpu_guardd_refusals_withheld",
        "Guests that would have been refused, were it not for a mode less than enforce.",
        numbers["withheld"],
    )
    findings = CounterMetricFamily(
        "cpu_guardd_findings",
        "Verdicts that had a finding of this code, with the mode that it had.",
        labels=["code", "mode"],
    )
    for found in sorted(numbers["findings"], key=lambda f: (f["code"], f["mode"])):
        findings.add_metric([found["code"], found["mode"]], found["count"])
    yield findings
    buckets = [
        (str(bucket["below_usec"] / _USEC_PER_SECOND), bucket["count"])
        for bucket in numbers["durations"]
    ]
    yield HistogramMetricFamily(
        "cpu_guardd_check_duration_seconds",
        "How long verdicts took in the daemon.",
        buckets=[*buckets, ("+Inf", numbers["duration_count"])],
        sum_value=numbers["duration_sum_usec"] / _USEC_PER_SECOND,
    )


def _others(numbers: Mapping[str, Any]) -> Iterator[Metric]:
    """Say what else was noticed since the start."""
    events = CounterMetricFamily(
        "cpu_guardd_events", "What cpu-guardd noticed besides verdicts.", labels=["event"]
    )
    counted = {**dict.fromkeys(EVENTS, 0), **numbers["events"]}
    for event, count in sorted(counted.items()):
        events.add_metric([event], count)
    yield events
    yield CounterMetricFamily(
        "cpu_guardd_journal_records_lost",
        "Records that are not in the journal because it did not take them.",
        numbers["journal_lost"],
    )
