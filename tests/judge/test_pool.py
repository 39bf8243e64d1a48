"""The pool: a guest may only start with a CPU that each of its hosts can give."""

import json
from pathlib import Path
from types import MappingProxyType

import pytest

from guardd import files
from guardd.cpu.definition import CPUDef, FeaturePolicy, MaxPhysAddr, Mode, PhysAddrMode
from guardd.errors import BadConfig
from guardd.facts.snapshot import HostSnapshot, snapshot_to_json
from guardd.judge.finding import Code
from tests.judge.table import (
    HASWELL,
    HASWELL_11,
    NAMELESS,
    NEOVERSE,
    POWER9,
    born,
    cpu,
    domain,
    judged,
    mode,
    stamped,
    told,
)
from tests.judge.test_stamp import A72, N1, amd, arm_host, less, power


def called(host: HostSnapshot, name: str) -> HostSnapshot:
    """Give *host* another name."""
    return host._replace(hostname=name)


def wide(host: HostSnapshot, bits: int) -> HostSnapshot:
    """Give *host* another number of physical address bits."""
    assert host.host_cpu is not None
    width = MaxPhysAddr(mode=PhysAddrMode.EMULATE, bits=bits)
    return host._replace(host_cpu=host.host_cpu._replace(maxphysaddr=width))


TWIN = called(HASWELL, "twin")
OLD = called(less(HASWELL, "avx", "avx2"), "old")
OLDER = called(less(HASWELL, "aes", "avx", "avx2"), "older")
AMD = called(amd(HASWELL), "amd")
TCG_ONLY = TWIN._replace(hypervisors=tuple(h for h in HASWELL.hypervisors if h.virt_type == "qemu"))
NO_PASSTHROUGH = TWIN._replace(
    hypervisors=tuple(
        h._replace(modes=h.modes - {Mode.HOST_PASSTHROUGH}) for h in HASWELL.hypervisors
    ),
)
NO_NEHALEM = TWIN._replace(
    hypervisors=tuple(
        h._replace(models=MappingProxyType({n: m for n, m in h.models.items() if n != "Nehalem"}))
        for h in HASWELL.hypervisors
    ),
)
NEW = TWIN._replace(
    hypervisors=tuple(
        h._replace(
            host_model=CPUDef(
                model="Haswell-noTSX",
                features=MappingProxyType(
                    {
                        **(h.host_model.features if h.host_model else {}),
                        "frob": FeaturePolicy.REQUIRE,
                    }
                ),
            ),
        )
        for h in HASWELL.hypervisors
    ),
)
NEW_MODEL = TWIN._replace(
    hypervisors=tuple(
        h._replace(host_model=CPUDef(model="Haswell-2040")) for h in HASWELL.hypervisors
    ),
)

