"""Tells of a guest that was just defined what its definition will lead to; once for each result."""

from __future__ import annotations

from collections import OrderedDict

from guardd import libvirtconn, render
from guardd.errors import GuardError
from guardd.facts.domain import parse_domain
from guardd.journal import Kind, Priority
from guardd.judge import judge
from guardd.judge.advice import advise, judged
from guardd.judge.finding import CheckRequest, Enforcement, Finding, Operation, Verdict
from guardd.libvirtconn import Connection, GuestEvent, Happening
from guardd.watch.chore import Chore, Desk

MAX_GUESTS = 10_000  # of which it is remembered what was said; the oldest is forgotten then


class Advice(Chore):
    """Writes one journal record for a definition of which there is anything to say.

    A definition is written anew by many things, snapshots and metadata among them: what was said of
    a guest is not said again until it is something else.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._said: OrderedDict[str, tuple[Finding, ...]] = OrderedDict()

    def happened(self, connection: Connection, event: GuestEvent) -> None:
        """Look at a guest that was defined."""
        if event.what is Happening.UNDEFINED:
            self._said.pop(event.uuid, None)
        if event.what is not Happening.DEFINED or self._desk.known().host is None:
            return
        verdict, advice = self._about(event.name, libvirtconn.definition(connection, event.uuid))
        if self._is_new(event.uuid, advice):
            self._tell(verdict, advice)

    def _about(self, name: str, xml: str) -> tuple[Verdict, tuple[Finding, ...]]:
        known = self._desk.known()
        request = CheckRequest(domain=name, operation=Operation.PREPARE, xml=xml, arrives=False)
        verdict = judge(request, known.host, known.policy, known.cpu_map)
        if known.host is None:
            return verdict, ()
        try:
            guest = parse_domain(xml)
        except GuardError:
            return verdict, judged(verdict)  # which says what is wrong with it
        return verdict, advise(guest, verdict, known.host, known.policy, known.cpu_map)

    def _is_new(self, uuid: str, advice: tuple[Finding, ...]) -> bool:
        before = self._said.pop(uuid, ())
        if advice:
            self._said[uuid] = advice
        while len(self._said) > MAX_GUESTS:
            self._said.popitem(last=False)
        return bool(advice) and advice != before

    def _tell(self, verdict: Verdict, advice: tuple[Finding, ...]) -> None:
        told = {finding.code for finding in verdict.findings}
        is_wanted = any(f.code not in told and f.mode is not Enforcement.OBSERVE for f in advice)
        is_serious = verdict.refused or is_wanted
        self._desk.say(
            Kind.ADVICE,
            Priority.WARNING if is_serious else Priority.NOTICE,
            render.advice_line(verdict, advice),
            **render.advice_fields(verdict, advice),
        )
        self._desk.count("advised")
