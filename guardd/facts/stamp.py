"""The stamp: a birth record that travels with a guest in its <metadata>.

It says what the guest has seen of its CPU since it booted. The daemon writes it into the running
guest; live migration, managed save and snapshots carry it along; a cold start begins without.
Whoever may change the guest's XML may change it, so it can only speak against a guest.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from guardd.cpu.definition import Arch, Signature
from guardd.digest import digest
from guardd.errors import BadStamp, GuardError
from guardd.xmldoc import Element, escape, read_xml

NAMESPACE = "https://cpuguardd.io/xmlns/stamp"
PREFIX = "guardd"
VERSION = 1  # of the element; a newer one is a doubt, not a guess
TAG = f"{{{NAMESPACE}}}stamp"
_NAMES = f"{{{NAMESPACE}}}"  # which all tags of that namespace begin with

VERSIONS = ("libvirt", "qemu", "kernel", "microcode")
MAX_FEATURES = 4096
MAX_LENGTH = 256  # of one attribute but the features


class Stamp(NamedTuple):
    """What a guest has seen since it booted; "" and None: not known.

    `uuid` is the guest's, in lower case, so that a copy in another guest is noticed. `taken` is a
    UTC time in ISO 8601, `host` the name of the host that it booted on. `model`, `vendor`,
    `signature` are those of the CPU in force, of the host's where the guest takes the host's CPU.
    `features` are all features in force, in libvirt's words. `phys_bits`: physical address bits.
    `tsc`: Hz. `page_size`: bytes. `cores`, on aarch64: the MIDR of each kind of core. `compat`,
    on PowerPC: the compatibility mode. `versions`, by "libvirt", "qemu", "kernel", "microcode".
    """

    uuid: str
    taken: str
    host: str
    virt_type: str
    arch: Arch
    model: str = ""
    vendor: str = ""
    signature: Signature | None = None
    compat: str = ""
    features: frozenset[str] = frozenset()
    phys_bits: int | None = None
    tsc: int | None = None
    page_size: int | None = None
    cores: frozenset[int] = frozenset()
    versions: Mapping[str, str] = MappingProxyType({})


def format_stamp(stamp: Stamp) -> str:
    """Write *stamp* as one element without its namespace, as libvirt's metadata call takes it.

    That call puts PREFIX and NAMESPACE in.
    """
    attributes = _attributes(stamp)
    words = [("version", str(VERSION)), *attributes.items(), ("digest", _digest(attributes))]
    return "<stamp" + "".join(f" {name}='{escape(text)}'" for name, text in words) + "/>"


def find_stamp(domain: Element) -> Stamp | None:
    """Give the stamp of the guest in the element *domain*, None where it has none.

    Raises BadStamp where there is one that cannot be relied on: more than one, not right below
    <metadata>, of another guest or a newer version, or not as it was written.
    """
    found = [element for element in domain.iter() if element.tag.startswith(_NAMES)]
    if not found:
        return None
    # by its way down from the root: a copy in a device's XML, or in someone's element, is none
    if found[0] not in domain.findall(f"metadata/{TAG}"):
        raise BadStamp("the stamp does not stand right below the domain's <metadata>")
    if len(found) > 1:
        raise BadStamp(f"the domain has {len(found)} stamps")
    return stamp_from_element(found[0])


def parse_stamp(text: str | bytes) -> Stamp:
    """Read what libvirt's metadata call gives back; raises BadStamp."""
    try:
        return stamp_from_element(read_xml(text, what="stamp"))
    except BadStamp:
        raise
    except GuardError as exc:
        raise BadStamp(str(exc)) from exc


def stamp_from_element(element: Element) -> Stamp:
    """Read the element that libvirt keeps; raises BadStamp."""
    words = {str(name): str(text) for name, text in element.attrib.items()}
    version, written = words.pop("version", ""), words.pop("digest", "")
    if version != str(VERSION):
        raise BadStamp(
            f"the stamp is of version {version[:MAX_LENGTH]!r}, this program reads {VERSION}"
        )
    if written != _digest(words) or len(element):
        raise BadStamp("the stamp is not as it was written: its digest is another")
    try:
        return _stamp_from(words)
    except (KeyError, ValueError) as exc:
        raise BadStamp(f"the stamp cannot be read: {exc!r}") from exc


def _attributes(stamp: Stamp) -> dict[str, str]:
    """Give what is written, by name, without what is not known."""
    signature = stamp.signature
    words = {
        "guest": stamp.uuid,
        "taken": stamp.taken,
        "host": stamp.host,
        "virt": stamp.virt_type,
        "arch": str(stamp.arch),
        "model": stamp.model,
        "vendor": stamp.vendor,
        "signature": ""
        if signature is None
        else f"{signature.family} {signature.model} {signature.stepping}",
        "compat": stamp.compat,
        "physbits": _number(stamp.phys_bits),
        "tsc": _number(stamp.tsc),
        "pagesize": _number(stamp.page_size),
        "cores": " ".join(f"{core:#x}" for core in sorted(stamp.cores)),
        **{name: stamp.versions.get(name, "") for name in VERSIONS},
        "features": " ".join(sorted(stamp.features)),
    }
    return {name: text for name, text in words.items() if text}


def _stamp_from(words: Mapping[str, str]) -> Stamp:
    for name, text in words.items():
        if name != "features" and len(text) > MAX_LENGTH:
            raise ValueError(f"'{name}' has {len(text)} characters")
    features = frozenset(words.get("features", "").split())
    if len(features) > MAX_FEATURES:
        raise ValueError(f"it has {len(features)} features")
    return Stamp(
        uuid=words["guest"],
        taken=words["taken"],
        host=words["host"],
        virt_type=words["virt"],
        arch=Arch(words["arch"]),
        model=words.get("model", ""),
        vendor=words.get("vendor", ""),
        signature=_signature(words.get("signature", "")),
        compat=words.get("compat", ""),
        features=features,
        phys_bits=_optional(words, "physbits"),
        tsc=_optional(words, "tsc"),
        page_size=_optional(words, "pagesize"),
        cores=frozenset(int(core, 16) for core in words.get("cores", "").split()),
        versions=MappingProxyType({name: words[name] for name in VERSIONS if name in words}),
    )


def _signature(text: str) -> Signature | None:
    if not text:
        return None
    family, model, stepping = map(int, text.split())
    return Signature(family=family, model=model, stepping=stepping)


def _optional(words: Mapping[str, str], name: str) -> int | None:
    return int(words[name]) if name in words else None


def _number(number: int | None) -> str:
    return "" if number is None else str(number)


def _digest(words: Mapping[str, str]) -> str:
    """Sum up what was written, to notice what was cut or edited by hand; it is no signature."""
    text = "\n".join(f"{name}={words[name]}" for name in sorted(words))
    return digest(text.encode())