X86_ROWS = [
    pytest.param([TWIN], mode("host-passthrough"), "allow", id="alike"),
    pytest.param(
        [HASWELL, OLD._replace(hostname="haswell")], cpu("Haswell-noTSX"), "allow", id="itself"
    ),
    pytest.param([OLD], cpu("Nehalem"), "allow", id="a model that all have"),
    pytest.param(
        [OLD], cpu("Haswell-noTSX"), "deny: outside-pool avx avx2", id="one that an older has not"
    ),
    pytest.param(
        [TWIN, OLD, OLDER],
        cpu("Haswell-noTSX"),
        "deny: outside-pool avx avx2 aes",
        id="two of them",
    ),
    pytest.param(
        [OLD], cpu("Haswell-noTSX", "disable avx", "disable avx2"), "allow", id="less what is newer"
    ),
    pytest.param(
        [OLD], mode("host-passthrough"), "deny: outside-pool avx avx2", id="host-passthrough"
    ),
    pytest.param([OLD], mode("host-model"), "deny: outside-pool avx avx2", id="host-model"),
    pytest.param([OLD], "", "allow", id="QEMU's default asks for nothing"),
    pytest.param(
        [OLD],
        cpu("Nehalem", "optional avx2"),
        "deny: outside-pool avx2",
        id="optional, and this host has it",
    ),
    pytest.param(
        [TWIN],
        cpu("Haswell", attributes="check='none'"),
        "warn: silent-downgrade hle rtm",
        id="what QEMU drops here does not count",
    ),
    pytest.param([AMD], cpu("Nehalem"), "deny: outside-pool vendor_Intel", id="vendor"),
    pytest.param(
        [TCG_ONLY], cpu("Nehalem"), "deny: outside-pool kvm_guests_of_x86_64", id="no KVM"
    ),
    pytest.param(
        [called(POWER9, "power")],
        cpu("Nehalem"),
        "deny: outside-pool kvm_guests_of_x86_64",
        id="another architecture",
    ),
    pytest.param(
        [NO_PASSTHROUGH],
        mode("host-passthrough"),
        "deny: outside-pool mode_host-passthrough",
        id="mode",
    ),
    pytest.param([NO_NEHALEM], cpu("Nehalem"), "deny: outside-pool model_Nehalem", id="model"),
    pytest.param([NEW], mode("host-passthrough"), "allow", id="a newer libvirt names more"),
    pytest.param([NEW_MODEL], cpu("Nehalem"), "cannot-tell: unchecked twin", id="or another model"),
    pytest.param(
        [NEW_MODEL, OLD],
        cpu("Haswell-noTSX"),
        "deny: outside-pool avx avx2; unchecked twin",
        id="what is known counts all the same",
    ),
    pytest.param(
        [called(NAMELESS, "nameless")], cpu("Nehalem"), "allow", id="libvirt there tells nothing"
    ),
    pytest.param(
        [called(HASWELL_11, "eleven")],
        mode("host-passthrough"),
        "allow",
        id="a usable model has it",
    ),
]


def words(verdict_told: str) -> str:
    """Take the blanks out of subjects, as the journal does."""
    for phrase in (
        "kvm guests of x86_64",
        "vendor Intel",
        "mode host-passthrough",
        "model Nehalem",
    ):
        verdict_told = verdict_told.replace(phrase, phrase.replace(" ", "_"))
    return verdict_told


@pytest.mark.parametrize(("pool", "asked", "expected"), X86_ROWS)
def test_x86(pool: list[HostSnapshot], asked: str, expected: str) -> None:
    """What the guest would have here, each of them must give."""
    verdict = judged(HASWELL, domain(asked), pool=tuple(pool), arrives=False)

    assert expected == words(told(verdict))


def test_tcg() -> None:
    """Neither vendor nor width of the silicon counts there."""
    xml = domain(cpu("Nehalem"), virt="qemu")
    narrow = wide(AMD, 36)

    assert "allow" == told(judged(wide(HASWELL, 48), xml, pool=(narrow,), arrives=False))


@pytest.mark.parametrize(
    ("operation", "asked", "arrives", "expected"),
    [
        ("prepare", mode("host-passthrough"), False, True),
        ("prepare", mode("host-passthrough"), True, False),
        ("prepare", mode("host-passthrough"), None, False),
        ("migrate", mode("host-passthrough"), True, False),
        ("restore", mode("host-passthrough"), True, False),
        ("prepare", cpu("Haswell-noTSX"), False, True),
        ("prepare", cpu("Haswell-noTSX"), None, True),
        ("migrate", cpu("Haswell-noTSX"), True, False),
        ("prepare", cpu("Haswell-noTSX", attributes="check='full'"), True, False),
    ],
)
def test_only_at_a_start(
    operation: str, asked: str, *, expected: bool, arrives: bool | None
) -> None:
    """What arrives is there already, and refusing it would keep it from leaving another host."""
    verdict = judged(HASWELL, domain(asked), operation=operation, pool=(OLD,), arrives=arrives)

    assert expected is (Code.OUTSIDE_POOL in {f.code for f in verdict.findings})


def test_a_revert_is_no_start() -> None:
    """The guest has what its stamp says."""
    xml = domain(mode("host-passthrough"))

    assert "allow" == told(
        judged(HASWELL, stamped(xml, born(HASWELL, xml)), pool=(OLD,), arrives=False)
    )


