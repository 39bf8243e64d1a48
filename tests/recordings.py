"""The recordings below tests/data by name; tests/data/README.md says where each is from."""

from pathlib import Path
from types import MappingProxyType

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import CPUDef, FeaturePolicy
from guardd.facts.capabilities import parse_capabilities
from guardd.facts.domcaps import Hypervisor, ModelSupport, Usable, parse_domcaps
from guardd.facts.snapshot import HostSnapshot

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parent.parent
HOOK = ROOT / "hooks" / "qemu.c"


def recorded(name: str) -> str:
    """Give the text of tests/data/NAME.xml."""
    return (DATA / f"{name}.xml").read_text(encoding="utf-8")


def small_map() -> CPUMap:
    """Load the CPU map of our own: a handful of models, each with few features."""
    return CPUMap(lambda name: (DATA / "cpu_map" / name).read_bytes())


def small_map_of_libvirt_9() -> CPUMap:
    """Load the same as libvirt 9 would have it, which leaves no question to QEMU."""

    def read(name: str) -> bytes:
        text = (DATA / "cpu_map" / name).read_bytes()
        return text.replace(b"<check partial='compat'/>", b"")

    return CPUMap(read)


def recorded_host(name: str) -> HostSnapshot:
    """Give the snapshot of a recorded host: its capabilities, all its domain capabilities."""
    (capabilities,) = DATA.glob(f"*-{name}-capabilities.xml")
    supported = parse_capabilities(capabilities.read_bytes())
    paths = [*DATA.glob(f"*-{name}-kvm.xml"), *DATA.glob(f"*-{name}-tcg.xml")]
    snapshot = HostSnapshot(
        hostname=name,
        taken="2026-11-22T21:00:00Z",
        libvirt="9.0.0",
        arch=supported.arch,
        host_cpu=supported.host_cpu,
        hypervisors=tuple(parse_domcaps(path.read_bytes()) for path in sorted(paths)),
        fingerprint=MappingProxyType({"kernel": "6.1.0"}),
    )
    machines = {
        support.arch: MappingProxyType(
            {name: canonical for name, canonical in support.machines if name != canonical}
        )
        for support in supported.guests
    }
    return snapshot._replace(machines=MappingProxyType(machines))


def without(snapshot: HostSnapshot, *names: str) -> HostSnapshot:
    """Give *snapshot* as of a host that has lost the features *names*, to an update say."""
    host = snapshot.host_cpu
    if host is not None:
        # libvirt names the nearest model that the host still has, and lists what it has beyond
        has = cpu.features(small_map(), snapshot.arch, host)
        own = cpu.features(small_map(), snapshot.arch, CPUDef(model=host.model))
        model = "Nehalem" if own & set(names) else host.model
        listed = dict.fromkeys(sorted(has.difference(names)))
        host = host._replace(model=model, features=MappingProxyType(listed))
    hypervisors = tuple(_poorer(each, frozenset(names)) for each in snapshot.hypervisors)
    return snapshot._replace(host_cpu=host, hypervisors=hypervisors)


def _poorer(hypervisor: Hypervisor, names: frozenset[str]) -> Hypervisor:
    models = {}
    for name, model in hypervisor.models.items():
        blocked = names & cpu.features(small_map(), hypervisor.arch, CPUDef(model=name))
        models[name] = ModelSupport(usable=Usable.NO) if blocked else model
    known = hypervisor.host_model
    if known is None:
        return hypervisor
    off = dict.fromkeys(sorted(names), FeaturePolicy.DISABLE)
    host_model = known._replace(features=MappingProxyType({**known.features, **off}))
    return hypervisor._replace(host_model=host_model, models=MappingProxyType(models))
