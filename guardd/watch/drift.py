"""The chore of telling what a change of the host means for its guests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from guardd import libvirtconn
from guardd.errors import GuardError
from guardd.facts.drift import Drift, compare_hosts, fitted
from guardd.facts.snapshot import HostSnapshot, with_revision
from guardd.journal import Kind, Priority
from guardd.judge.drift import Effect, Judged, judge_all
from guardd.libvirtconn import Connection
from guardd.render.drift import (
    affected_fields,
    affected_line,
    by_guest,
    drift_lines,
    summary,
)
from guardd.watch.chore import Chore, Desk, Known

SEE = "see: cpu-guardctl drift"


class DriftWatch(Chore):
    """Says in the journal what a changed host lost and gained, and which guests it would refuse.

    `keep` is given the host as it was, and must not raise.
    """

    def __init__(self, desk: Desk, keep: Callable[[HostSnapshot], object]) -> None:
        self._desk = desk
        self._keep = keep

    def changed(self, connection: Connection, before: HostSnapshot, now: HostSnapshot) -> None:
        """Compare the two, judge all guests by both, and write the records."""
        known = self._desk.known()
        as_told, now = _told_alike(before, now, known)
        # after a downgrade the map lacks what the host as it was has
        fit, _unknown = fitted(as_told, known.cpu_map)
        drift = compare_hosts(fit, now, known.cpu_map)
        if drift.is_empty:
            return
        self._keep(before)
        self._desk.count("drift")
        try:
            states = libvirtconn.guest_states(connection)
            judged = list(judge_all(states, fit, now, known.policy, known.cpu_map))
        except GuardError as exc:
            self._tell_host(drift, before, f"which guests it matters to is not known: {exc}", ())
            raise
        affected = by_guest(each for each in judged if each.effect is Effect.AFFECTED)
        self._tell_host(drift, before, _count(judged, len(affected)), affected)
        for guest in affected:
            fields = affected_fields(guest)
            message = f"{affected_line(guest)}; {SEE}"
            self._desk.say(Kind.DRIFT, Priority.WARNING, message, **fields)

    def _tell_host(
        self,
        drift: Drift,
        before: HostSnapshot,
        guests: str,
        affected: Sequence[Sequence[Judged]],
    ) -> None:
        if affected:
            priority = Priority.WARNING
        else:
            priority = Priority.NOTICE if drift.loses else Priority.INFO
        lines = [
            f"changed since {before.taken}:",
            *(f"  {line}" for line in drift_lines(drift)),
            guests,
            *(f"  {affected_line(guest)}" for guest in affected),
        ]
        message = f"this host changed: {summary(drift)}; {guests}"
        self._desk.say(Kind.DRIFT, priority, message, GUARDD_REPORT="\n".join(lines))


def _count(judged: Sequence[Judged], affected: int) -> str:
    doubtful = len(by_guest(each for each in judged if each.effect is Effect.DOUBTFUL))
    guests = "1 guest" if affected == 1 else f"{affected or 'no'} guests"
    text = f"{guests} would be refused for it"
    return f"{text}, {doubtful} cannot be judged" if doubtful else text


def _told_alike(
    before: HostSnapshot, now: HostSnapshot, known: Known
) -> tuple[HostSnapshot, HostSnapshot]:
    """Call the CPU of a PowerPC host by its exact model in both, where verdicts go by that."""
    host = known.host
    if host is None or host.host_cpu is None or host.host_cpu == now.host_cpu:
        return before, now
    revision = host.host_cpu.model
    return with_revision(before, revision), with_revision(now, revision)
