"""Guests by hosts: each guest judged as it would be on each host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from guardd.cpu import CPUMap
from guardd.cpu.families import X86
from guardd.errors import GuardError
from guardd.facts.domain import parse_domain, trim_domain
from guardd.facts.foreign import in_our_words
from guardd.facts.snapshot import HostSnapshot
from guardd.judge import judge
from guardd.judge.arrival import CanGo, arrival_requests, can_go, worst
from guardd.judge.finding import CheckRequest, Code, Operation, Verdict
from guardd.judge.policy import Policy

# of which the subject is a feature that the host does not give
LACKING = frozenset({Code.MISSING_FEATURE, Code.SILENT_DOWNGRADE, Code.LOST_FEATURE})

_GOES = frozenset({CanGo.YES, CanGo.WARNINGS})


class KnownBy(StrEnum):
    """Where what is known of a host comes from."""

    HERE = "here"  # the host that makes the report
    GUARD = "guard"  # the snapshot of the guard there
    LIBVIRT = "libvirt"
    FILE = "file"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traveller:
    """A guest and what its guards would be asked; `runs`: it would migrate, else start anew.

    `is_x86`: its CPU is made of x86 features. `virt_type` is "" where it cannot be read.
    """

    name: str
    uuid: str
    runs: bool
    requests: tuple[CheckRequest, ...]
    virt_type: str = ""
    is_x86: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A host to go to. `snapshot` None: nothing is known of it, and `problem` says why.

    `label` tells it apart from the others, `given` is how it was named, "" for this host.
    """

    label: str
    given: str
    known_by: KnownBy
    snapshot: HostSnapshot | None = None
    problem: str = ""
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One guest on one host; `verdict` None: it could not be judged, and `problem` says why."""

    can_go: CanGo
    verdict: Verdict | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One guest, with a cell for each place."""

    guest: Traveller
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """All guests on all hosts."""

    places: tuple[Place, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranded:
    """Guests, as rows of the matrix, that can go to none of the other hosts.

    `here_only` can at least be on this host, `nowhere` not even there. Of `uncertain` no host says
    that they can go there, and of one it cannot be told.
    """

    here_only: tuple[Row, ...] = ()
    nowhere: tuple[Row, ...] = ()
    uncertain: tuple[Row, ...] = ()


def traveller(name: str, uuid: str, xml: str, as_sent: str | None = None) -> Traveller:
    """Say what would be asked about the guest with the domain *xml*.

    One that runs is asked about as a migration would, which sends *as_sent* first, any other as its
    start. Never raises a GuardError: what cannot be read is left to the verdict.
    """
    start = CheckRequest(domain=name, operation=Operation.PREPARE, xml=xml, arrives=False)
    try:
        read, trimmed = parse_domain(xml), trim_domain(xml)
        sent = trimmed if as_sent is None else trim_domain(as_sent)
    except GuardError:
        return Traveller(name=name, uuid=uuid, runs=False, requests=(start,))
    if read.runs:
        requests = arrival_requests(name, as_sent=sent, in_force=trimmed)
    else:
        requests = (CheckRequest(domain=name, operation=Operation.PREPARE, xml=trimmed),)
    return Traveller(
        name=name,
        uuid=uuid,
        runs=read.runs,
        requests=requests,
        virt_type=read.virt_type,
        is_x86=read.arch in X86,
    )


class Bench:
    """Judges one guest after another on the same hosts."""

    def __init__(self, places: Sequence[Place], virt_types: Iterable[str], cpu_map: CPUMap) -> None:
        self._places = tuple(places)
        self._cpu_map = cpu_map
        self._hosts = [
            {virt_type: self._known(place, virt_type) for virt_type in {*virt_types, ""}}
            for place in places
        ]

    def row(self, guest: Traveller) -> Row:
        """Judge *guest* on each host."""
        pairs = zip(self._places, self._hosts, strict=True)
        cells = (self._cell(guest, place, hosts[guest.virt_type]) for place, hosts in pairs)
        return Row(guest=guest, cells=tuple(cells))

    def _known(self, place: Place, virt_type: str) -> HostSnapshot | str:
        """Give the host for guests of *virt_type*, or say why it is not known."""
        if place.snapshot is None:
            return place.problem
        if place.known_by is KnownBy.HERE:
            return place.snapshot
        try:
            return in_our_words(self._cpu_map, place.snapshot, virt_type)
        except GuardError as exc:
            return f"{exc}; {exc.hint}" if exc.hint else str(exc)

    def _cell(self, guest: Traveller, place: Place, host: HostSnapshot | str) -> Cell:
        if isinstance(host, str):
            return Cell(can_go=CanGo.CANNOT_TELL, problem=host)
        verdict = worst(
            [judge(request, host, place.policy, self._cpu_map) for request in guest.requests]
        )
        return Cell(can_go=can_go(verdict), verdict=verdict)


# -- what it comes to


def counts(cells: Iterable[Cell]) -> Mapping[CanGo, int]:
    """Count *cells* by what they say; every answer has its number."""
    counted = Counter(cell.can_go for cell in cells)
    return MappingProxyType({answer: counted[answer] for answer in CanGo})


def column(matrix: Matrix, at: int) -> list[Cell]:
    """Give what the host at that place says of each guest."""
    return [row.cells[at] for row in matrix.rows]


def stranded(matrix: Matrix) -> Stranded:
    """Find the guests that can leave this host for no other; none where there is no other."""
    others = [at for at, place in enumerate(matrix.places) if place.known_by is not KnownBy.HERE]
    here = [at for at, place in enumerate(matrix.places) if place.known_by is KnownBy.HERE]
    found: dict[str, list[Row]] = {"here_only": [], "nowhere": [], "uncertain": []}
    for row in matrix.rows if others else ():
        elsewhere = {row.cells[at].can_go for at in others}
        if elsewhere & _GOES:
            continue
        if CanGo.CANNOT_TELL in elsewhere:
            found["uncertain"].append(row)
        elif {row.cells[at].can_go for at in here} & _GOES:
            found["here_only"].append(row)
        else:
            found["nowhere"].append(row)
    return Stranded(**{key: tuple(rows) for key, rows in found.items()})


def weakest(matrix: Matrix) -> list[int]:
    """Give the places of the hosts that refuse most guests; none where no host refuses any.

    Nor where all that are known refuse as many.
    """
    known = [at for at, place in enumerate(matrix.places) if place.snapshot is not None]
    refused = {at: counts(column(matrix, at))[CanGo.NO] for at in known}
    most = max(refused.values(), default=0)
    if most == 0 or (len(refused) > 1 and set(refused.values()) == {most}):
        return []
    return [at for at, number in refused.items() if number == most]


def lacks(matrix: Matrix, at: int) -> Mapping[str, int]:
    """Name the x86 features that the host at that place lacks, each with how many guests want it.

    Those that most guests want come first.
    """
    wanted: Counter[str] = Counter()
    for row in matrix.rows:
        verdict = row.cells[at].verdict
        if verdict is not None and row.guest.is_x86:
            wanted.update({each.subject for each in verdict.findings if each.code in LACKING})
    ordered = sorted(wanted.items(), key=lambda item: (-item[1], item[0]))
    return MappingProxyType(dict(ordered))