@pytest.mark.parametrize(
    ("asked", "bits", "expected"),
    [
        (mode("host-passthrough"), 48, "deny: outside-pool 48 physical address bits"),
        (mode("host-passthrough"), 40, "allow"),
        (cpu("Nehalem"), 48, "allow"),
        (
            cpu("Nehalem").replace("</cpu>", "<maxphysaddr mode='emulate' bits='42'/></cpu>"),
            48,
            "deny: outside-pool 42 physical address bits",
        ),
    ],
)
def test_bits(asked: str, bits: int, expected: str) -> None:
    """Of the host, or fixed."""
    assert expected == told(
        judged(wide(HASWELL, bits), domain(asked), pool=(wide(TWIN, 40),), arrives=False)
    )


POWER_ROWS = [
    (mode("host-passthrough"), "POWER9", "allow"),
    (mode("host-passthrough"), "POWER10", "allow"),
    (mode("host-passthrough"), "POWER8", "deny: outside-pool POWER9"),
    (mode("host-model"), "POWER8", "deny: outside-pool POWER9"),
    (mode("host-model", model="power8"), "POWER8", "allow"),
    (mode("host-model", model="power9"), "POWER8", "deny: outside-pool power9"),
    (cpu("POWER9"), "POWER8", "deny: outside-pool POWER9"),
    (cpu("POWER9"), "POWER9", "allow"),
]


@pytest.mark.parametrize(("asked", "there", "expected"), POWER_ROWS)
def test_power(asked: str, there: str, expected: str) -> None:
    """By generation, and by family for a model: KVM runs no other."""
    pool = (called(power(POWER9, there), "other"),)

    assert expected == told(judged(POWER9, domain(asked, arch="ppc64le"), pool=pool, arrives=False))


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (arm_host(N1), "allow"),
        (arm_host(A72), "deny: outside-pool part 0xd0c variant 3"),
        (arm_host(N1, page_size=65536), "deny: outside-pool 4096"),
        (NEOVERSE, "allow"),
    ],
)
def test_arm(there: HostSnapshot, expected: str) -> None:
    """By cores, pages and features."""
    xml = domain(mode("host-passthrough"), arch="aarch64")
    verdict = judged(arm_host(N1), xml, pool=(called(there, "other"),), arrives=False)

    assert expected == told(verdict)


def test_sentences_name_the_hosts() -> None:
    """Together, where several lack the same."""
    many = tuple(called(OLD, f"old{n}") for n in range(8))
    verdict = judged(HASWELL, domain(cpu("Haswell-noTSX")), pool=(OLDER, OLD), arrives=False)
    crowd = judged(HASWELL, domain(cpu("Haswell-noTSX")), pool=many, arrives=False)

    assert {
        "aes": "aes: not on pool host older",
        "avx": "avx: not on pool hosts older, old",
        "avx2": "avx2: not on pool hosts older, old",
    } == {f.subject: f.sentence for f in verdict.findings}
    assert crowd.findings[0].sentence == "avx: not on pool hosts old0, old1, old2, old3, old4 (+3)"


# -- the files


def test_files(tmp_path: Path) -> None:
    """Each a copy of another host's snapshot.json; in order of name."""
    folder = tmp_path / files.POOL
    assert files.pool_hosts(tmp_path) == ()
    folder.mkdir()
    (folder / "b.json").write_text(snapshot_to_json(OLD))
    (folder / "a.json").write_text(snapshot_to_json(TWIN))
    (folder / "c.json.bak").write_text("")

    assert ["twin", "old"] == [host.hostname for host in files.pool_hosts(tmp_path)]
    config, found = files.read_config(tmp_path)
    assert ["twin", "old"] == [host.hostname for host in config.policy.pool]
    assert found == []  # the pool is not kept with the good configuration


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 2}', json.dumps({"format": 1}), "\udcff"]
)
def test_bad_files(tmp_path: Path, text: str) -> None:
    """One that cannot be read is a mistake in the configuration, and named."""
    folder = tmp_path / files.POOL
    folder.mkdir()
    (folder / "hostb.json").write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(BadConfig, match=r"pool\.d/hostb\.json") as caught:
        files.read_config(tmp_path)

    assert "snapshot.json" in caught.value.hint


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    """It cannot be read."""
    (tmp_path / files.POOL / "hostb.json").mkdir(parents=True)

    with pytest.raises(BadConfig, match=r"hostb\.json: Is a directory"):
        files.pool_hosts(tmp_path)
