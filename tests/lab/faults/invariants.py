"""What was seen of a round, and what must hold in each, whatever the fault."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.lab.faults.catalogue import FAULTS, Fault
from tests.lab.guard import Record
from tests.lab.host import Host
from tests.lab.load import HUNG, Act, What

# 1 s for the daemon, 4 s for the judgement without it, 1 s for the last word in the journal; and
# one for a machine of which all hosts and their guests want a part
HOOK_SECONDS = 7.0
# a hook that is asked holds libvirtd's list of guests (hooks.rst)
LIST_SECONDS = HOOK_SECONDS + 3
UNREAD_SECONDS = 0.5  # journald is no slower than that, nor is the daemon's thread that writes
JUDGED = frozenset({What.HOOK, What.START, What.RESTORE, What.MIGRATE})
NO_VERDICT = ("failed to get domain", "already active", "no domain with matching")
UNJUDGED = frozenset({"cannot-tell", "unavailable"})
# of the host before it changed, or while it is still read: such a verdict refuses nobody
VAGUE = ("outdated snapshot", "the nearest known")


@dataclass(slots=True, kw_only=True)
class Round:
    """All that was seen of one: what was done, what the journals say, who lived before and after.

    `before`, `after`: by host and guest, the process of its QEMU. `came`: when the fault began to
    come, and when it was there, monotonic. `since`: the cursor of the host's journal before all of
    it. `resumed`: "", or what did not come back. `broken`: why it could not be played.
    """

    number: int
    name: str
    host: Host
    answer: str
    came: tuple[float, float] = (0.0, 0.0)
    since: str = ""
    acts: list[Act] = field(default_factory=list)
    records: dict[str, list[Record]] = field(default_factory=dict)
    before: dict[tuple[str, str], str] = field(default_factory=dict)
    after: dict[tuple[str, str], str] = field(default_factory=dict)
    roamers: int = 0
    resumed: str = ""
    resume_seconds: float = 0.0
    broken: str = ""

    @property
    def fault(self) -> Fault:
        return FAULTS[self.name]

    def of(self, act: Act) -> list[Record]:
        """Give the verdicts on the guest of *act* where it was judged."""
        return [r for r in self.records[act.host] if r["GUARDD_DOMAIN"] == act.guest]

    def unjudged(self, act: Act) -> bool:
        """Whether the journal says that nobody could tell, and the answer was as configured."""
        refused = "yes" if act.is_refused else "no"
        found = [
            record
            for record in self.of(act)
            if record["GUARDD_DECISION"] in UNJUDGED
            or any(word in record.get("GUARDD_SOURCE", "") for word in VAGUE)
        ]
        found = [record for record in found if record["GUARDD_REFUSED"] == refused]
        is_as_configured = act.is_refused is (self.answer == "deny")
        return any(is_as_configured or r["GUARDD_DECISION"] not in UNJUDGED for r in found)


def guests_live(done: Round) -> Iterator[str]:
    """No guest that ran, and that the load leaves alone, has died."""
    for (host, guest), pid in done.before.items():
        now = done.after.get((host, guest), "")
        if now != pid:
            yield f"{guest} on {host} was process {pid or 'none'}, now it is {now or 'none'}"
    if done.roamers != 1 and not done.fault.is_libvirts:
        yield f"the roamer runs on {done.roamers} hosts"


def hooks_end_in_time(done: Round) -> Iterator[str]:
    """Every call of the hook ends within its bound, and with 0 or 1."""
    for act in done.acts:
        if act.what is not What.HOOK:
            continue
        if act.code not in (0, 1):
            yield f"hook for {act.guest} on {act.host}: exit status {act.code}: {act.said}"
        if act.seconds > HOOK_SECONDS:
            yield f"hook for {act.guest} on {act.host} took {act.seconds:.1f} s"


def nothing_hangs(done: Round) -> Iterator[str]:
    """Nothing asked of libvirt is without an answer."""
    for act in done.acts:
        if act.code == HUNG:
            yield f"{act.what} of {act.guest} on {act.host} hangs"


def verdicts_are_right(done: Round) -> Iterator[str]:
    """What fits goes, what does not is refused; or the answer is the configured one, and said."""
    for act in done.acts:
        if act.what not in JUDGED or act.code == HUNG:
            continue
        if act.code != 0 and not act.is_refused:
            # libvirt refuses by itself what nobody judged, and does not fit
            is_excused = done.fault.is_libvirts or any(text in act.said for text in NO_VERDICT)
            is_excused |= not act.fits and done.unjudged(act)
            if act.what is What.HOOK or not is_excused:
                yield f"{act.what} of {act.guest} on {act.host} failed: {act.said.strip()}"
        elif act.is_refused is act.fits and not done.unjudged(act):
            outcome = "refused" if act.is_refused else "allowed"
            yield f"{act.what} of {act.guest} on {act.host} was wrongly {outcome}: {act.said}"


def vetoes_are_recorded(done: Round) -> Iterator[str]:
    """Every refusal that somebody was told of is in the journal."""
    if done.fault.is_old:
        return
    for act in done.acts:
        is_there = any(r["GUARDD_REFUSED"] == "yes" for r in done.of(act))
        began, was_there = done.came
        is_dropped = (
            done.fault.drops_unread
            and act.ended > began - UNREAD_SECONDS
            and act.ended - act.seconds < was_there
        )
        if act.is_refused and not is_there and not is_dropped:
            yield (
                f"{act.what} of {act.guest} on {act.host} was refused, the journal has nothing:"
                f" told after {act.seconds:.2f} s, {act.ended - was_there:.2f} s after the fault"
            )


def libvirtd_answers(done: Round) -> Iterator[str]:
    """libvirtd lists its guests, unless it is the one that is away."""
    for act in done.acts:
        if act.what is What.LIST and not done.fault.is_libvirts:
            if act.code != 0:
                yield f"list on {act.host} failed: {act.said.strip()}"
            elif act.seconds > LIST_SECONDS:
                yield f"list on {act.host} took {act.seconds:.1f} s"


def all_resumes(done: Round) -> Iterator[str]:
    """A guest that starts afterwards is judged by the daemon, stamped, and both are recorded."""
    if done.resumed:
        yield f"{done.host.name} did not recover: {done.resumed}"


INVARIANTS: Sequence[Callable[[Round], Iterator[str]]] = (
    guests_live,
    hooks_end_in_time,
    nothing_hangs,
    verdicts_are_right,
    vetoes_are_recorded,
    libvirtd_answers,
    all_resumes,
)


def violations_of(done: Round) -> list[str]:
    """Name what did not hold."""
    if done.broken:
        return [f"not played: {done.broken}"]
    return [f"{check.__name__}: {said}" for check in INVARIANTS for said in check(done)]
