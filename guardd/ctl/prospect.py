"""Where a guest can go: what each of several other hosts would say of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.text import Text

from guardd import render, wire
from guardd.cpu import CPUMap
from guardd.ctl.common import Exit, print_json
from guardd.ctl.cpufile import placed, read_text
from guardd.ctl.errand import Errand, run_errands
from guardd.ctl.far import ask_guard, ask_libvirt
from guardd.ctl.source import Far, Source, labels
from guardd.ctl.table import Cell, print_table
from guardd.errors import GuardError
from guardd.facts.domain import parse_domain
from guardd.facts.domcaps import HypervisorKey
from guardd.facts.foreign import in_our_words
from guardd.facts.snapshot import HostSnapshot, snapshot_from_json
from guardd.judge import judge
from guardd.judge.arrival import CanGo, can_go, worst
from guardd.judge.finding import CheckRequest, Verdict
from guardd.judge.policy import Policy


class Asked(StrEnum):
    """Who gave the answer."""

    GUARD = "guard"
    LIBVIRT = "libvirt"
    FILE = "file"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """Whether a guest can go to one host; `verdict` None: nobody there could be asked."""

    host: str
    uri: str
    can_go: CanGo
    asked: Asked
    why: str
    verdict: Verdict | None = None


_SHOWN = {
    CanGo.YES: Text("yes", style="green"),
    CanGo.WARNINGS: Text("with warnings", style="yellow"),
    CanGo.NO: Text("no", style="red"),
    CanGo.CANNOT_TELL: Text("cannot tell", style="yellow"),
}


def prospects(
    destinations: Sequence[Source], requests: Sequence[CheckRequest], cpu_map: CPUMap
) -> list[Prospect]:
    """Ask each of *destinations* all of *requests*, and give the worst that each says, in order.

    A host that cannot be asked, or not in time, is one of which it cannot be told.
    """
    guest = parse_domain(requests[0].xml)
    key = HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)
    far = [each for each in destinations if isinstance(each, Far)]
    works = [functools.partial(_ask, each, requests, key) for each in far]
    doing = f"asking {len(works)} hosts" if len(works) > 1 else "asking"
    outcomes = iter(run_errands(works, doing))
    found = []
    for host, destination in zip(labels(destinations), destinations, strict=True):
        uri = destination.uri if isinstance(destination, Far) else host
        try:
            if isinstance(destination, Far):
                asked, verdict = _verdict(next(outcomes), requests, cpu_map)
            else:
                asked = Asked.FILE
                verdict = _judge(requests, read_snapshot(destination), cpu_map)
        except GuardError as exc:
            found.append(_unknown(host, uri, exc))
        else:
            found.append(_told(host, uri, asked, verdict))
    return found


def show_prospects(found: Sequence[Prospect], *, as_json: bool) -> Exit:
    """Print *found* and give the exit status."""
    if as_json:
        print_json({"hosts": [_to_dict(prospect) for prospect in found]}, "check-on")
    else:
        rows = [_row(prospect) for prospect in found]
        print_table(["HOST", "CAN GO", "ASKED", "WHY"], rows, whole={"CAN GO", "ASKED"})
    answers = {prospect.can_go for prospect in found}
    if CanGo.NO in answers:
        return Exit.INCOMPATIBLE
    return Exit.CANNOT_TELL if CanGo.CANNOT_TELL in answers else Exit.COMPATIBLE


def _row(prospect: Prospect) -> list[Cell]:
    host = render.printable(prospect.host, render.FIELD_LENGTH)
    return [host, _SHOWN[prospect.can_go], str(prospect.asked), prospect.why]


def _to_dict(prospect: Prospect) -> dict[str, Any]:
    verdict = prospect.verdict
    return {
        "host": prospect.uri,
        "can_go": prospect.can_go,
        "asked": prospect.asked,
        "why": prospect.why,
        "verdict": None if verdict is None else wire.verdict_to_dict(verdict),
    }


# a guard's verdict, or what is known of the host, to be judged by
Answer = Verdict | HostSnapshot


def _ask(
    far: Far, requests: Sequence[CheckRequest], key: HypervisorKey, errand: Errand[Answer]
) -> Answer:
    if far.ssh is not None:
        verdicts = []
        for request in requests:
            verdict = ask_guard(far.ssh, request, errand)
            if verdict is None:
                break  # no guard there
            verdicts.append(verdict)
        else:
            return worst(verdicts)
    # an emulator elsewhere is better than none: its verdict refuses nobody
    return ask_libvirt(far, errand, (key, key._replace(emulator=None)))


def _verdict(
    outcome: Answer | GuardError, requests: Sequence[CheckRequest], cpu_map: CPUMap
) -> tuple[Asked, Verdict]:
    """Give the verdict that *outcome* is or comes to; raises it where it is an error."""
    if isinstance(outcome, GuardError):
        raise outcome
    if isinstance(outcome, Verdict):
        return Asked.GUARD, outcome
    verdict = _judge(requests, outcome, cpu_map)
    return Asked.LIBVIRT, verdict._replace(source=f"no guard asked; {verdict.source}")


def read_snapshot(path: Path) -> HostSnapshot:
    """Read the copy of a host's snapshot.json at *path*; raises BadSnapshot that names it."""
    with placed(str(path)):
        return snapshot_from_json(read_text(path))


def _judge(requests: Sequence[CheckRequest], host: HostSnapshot, cpu_map: CPUMap) -> Verdict:
    """Judge by the rules as they come: those of that host's administrator are not known here.

    Raises UnknownModel.
    """
    host = in_our_words(cpu_map, host, parse_domain(requests[0].xml).virt_type)
    return worst([judge(request, host, Policy(), cpu_map) for request in requests])


def _unknown(host: str, uri: str, problem: GuardError) -> Prospect:
    words = f"{problem}; {problem.hint}" if problem.hint else str(problem)
    return Prospect(
        host=host,
        uri=uri,
        can_go=CanGo.CANNOT_TELL,
        asked=Asked.NOBODY,
        why=render.printable(words, render.REPORTED_LENGTH),
    )


def _told(host: str, uri: str, asked: Asked, verdict: Verdict) -> Prospect:
    return Prospect(
        host=host,
        uri=uri,
        can_go=can_go(verdict),
        asked=asked,
        why=render.reason_there(verdict),
        verdict=verdict,
    )
