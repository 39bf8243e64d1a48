"""Asks libvirt what it thinks of a guest that was judged, and says where it thinks otherwise."""

from __future__ import annotations

import logging
from collections import OrderedDict

from guardd import libvirtconn, render
from guardd.cpu.driver import CompareResult, Comparison
from guardd.errors import GuardError, LibvirtFailed
from guardd.facts.domcaps import Hypervisor
from guardd.facts.snapshot import HostSnapshot
from guardd.journal import Kind, Priority
from guardd.judge.finding import CheckRequest, Operation, Verdict
from guardd.judge.opinion import Question, agrees, in_words, own_answer, question_for
from guardd.libvirtconn import Connection
from guardd.watch.chore import Chore, Desk
from guardd.watch.learn import learn_hypervisor

logger = logging.getLogger(__name__)

MAX_ANSWERS = 1000  # that are not asked for again; the oldest is forgotten then

Answer = Comparison | GuardError


class SecondOpinion(Chore):
    """Holds our comparison against libvirt's, once for each CPU, hypervisor and snapshot."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._asked: OrderedDict[tuple[Question, str], None] = OrderedDict()

    def judged(self, connection: Connection, request: CheckRequest, verdict: Verdict) -> None:
        """Ask about a guest that starts afresh, as its definition has it."""
        host = self._desk.known().host
        if request.operation is not Operation.PREPARE or request.arrives or host is None:
            return
        guest = verdict.guest
        if guest is None or guest.cpu is None:
            return  # it could not be read, or says nothing
        question = question_for(guest)
        if question is None or (question, host.taken) in self._asked:
            return
        own = own_answer(guest, guest.cpu, host, self._desk.known().cpu_map)
        if own is not None:
            self._compare(connection, verdict, question, host, *own)

    def _compare(
        self,
        connection: Connection,
        verdict: Verdict,
        question: Question,
        host: HostSnapshot,
        own: Answer,
        hypervisor: Hypervisor,
    ) -> None:
        self._remember(question, host)
        if isinstance(own, Comparison) and own.result is CompareResult.UNCHECKED:
            self._desk.count("no-opinion")
            return
        try:
            libvirts = libvirtconn.compare_hypervisor_cpu(connection, *question.key, question.cpu)
        except LibvirtFailed as exc:
            logger.info("no second opinion on %s: %s", verdict.domain, exc)
            self._desk.count("no-opinion")
            return
        if agrees(own, libvirts):
            self._desk.count("agreements")
        elif _is_outdated(connection, question, hypervisor):
            # it is read anew soon; then the question is another one
            self._desk.count("no-opinion")
        else:
            self._tell(verdict, question, own, libvirts)

    def _remember(self, question: Question, host: HostSnapshot) -> None:
        self._asked[question, host.taken] = None
        while len(self._asked) > MAX_ANSWERS:
            self._asked.popitem(last=False)

    def _tell(self, verdict: Verdict, question: Question, own: Answer, libvirts: str) -> None:
        guest, ours = render.printable(verdict.domain), in_words(own)
        self._desk.count("disagreements")
        self._desk.say(
            Kind.DISAGREEMENT,
            Priority.WARNING,
            f"cpu-guardd: libvirt and cpu-guardd disagree on the CPU of {guest}: libvirt says"
            f" {libvirts}, cpu-guardd {render.printable(ours, render.REPORTED_LENGTH)}",
            GUARDD_DOMAIN=render.printable(verdict.domain, render.FIELD_LENGTH),
            GUARDD_DOMAIN_UUID=render.printable(verdict.uuid),
            GUARDD_OWN_ANSWER=ours,
            GUARDD_LIBVIRT_ANSWER=libvirts,
            GUARDD_GUEST_CPU=render.printable(verdict.guest_cpu),
            GUARDD_HOST_CPU=render.printable(verdict.host_cpu),
            GUARDD_REPORT=_report(verdict.domain, ours, libvirts, question),
            GUARDD_SOURCE=" ".join(word or "-" for word in question.key),
        )


def _report(domain: str, ours: str, libvirts: str, question: Question) -> str:
    words = " ".join(word or "-" for word in question.key)
    lines = [
        f"{render.printable(domain)}: its CPU on {render.printable(words, render.REPORTED_LENGTH)}",
        f"  libvirt:    {libvirts}",
        f"  cpu-guardd: {render.printable(ours, render.REPORTED_LENGTH)}",
    ]
    return "\n".join(lines)


def _is_outdated(connection: Connection, question: Question, known: Hypervisor) -> bool:
    """Whether libvirt tells something else of the hypervisor by now than what is *known*."""
    try:
        return learn_hypervisor(connection, question.key) != known
    except GuardError:
        return True
