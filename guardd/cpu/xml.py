"""<cpu> text to a CPUDef and back, with libvirt's defaults, order and errors.

Source: spec cpu-x86, sections 3.2 (parsing) and 3.3 (formatting), read from libvirt's cpu_conf.c.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from guardd.cpu.attributes import (
    INT_MAX,
    ULLONG_MAX,
    integer,
    optional,
    parse_unsigned,
    required,
    switch,
    unsigned,
    word,
)
from guardd.cpu.definition import (
    NO_FEATURES,
    TSC,
    Arch,
    Cache,
    CacheMode,
    Check,
    CPUDef,
    CPUType,
    Fallback,
    FeaturePolicy,
    Match,
    MaxPhysAddr,
    Mode,
    PhysAddrMode,
    Signature,
    Topology,
)
from guardd.errors import InvalidCPU
from guardd.xmldoc import Element, escape, read_xml, string_value

VENDOR_ID_LENGTH = 12  # bytes of CPUID leaf 0 EBX, EDX, ECX
CACHE_LEVELS = range(1, 4)

_FEATURE_POLICIES: dict[str, FeaturePolicy] = {policy.value: policy for policy in FeaturePolicy}
# child elements by name, each in the order of the document
Children = Mapping[str, Sequence[Element]]

_HAS_MODEL = (Mode.CUSTOM, Mode.HOST_MODEL)
_HAS_MIGRATABLE = (Mode.HOST_PASSTHROUGH, Mode.MAXIMUM)


def parse_cpu(text: str | bytes, cpu_type: CPUType | None = None) -> CPUDef:
    """Read one <cpu> element from XML text; see `cpu_from_element`. Raises MalformedXML as well."""
    return cpu_from_element(read_xml(text, what="CPU definition"), cpu_type)


def cpu_from_element(cpu: Element, cpu_type: CPUType | None = None) -> CPUDef:
    """Read a <cpu> element; without *cpu_type* an <arch> child makes it a host's.

    Raises InvalidCPU where libvirt would refuse it; the first mistake wins, in libvirt's order.
    """
    if cpu.tag != "cpu":
        raise InvalidCPU("XML does not contain expected 'cpu' element")
    children = _by_name(cpu)
    if cpu_type is None:
        cpu_type = CPUType.HOST if "arch" in children else CPUType.GUEST
        if cpu_type is CPUType.HOST and "match" in cpu.attrib:
            raise InvalidCPU(
                "'arch' element cannot be used inside 'cpu' element with 'match' attribute"
            )
    attributes = _attributes(cpu, cpu_type)
    host = _host_children(children) if cpu_type is CPUType.HOST else _NOT_A_HOST
    model = _model_and_vendor(children, cpu_type, attributes.mode)
    topology = _topology(children)
    features = _features(children, cpu_type, attributes.mode, model.name)
    return CPUDef(
        type=cpu_type,
        mode=attributes.mode,
        match=attributes.match,
        check=attributes.check,
        fallback=model.fallback,
        migratable=attributes.migratable,
        deprecated_features=attributes.deprecated_features,
        arch=host.arch,
        model=model.name,
        vendor=model.vendor,
        vendor_id=model.vendor_id,
        microcode=host.microcode,
        signature=host.signature,
        tsc=host.tsc,
        topology=topology,
        cache=_cache(children),
        maxphysaddr=_maxphysaddr(children),
        features=features,
    )


def _by_name(cpu: Element) -> Children:
    """Sort the children once: a search for each of them takes longer than reading them all."""
    children: defaultdict[str, list[Element]] = defaultdict(list)
    for child in cpu:
        children[child.tag].append(child)
    return children


def _first(children: Children, name: str) -> Element | None:
    elements = children.get(name)
    return elements[0] if elements else None


class _Attributes(NamedTuple):
    mode: Mode | None
    migratable: bool | None
    match: Match = Match.EXACT
    check: Check | None = None
    deprecated_features: bool | None = None


class _Host(NamedTuple):
    arch: Arch | None
    microcode: int | None
    signature: Signature | None
    tsc: TSC | None


_NOT_A_HOST = _Host(None, None, None, None)


class _Model(NamedTuple):
    name: str | None
    vendor: str | None
    fallback: Fallback
    vendor_id: str | None


def _attributes(cpu: Element, cpu_type: CPUType) -> _Attributes:
    is_guest = cpu_type is CPUType.GUEST
    mode: Mode | None = Mode.CUSTOM if is_guest else None
    if (text := cpu.get("mode")) is not None:
        if not is_guest:
            raise InvalidCPU("Attribute mode is only allowed for guest CPU")
        mode = word(Mode, text, f"Invalid mode attribute '{text}'")
    migratable = switch(cpu, "migratable")
    if migratable is not None and mode not in _HAS_MIGRATABLE:
        raise InvalidCPU(
            "Attribute migratable is only allowed for 'host-passthrough' / 'maximum' CPU mode"
        )
    if not is_guest:
        return _Attributes(mode, migratable)
    match = optional(Match, cpu, "match", Match.EXACT)
    is_default = cpu.get("check", "default") == "default"
    check = None if is_default else required(Check, cpu, "check")
    return _Attributes(mode, migratable, match, check, switch(cpu, "deprecated_features"))


def _host_children(children: Children) -> _Host:
    arch = _text(children, "arch")
    if not arch:
        raise InvalidCPU("Missing CPU architecture")
    known = word(Arch, arch, f"Unknown architecture {arch}")
    microcode = signature = tsc = None
    if (element := _first(children, "microcode")) is not None:
        microcode = _microcode(element)
    if (element := _first(children, "signature")) is not None:
        signature = Signature(
            family=unsigned(element, "family", positive=True),
            model=unsigned(element, "model"),
            stepping=unsigned(element, "stepping"),
        )
    for element in children.get("counter", ()):
        if element.get("name") == "tsc":
            tsc = TSC(
                frequency=unsigned(element, "frequency", limit=ULLONG_MAX),
                scaling=switch(element, "scaling", "yes", "no"),
            )
            break
    return _Host(known, microcode, signature, tsc)


def _microcode(element: Element) -> int | None:
    text = element.get("version")
    if text is None:
        return None
    version = parse_unsigned(text)
    if version is None:
        raise InvalidCPU("invalid microcode version")
    return version or None


def _model_and_vendor(children: Children, cpu_type: CPUType, mode: Mode | None) -> _Model:
    element = _first(children, "model")
    name = None if element is None else string_value(element) or None
    if name is None and cpu_type is CPUType.HOST:
        raise InvalidCPU("Missing CPU model name")
    fallback, vendor_id = Fallback.ALLOW, None
    if element is not None and mode in _HAS_MODEL:
        if text := element.get("fallback"):
            fallback = word(Fallback, text, "Invalid fallback attribute")
        if vendor_id := element.get("vendor_id") or None:
            if len(vendor_id.encode()) != VENDOR_ID_LENGTH:
                raise InvalidCPU("vendor_id must be exactly 12 characters long")
            if "," in vendor_id:
                raise InvalidCPU("vendor id is invalid")
    vendor = _text(children, "vendor") or None
    if vendor is not None and name is None:
        raise InvalidCPU("CPU vendor specified without CPU model")
    return _Model(name, vendor, fallback, vendor_id)


def _topology(children: Children) -> Topology | None:
    element = _first(children, "topology")
    if element is None:
        return None
    words = element.attrib
    return Topology(
        sockets=unsigned(element, "sockets", positive=True),
        dies=unsigned(element, "dies", positive=True) if "dies" in words else 1,
        clusters=unsigned(element, "clusters", positive=True) if "clusters" in words else 1,
        cores=unsigned(element, "cores", positive=True),
        threads=unsigned(element, "threads", positive=True),
    )


def _features(
    children: Children, cpu_type: CPUType, mode: Mode | None, model: str | None
) -> Mapping[str, FeaturePolicy | None]:
    elements = children.get("feature")
    if not elements:
        return NO_FEATURES
    if model is None and mode in (Mode.CUSTOM, None):
        raise InvalidCPU("Non-empty feature list specified without CPU model")
    is_guest = cpu_type is CPUType.GUEST
    features: dict[str, FeaturePolicy | None] = {}
    for element in elements:
        policy: FeaturePolicy | None = None
        if is_guest:
            policy = _FEATURE_POLICIES.get(element.get("policy", "require"))
            if policy is None:
                raise InvalidCPU("Invalid CPU feature policy")
        name = element.get("name")
        if not name:
            raise InvalidCPU("Invalid CPU feature name")
        if name in features:
            raise InvalidCPU(f"CPU feature '{name}' specified more than once")
        features[name] = policy
    return MappingProxyType(features)


def _cache(children: Children) -> Cache | None:
    elements = children.get("cache")
    if not elements:
        return None
    if len(elements) > 1:
        raise InvalidCPU("at most one CPU cache element may be specified")
    level = None
    if "level" in elements[0].attrib:
        level = integer(elements[0], "level")
        if level not in CACHE_LEVELS:
            raise InvalidCPU("invalid CPU cache level, must be in range [1,3]")
    return Cache(level=level, mode=required(CacheMode, elements[0], "mode"))


def _maxphysaddr(children: Children) -> MaxPhysAddr | None:
    element = _first(children, "maxphysaddr")
    if element is None:
        return None
    mode = required(PhysAddrMode, element, "mode")
    bits = limit = None
    if "bits" in element.attrib:
        bits = integer(element, "bits")
    if "limit" in element.attrib:
        limit = unsigned(element, "limit", positive=True, limit=INT_MAX)
        if mode is not PhysAddrMode.PASSTHROUGH:
            raise InvalidCPU(
                "attribute 'limit' is only supported for maxphysaddr mode 'passthrough'"
            )
    return MaxPhysAddr(mode=mode, bits=bits, limit=limit)


def _text(children: Children, name: str) -> str:
    element = _first(children, name)
    return "" if element is None else string_value(element)


def format_cpu(cpu: CPUDef, *, clusters: bool = True) -> str:
    """Write *cpu* as libvirt does, two spaces an indent, no final newline.

    *clusters*: print topology clusters, as libvirt does since 10.1.0. An empty definition gives "".
    Raises InvalidCPU for a guest feature without policy, or custom features without a model.
    """
    attributes = _format_attributes(cpu) if cpu.type is CPUType.GUEST else ""
    children = [*_format_host(cpu), *_format_model(cpu)]
    children += _format_hardware(cpu, clusters=clusters)
    children += _format_features(cpu)
    if not children:
        return f"<cpu{attributes}/>" if attributes else ""
    return "\n".join([f"<cpu{attributes}>", *(f"  {child}" for child in children), "</cpu>"])


def _format_attributes(cpu: CPUDef) -> str:
    # mode None is a host's; libvirt prints attributes of a custom CPU only when it has a model
    if cpu.mode is None or (cpu.mode is Mode.CUSTOM and cpu.model is None):
        return ""
    words = [f" mode='{cpu.mode}'"]
    if cpu.mode is Mode.CUSTOM:
        words.append(f" match='{cpu.match}'")
    if cpu.check is not None:
        words.append(f" check='{cpu.check}'")
    if cpu.migratable is not None and cpu.mode in _HAS_MIGRATABLE:
        words.append(f" migratable='{_on_off(cpu.migratable)}'")
    if cpu.deprecated_features is not None:
        words.append(f" deprecated_features='{_on_off(cpu.deprecated_features)}'")
    return "".join(words)


def _on_off(value: bool) -> str:  # noqa: FBT001 (it is the value)
    return "on" if value else "off"


def _format_host(cpu: CPUDef) -> list[str]:
    if cpu.type is not CPUType.HOST or cpu.arch is None:
        return []
    return [f"<arch>{cpu.arch}</arch>"]


def _format_model(cpu: CPUDef) -> list[str]:
    if cpu.mode not in _HAS_MODEL:
        return []
    lines = []
    if cpu.model is not None or cpu.vendor_id is not None:
        is_guest = cpu.type is CPUType.GUEST
        fallback = f" fallback='{cpu.fallback}'" if is_guest and cpu.model is not None else ""
        vendor_id = ""
        if is_guest and cpu.vendor_id is not None:
            vendor_id = f" vendor_id='{escape(cpu.vendor_id)}'"
        tail = "/>" if cpu.model is None else f">{escape(cpu.model)}</model>"
        lines.append(f"<model{fallback}{vendor_id}{tail}")
    if cpu.vendor is not None:
        lines.append(f"<vendor>{escape(cpu.vendor)}</vendor>")
    return lines


def _format_hardware(cpu: CPUDef, *, clusters: bool) -> list[str]:
    lines = []
    if cpu.type is CPUType.HOST:
        if cpu.microcode is not None:
            lines.append(f"<microcode version='{cpu.microcode}'/>")
        if (sig := cpu.signature) is not None:
            lines.append(
                f"<signature family='{sig.family}' model='{sig.model}' stepping='{sig.stepping}'/>"
            )
        if (tsc := cpu.tsc) is not None:
            scaling = "" if tsc.scaling is None else f" scaling='{'yes' if tsc.scaling else 'no'}'"
            lines.append(f"<counter name='tsc' frequency='{tsc.frequency}'{scaling}/>")
    if (top := cpu.topology) is not None:
        middle = f" clusters='{top.clusters}'" if clusters else ""
        lines.append(
            f"<topology sockets='{top.sockets}' dies='{top.dies}'{middle}"
            f" cores='{top.cores}' threads='{top.threads}'/>"
        )
    if cpu.cache is not None:
        level = "" if cpu.cache.level is None else f" level='{cpu.cache.level}'"
        lines.append(f"<cache{level} mode='{cpu.cache.mode}'/>")
    if (addr := cpu.maxphysaddr) is not None:
        bits = "" if addr.bits is None else f" bits='{addr.bits}'"
        limit = "" if addr.limit is None else f" limit='{addr.limit}'"
        lines.append(f"<maxphysaddr mode='{addr.mode}'{bits}{limit}/>")
    return lines


def _format_features(cpu: CPUDef) -> list[str]:
    if cpu.type is CPUType.HOST:
        return [f"<feature name='{escape(name)}'/>" for name in cpu.features]
    if cpu.features and cpu.model is None and cpu.mode is Mode.CUSTOM:
        raise InvalidCPU("Non-empty feature list specified without CPU model")
    lines = []
    for name, policy in cpu.features.items():
        if policy is None:
            raise InvalidCPU(f"CPU feature '{name}' of a guest has no policy")
        lines.append(f"<feature policy='{policy}' name='{escape(name)}'/>")
    return lines
