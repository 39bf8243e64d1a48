"""What a verdict is made of: the closed list of codes, findings, the request and the answer."""

from enum import StrEnum
from typing import NamedTuple

from guardd.facts.domain import Guest
from guardd.facts.domcaps import HypervisorKey


class Operation(StrEnum):
    """The hook operations that can be refused; each with sub-operation "begin"."""

    PREPARE = "prepare"
    MIGRATE = "migrate"
    RESTORE = "restore"


class Enforcement(StrEnum):
    """What a finding leads to: a refusal, a warning in the journal, or a mere record there."""

    ENFORCE = "enforce"
    WARN = "warn"
    OBSERVE = "observe"


class Answer(StrEnum):
    """What to do where nothing can be told."""

    ALLOW = "allow"
    DENY = "deny"


class Decision(StrEnum):
    """What a verdict says; WARN is an allow that a stricter mode would refuse."""

    ALLOW = "allow"
    WARN = "warn"
    DENY = "deny"
    CANNOT_TELL = "cannot-tell"


class Code(StrEnum):
    """Every finding there is. A code never changes its meaning: scripts and journals hold them."""

    MISSING_FEATURE = "missing-feature"
    FORBIDDEN_FEATURE = "forbidden-feature"
    EXTRA_FEATURE = "extra-feature"
    VENDOR_MISMATCH = "vendor-mismatch"
    ARCH_MISMATCH = "arch-mismatch"
    MODEL_MISMATCH = "model-mismatch"
    COMPAT_MODE = "compat-mode"
    UNKNOWN_MODEL = "unknown-model"
    UNKNOWN_FEATURE = "unknown-feature"
    UNSUPPORTED_MODE = "unsupported-mode"
    UNSUPPORTED_MODEL = "unsupported-model"
    SILENT_DOWNGRADE = "silent-downgrade"
    ABOVE_CEILING = "above-ceiling"
    OUTSIDE_POOL = "outside-pool"
    # of a guest that runs or was saved: what it has seen since it booted, by its stamp
    LOST_FEATURE = "lost-feature"
    NEW_FEATURE = "new-feature"
    VENDOR_CROSSING = "vendor-crossing"
    CORE_MISMATCH = "core-mismatch"
    PAGE_SIZE = "page-size"
    TSC_CHANGE = "tsc-change"
    # beyond features
    PHYS_BITS = "phys-bits"
    TSC_FREQUENCY = "tsc-frequency"
    INVTSC = "invtsc"
    # advice about a definition: nothing that a start or an arrival is refused for
    NEVER_MIGRATES = "never-migrates"
    NO_CHECK = "no-check"
    DEFAULT_CPU = "default-cpu"
    # what follows is doubt, not incompatibility
    UNSTAMPED = "unstamped"
    BAD_STAMP = "bad-stamp"
    UNREADABLE_GUEST = "unreadable-guest"
    UNKNOWN_HOST = "unknown-host"
    UNKNOWN_HYPERVISOR = "unknown-hypervisor"
    UNCHECKED = "unchecked"
    INTERNAL = "internal"

    @property
    def is_doubt(self) -> bool:
        """Whether it says that nothing can be told; on_cannot_tell decides then."""
        return self in _DOUBTS


_DOUBTS = frozenset(
    {
        Code.UNSTAMPED,
        Code.BAD_STAMP,
        Code.UNREADABLE_GUEST,
        Code.UNKNOWN_HOST,
        Code.UNKNOWN_HYPERVISOR,
        Code.UNCHECKED,
        Code.INTERNAL,
    }
)


class Finding(NamedTuple):
    """One reason: its code, what it is about (a feature, model, ...), a sentence, a way out.

    `mode` is what policy makes of it, at most what it was before; a rule leaves it at ENFORCE.
    """

    code: Code
    subject: str
    sentence: str
    hint: str = ""
    mode: Enforcement = Enforcement.ENFORCE


class CheckRequest(NamedTuple):
    """What the hook was called with: guest name, operation, and the domain XML from stdin.

    `arrives`: whether this `prepare` belongs to a `migrate` or `restore`, or is a start from
    nothing or a revert to a snapshot. None: not known.
    """

    domain: str
    operation: Operation
    xml: str
    arrives: bool | None = None


class Verdict(NamedTuple):
    """The answer to a CheckRequest.

    `refused`: the hook must fail. `would_refuse`: it must not, because of a mode that is less than
    enforce, for the host, the guest or the finding, or because of what `leniency` says, a sentence
    or "". `guest_cpu`, `host_cpu` and `source` say in
    words what was held against what, and where the host's side was known from. `uuid` is "" where
    it could not be read. Two are for the watcher and never sent: `unseen` is a hypervisor that the
    snapshot lacks, to ask libvirt about; `guest` is what the document said, None where it could not
    be read.
    """

    domain: str
    operation: Operation
    decision: Decision
    refused: bool
    uuid: str = ""
    would_refuse: bool = False
    leniency: str = ""
    findings: tuple[Finding, ...] = ()
    guest_cpu: str = ""
    host_cpu: str = ""
    source: str = ""
    unseen: HypervisorKey | None = None
    guest: Guest | None = None
