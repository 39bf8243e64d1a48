"""A CPU definition and its words, spelled as in libvirt's XML."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Arch(StrEnum):
    """The architecture names that libvirt 11.3.0 knows (spec cpu-x86, 3.2)."""

    ALPHA = "alpha"
    ARMV6L = "armv6l"
    ARMV7L = "armv7l"
    ARMV7B = "armv7b"
    AARCH64 = "aarch64"
    CRIS = "cris"
    I686 = "i686"
    IA64 = "ia64"
    LM32 = "lm32"
    LOONGARCH64 = "loongarch64"
    M68K = "m68k"
    MICROBLAZE = "microblaze"
    MICROBLAZEEL = "microblazeel"
    MIPS = "mips"
    MIPSEL = "mipsel"
    MIPS64 = "mips64"
    MIPS64EL = "mips64el"
    OPENRISC = "openrisc"
    PARISC = "parisc"
    PARISC64 = "parisc64"
    PPC = "ppc"
    PPCLE = "ppcle"
    PPC64 = "ppc64"
    PPC64LE = "ppc64le"
    PPCEMB = "ppcemb"
    RISCV32 = "riscv32"
    RISCV64 = "riscv64"
    S390 = "s390"
    S390X = "s390x"
    SH4 = "sh4"
    SH4EB = "sh4eb"
    SPARC = "sparc"
    SPARC64 = "sparc64"
    UNICORE32 = "unicore32"
    X86_64 = "x86_64"
    XTENSA = "xtensa"
    XTENSAEB = "xtensaeb"


class CPUType(StrEnum):
    """The two roles of a definition; in XML a host is told by its <arch>."""

    HOST = "host"
    GUEST = "guest"


class Mode(StrEnum):
    """cpu/@mode."""

    CUSTOM = "custom"
    HOST_MODEL = "host-model"
    HOST_PASSTHROUGH = "host-passthrough"
    MAXIMUM = "maximum"


class Match(StrEnum):
    """cpu/@match."""

    MINIMUM = "minimum"
    EXACT = "exact"
    STRICT = "strict"


class Check(StrEnum):
    """cpu/@check."""

    NONE = "none"
    PARTIAL = "partial"
    FULL = "full"


class Fallback(StrEnum):
    """model/@fallback."""

    ALLOW = "allow"
    FORBID = "forbid"


class FeaturePolicy(StrEnum):
    """feature/@policy."""

    FORCE = "force"
    REQUIRE = "require"
    OPTIONAL = "optional"
    DISABLE = "disable"
    FORBID = "forbid"


class CacheMode(StrEnum):
    """cache/@mode."""

    EMULATE = "emulate"
    PASSTHROUGH = "passthrough"
    DISABLE = "disable"


class PhysAddrMode(StrEnum):
    """maxphysaddr/@mode."""

    EMULATE = "emulate"
    PASSTHROUGH = "passthrough"


class Signature(NamedTuple):
    """x86 family, model and stepping, as numbers (CPUID leaf 1 EAX)."""

    family: int
    model: int
    stepping: int


class TSC(NamedTuple):
    """The host's time stamp counter: Hz, and whether a guest's can be scaled (None: not said)."""

    frequency: int
    scaling: bool | None = None


class Topology(NamedTuple):
    """Counts, all at least 1."""

    sockets: int
    cores: int
    threads: int
    dies: int = 1
    clusters: int = 1


class Cache(NamedTuple):
    """The cache that a guest is shown; level None: all of them."""

    mode: CacheMode
    level: int | None = None


class MaxPhysAddr(NamedTuple):
    """Physical address width in bits; None: not given."""

    mode: PhysAddrMode
    bits: int | None = None
    limit: int | None = None


NO_FEATURES: Mapping[str, FeaturePolicy | None] = MappingProxyType({})


class CPUDef(NamedTuple):
    """What a <cpu> element says (spec cpu-x86, 3.1); None: the document did not say.

    `features` keeps the order of the document. A feature of a host CPU has no policy (None).
    A host CPU read from XML has no mode, one that a driver decoded has mode custom.
    """

    type: CPUType = CPUType.GUEST
    mode: Mode | None = Mode.CUSTOM
    match: Match = Match.EXACT
    check: Check | None = None
    fallback: Fallback = Fallback.ALLOW
    migratable: bool | None = None
    deprecated_features: bool | None = None
    arch: Arch | None = None
    model: str | None = None
    vendor: str | None = None
    vendor_id: str | None = None
    microcode: int | None = None
    signature: Signature | None = None
    tsc: TSC | None = None
    topology: Topology | None = None
    cache: Cache | None = None
    maxphysaddr: MaxPhysAddr | None = None
    features: Mapping[str, FeaturePolicy | None] = NO_FEATURES

    def __hash__(self) -> int:
        """Hash what tells definitions apart in practice; `features`, a mapping, has no hash."""
        return hash((self.type, self.mode, self.model, self.vendor, len(self.features)))

    def named(self, *policies: FeaturePolicy) -> frozenset[str]:
        """Name the features that the definition lists with one of *policies*."""
        return frozenset(name for name, policy in self.features.items() if policy in policies)
