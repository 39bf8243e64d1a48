"""The shape of a CPU driver, and of what a comparison answers."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from guardd.cpu.definition import CPUDef, FeaturePolicy, Match, Mode
from guardd.cpu.map import ReadFile
from guardd.xmldoc import Element

Map = TypeVar("Map")
Data = TypeVar("Data")

# the models that a hypervisor offers, and the features that block each here
HypervisorModels = Mapping[str, Sequence[str]]


class CompareResult(StrEnum):
    """How a host stands to a CPU; superset: the *host* has more (spec cpu-x86, section 4)."""

    INCOMPATIBLE = "incompatible"
    IDENTICAL = "identical"
    SUPERSET = "superset"
    # ours: libvirt says "identical" where it means that QEMU will decide
    UNCHECKED = "unchecked"

    @property
    def as_libvirt(self) -> "CompareResult":
        """What libvirt itself answers, to be put beside it."""
        return CompareResult.IDENTICAL if self is CompareResult.UNCHECKED else self


class Difference(StrEnum):
    """What can stand between a host and a CPU."""

    UNKNOWN_HOST = "unknown-host-cpu"
    ARCH = "arch-mismatch"
    VENDOR = "vendor-mismatch"
    MODEL = "model-mismatch"
    COMPAT = "compat-mode"
    MISSING = "missing-feature"
    FORBIDDEN = "forbidden-feature"
    EXTRA = "extra-feature"
    PAGE_SIZE = "page-size"


class Comparison(NamedTuple):
    """The result and, when it is incompatible, why: one kind of difference and its names.

    `subjects` are feature names in map order, or the vendor, arch, model, compatibility mode or
    page size that the CPU asks for.
    """

    result: CompareResult
    difference: Difference | None = None
    subjects: tuple[str, ...] = ()

    @classmethod
    def incompatible(cls, difference: Difference, *subjects: str) -> "Comparison":
        """Say no, for *difference* in *subjects*."""
        return cls(CompareResult.INCOMPATIBLE, difference, subjects)


class Limits(NamedTuple):
    """What limits the choice of a model in decode and baseline.

    `models`: those the hypervisor offers (None: all). `preferred`: names to take if they fit; a
    single one is taken even if another fits better. `features`: names that a baseline may have
    (None: all). `migratable`: leave features out that keep a guest from migrating.
    """

    models: HypervisorModels | None = None
    preferred: tuple[str, ...] = ()
    features: frozenset[str] | None = None
    migratable: bool = False


NO_LIMITS = Limits()


class Encoded(NamedTuple, Generic[Data]):
    """The CPU data of a definition by policy, `require` with its model's, and of its vendor."""

    force: Data
    require: Data
    optional: Data
    disable: Data
    forbid: Data
    vendor: Data


class LiveData(NamedTuple, Generic[Data]):
    """What the hypervisor switched on in a guest's CPU, and what it was asked for and did not.

    `may_conflict`: take a feature in both for disabled, as libvirt 9.0.0 does; 11.3.0 refuses it.
    """

    enabled: Data
    disabled: Data
    may_conflict: bool = False


def is_relative(cpu: CPUDef) -> bool:
    """Whether an update of *cpu* looks at the host (spec cpu-x86, section 6.3)."""
    if cpu.mode is Mode.HOST_MODEL:
        return True
    is_loose = cpu.match is Match.MINIMUM or FeaturePolicy.OPTIONAL in cpu.features.values()
    return cpu.mode is Mode.CUSTOM and is_loose


def copy_model(guest: CPUDef, host: CPUDef) -> CPUDef:
    """Give *guest* the model of *host*, all that belongs to one: vendor, microcode, features.

    A feature without policy, a host's, becomes required (spec cpu-x86, section 6.13).
    """
    features = {name: policy or FeaturePolicy.REQUIRE for name, policy in host.features.items()}
    return guest._replace(
        model=host.model,
        vendor=host.vendor,
        vendor_id=host.vendor_id,
        microcode=host.microcode,
        features=MappingProxyType(features),
    )


class Driver(NamedTuple, Generic[Map, Data]):
    """One architecture family: its map, and the operations it has (None: it cannot).

    `load` builds the family's part of the CPU map. `compare` takes (map, host, cpu). `features`
    takes (map, cpu) and gives the names of all features the CPU has, those of its model included.
    `hidden_features` takes the same and names those that the CPU has no way to see.
    `asks_qemu` takes (map) and says whether its libvirt lets check='partial' pass by QEMU's word.
    `compat_check` takes (map, model name) and says whether libvirt's check='partial' is a
    comparison for that model, and not a question to QEMU. `updates_live`: libvirt replaces the
    CPU of a guest that has started by what QEMU really gave it, with check='full'. The others
    are behind the functions of `guardd.cpu` with the same names, which say what they do.
    """

    name: str
    load: Callable[[ReadFile], Map]
    compare: Callable[[Map, CPUDef, CPUDef], Comparison] | None = None
    features: Callable[[Map, CPUDef], frozenset[str]] | None = None
    models: Callable[[Map], tuple[str, ...]] | None = None
    non_migratable: Callable[[Map], frozenset[str]] | None = None
    hidden_features: Callable[[Map, CPUDef], frozenset[str]] | None = None
    asks_qemu: Callable[[Map], bool] | None = None
    compat_check: Callable[[Map, str], bool] | None = None
    updates_live: bool = False
    convert_legacy: Callable[[CPUDef], CPUDef] | None = None
    decode: Callable[[Map, CPUDef, Data, Limits], CPUDef] | None = None
    encode: Callable[[Map, CPUDef], Encoded[Data]] | None = None
    parse_data: Callable[[Element], Data] | None = None
    format_data: Callable[[Data], str] | None = None
    baseline: Callable[[Map, Sequence[CPUDef], Limits], CPUDef] | None = None
    update: Callable[[Map, CPUDef, CPUDef | None, FeaturePolicy], CPUDef] | None = None
    update_live: Callable[[Map, CPUDef, LiveData[Data]], CPUDef | None] | None = None
    translate: Callable[[Map, CPUDef, HypervisorModels], CPUDef] | None = None
    expand: Callable[[Map, CPUDef], CPUDef] | None = None
    has_feature: Callable[[Map, CPUDef, str], bool] | None = None
    data_has_feature: Callable[[Map, Data, str], bool] | None = None
    validate_features: Callable[[Map, CPUDef], None] | None = None
    vendor_for_model: Callable[[Map, str], str | None] | None = None
