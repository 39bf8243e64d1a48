"""cpu-guardctl baseline: which CPU several hosts have in common, and whose fault it is if none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from guardd.cpu.definition import Arch
from guardd.cpu.families import ARM, LOONGARCH64, PPC64, RISCV64, S390, X86
from tests.cpu.maps import X86_FEATURES
from tests.ctl.commands import Done, capabilities, domain, domcaps, run, write, write_map

Baseline = Callable[..., Done]


@pytest.fixture
def baseline(tmp_path: Path, map_folder: Path) -> Baseline:
    """Give a function that writes texts to files 1.xml, 2.xml, ... and runs the command on them."""

    def of(*texts: str, options: tuple[str, ...] = ()) -> Done:
        paths = [write(tmp_path / f"{n}.xml", text) for n, text in enumerate(texts, 1)]
        done = run("baseline", "--cpu-map", map_folder, *options, *paths)
        return Done(done.status, done.out, done.err.replace(f"{tmp_path}/", ""))

    return of


def test_as_virsh(baseline: Baseline) -> None:
    """The text that virsh cpu-baseline prints, to the last byte."""
    done = baseline(capabilities("Mid", "vmx", "svm"), capabilities("Mid", "svm"))

    assert (
        """\
<cpu mode='custom' match='exact'>
  <model fallback='forbid'>Mid</model>
  <feature policy='require' name='svm'/>
</cpu>
""",
        "",
        0,
    ) == (done.out, done.err, done.status)


HOST_MODEL = "<model fallback='forbid'>Old</model><feature policy='require' name='sse2'/>"

KINDS = [
    pytest.param("<cpu><model>Old</model></cpu>", id="cpu of a guest"),
    pytest.param("<cpu><arch>x86_64</arch><model>Old</model></cpu>", id="cpu of a host"),
    pytest.param(domain("<cpu><model>Old</model></cpu>"), id="domain"),
    pytest.param(capabilities("Old"), id="capabilities"),
    pytest.param(domcaps(HOST_MODEL), id="domainCapabilities"),
    pytest.param("<!-- a comment --><other/>" + capabilities("Old") + "<other/>", id="in between"),
    pytest.param(capabilities("Old") * 3, id="several, each with its declaration"),
]


@pytest.mark.parametrize("one", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_mixed(baseline: Baseline, one: str, other: str) -> None:
    """Whatever virsh takes in either of its baselines, in any mixture; 'Old' is in all of them."""
    done = baseline(one, other)

    assert 0 == done.status
    assert "<model fallback='forbid'>Old</model>" in done.out
    assert ("sse2" in done.out) == (one == other == domcaps(HOST_MODEL))


def test_standard_input(tmp_path: Path, map_folder: Path) -> None:
    """Beside files, and for what a pipe brings."""
    path = write(tmp_path / "a.xml", capabilities("New"))
    done = run("baseline", "--cpu-map", map_folder, path, "-", stdin=capabilities("Mid"))

    assert "<model fallback='allow'>Mid</model>" in done.out


def test_a_thousand_hosts(baseline: Baseline) -> None:
    """libvirt's connection takes 256."""
    done = baseline(capabilities("New", "vmx") * 500, capabilities("Mid", "vmx") * 500)

    assert "<model fallback='allow'>Mid</model>" in done.out
    assert 0 == done.status


def test_output_is_input(baseline: Baseline, map_folder: Path) -> None:
    """A baseline of baselines: sites that know each other by their results."""
    one = baseline(capabilities("New", "svm"), capabilities("Mid", "svm"))
    done = run("baseline", "--cpu-map", map_folder, "--arch", "x86_64", "-", stdin=one.out * 2)

    assert one.out.replace("allow", "forbid") == done.out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["svm", "invtsc"]),
        (("--migratable",), ["svm"]),
        (("--features", "--migratable"), ["fpu", "mmx", "sse", "svm", "tsc"]),
    ],
)
def test_features(baseline: Baseline, options: tuple[str, ...], expected: list[str]) -> None:
    """Options with the meaning that they have in virsh."""
    done = baseline(capabilities("Old", "svm", "invtsc"), options=("--json", *options))

    assert dict.fromkeys(expected, "require") == done.json["features"]
    assert expected == list(done.json["features"])


def test_what_qemu_ignores(tmp_path: Path) -> None:
    """libvirt's QEMU driver takes such features off, on x86."""
    more = "<feature name='osxsave'><cpuid eax_in='1' ecx='0x08000000'/></feature></cpus>"
    spoiled = {"x86_features.xml": X86_FEATURES.replace("</cpus>", more)}
    folder = write_map(tmp_path / "map", spoiled)
    path = write(tmp_path / "a.xml", capabilities("Old", "osxsave", "svm"))
    done = run("baseline", "--cpu-map", folder, "--json", path)

    assert {"svm": "require"} == done.json["features"]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (None, "<model fallback='forbid'>New</model>"),
        ("Old,K", "<model fallback='forbid'>Old</model>"),
        ("@", "<model fallback='forbid'>Mid</model>"),
    ],
)
def test_models(baseline: Baseline, tmp_path: Path, models: str | None, expected: str) -> None:
    """Only what the hypervisor offers, named or in its domain capabilities."""
    if models == "@":
        models = f"@{write(tmp_path / 'dc.xml', domcaps(HOST_MODEL, 'plain', 'Old', 'Mid'))}"
    done = baseline(capabilities("New"), options=() if models is None else ("--models", models))

    assert expected in done.out


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("<blockers model='Mid'><feature name='avx2'/></blockers>", ["avx2"]),
        # libvirt 9.0.0 does not tell: what the host-model lacks
        ("", ["avx2", "hle", "rtm"]),
    ],
)
def test_blockers(baseline: Baseline, tmp_path: Path, told: str, expected: list[str]) -> None:
    """What QEMU cannot give of a model is not taken for given."""
    custom = "<mode name='custom' supported='yes'>"
    blocked = f"{custom}<model usable='no'>Mid</model>{told}"
    path = write(tmp_path / "dc.xml", domcaps(HOST_MODEL).replace(custom, blocked))
    done = baseline(capabilities("Mid"), options=("--models", f"@{path}", "--json"))

    assert ("Mid", expected) == (done.json["model"], sorted(done.json["features"]))


@pytest.mark.parametrize(("limits", "expected"), [((46, 39), 39), ((46, None), None)])
def test_address_width(
    baseline: Baseline, limits: tuple[int | None, ...], expected: int | None
) -> None:
    """libvirt 11.3.0: the narrowest, where all domain capabilities tell."""
    texts = []
    for limit in limits:
        bits = "" if limit is None else f"<maxphysaddr mode='passthrough' limit='{limit}'/>"
        texts.append(domcaps(HOST_MODEL + bits))
    done = baseline(*texts)
    line = f"  <maxphysaddr mode='passthrough' limit='{expected}'/>\n"

    assert (expected is not None) == (line in done.out)
    assert (expected is not None) == ("maxphysaddr" in done.out)


@pytest.mark.parametrize(
    ("texts", "status", "expected"),
    [
        pytest.param(
            ["<cpu><model>Old</model></cpu>\n<cpu><model>Nex</model></cpu>"],
            3,
            "1.xml:2: Unknown CPU model Nex\nhint: if its libvirt is newer: run this there",
            id="unknown model",
        ),
        pytest.param(
            [capabilities("Old"), capabilities("Old", "sse9")],
            3,
            "2.xml:4: Unknown CPU feature sse9",
            id="unknown feature",
        ),
        pytest.param(
            [capabilities("Old"), "<cpu mode='host-model'/>"],
            3,
            "2.xml:1: no CPU model specified",
            id="no model",
        ),
        pytest.param(
            [capabilities("<vendor>Intel</vendor>")],
            3,
            "1.xml:4: Missing CPU model name",
            id="a host without a model",
        ),
        pytest.param(
            [capabilities("Old"), capabilities("<model>Old</model><vendor>AMD</vendor>")],
            1,
            "2.xml:4: CPU vendor Intel of model Old differs from vendor AMD",
            id="vendor of a model",
        ),
        pytest.param(
            [capabilities("<model>Old</model><vendor>VIA</vendor>"), capabilities("Old")],
            3,
            "1.xml:4: Unknown CPU vendor VIA",
            id="unknown vendor",
        ),
        pytest.param(
            [
                capabilities("<model>Old</model><vendor>Intel</vendor>") * 5,
                capabilities("<model>Mid</model><vendor>Intel</vendor>") * 5
                + capabilities("<model>K</model><vendor>AMD</vendor>"),
                capabilities("plain"),
            ],
            1,
            "2.xml:64: CPU vendors do not match (K, before it Old and 1 more)",
            id="vendors",
        ),
        pytest.param(
            [
                capabilities("POWER8", arch="ppc64le"),
                capabilities("POWER8", arch="ppc64") + capabilities("POWER7", arch="ppc64"),
            ],
            1,
            "2.xml:16: CPUs are incompatible (POWER7, before it POWER8)\n"
            "hint: all of them have compatibility mode power7, see --compat",
            id="PowerPC",
        ),
        pytest.param(
            [capabilities("POWER10", arch="ppc64le"), capabilities("POWER7", arch="ppc64")],
            1,
            "2.xml:4: CPUs are incompatible (POWER7, before it POWER10)",
            id="PowerPC too far apart",
        ),
        pytest.param(
            [
                "<cpu><model>Old</model></cpu>",
                capabilities("Old"),
                capabilities("POWER8", arch="ppc64le"),
            ],
            1,
            "3.xml:4: CPU arch ppc64le does not match x86_64 of 2.xml:4",
            id="architectures",
        ),
        pytest.param([""], 3, "1.xml does not contain any <cpu> element", id="empty"),
        pytest.param([capabilities("Old"), domain("")], 3, "2.xml does not contain", id="no CPU"),
        pytest.param([capabilities("Old"), "<cpu>"], 3, "2.xml is not well-formed XML", id="XML"),
        pytest.param(
            ["<cpu><arch>z80</arch><model>Old</model></cpu>"],
            3,
            "1.xml:1: Unknown architecture z80",
            id="unknown architecture",
        ),
        pytest.param(
            [capabilities("z14", arch="s390x")],
            3,
            "cannot compute baseline CPU of s390x architecture",
            id="an architecture without baselines",
        ),
        pytest.param(
            ["<!DOCTYPE cpu><cpu><model>Old</model></cpu>"],
            3,
            "1.xml is not well-formed XML",
            id="DTD",
        ),
    ],
)
def test_errors(baseline: Baseline, texts: list[str], status: int, expected: str) -> None:
    """libvirt's words, and which CPU in which file they are about."""
    is_told = any("<arch>" in text for text in texts)
    done = baseline(*texts, options=() if is_told else ("--arch", "x86_64"))

    assert ("", status) == (done.out, done.status)
    assert done.err.startswith(f"error: {expected}")


def test_not_utf_8(tmp_path: Path, map_folder: Path) -> None:
    """libvirt's XML is."""
    path = tmp_path / "a.xml"
    path.write_bytes("<cpu><model>Älter</model></cpu>".encode("latin-1"))
    done = run("baseline", "--cpu-map", map_folder, path)

    assert (3, f"error: {path} is not UTF-8\n") == (done.status, done.err)


@pytest.mark.parametrize(
    "words", [(), ("missing.xml",), (".",), ("--arch", "z80", "-"), ("--models", "Nex", "-")]
)
def test_usage(words: tuple[str, ...], map_folder: Path) -> None:
    """What is wrong with the command line, not with a file."""
    done = run("baseline", "--cpu-map", map_folder, *words, stdin=capabilities("Old"))

    assert (2, "") == (done.status, done.out)


def test_unreadable_models(tmp_path: Path, map_folder: Path) -> None:
    """The file behind --models is named as well."""
    path = write(tmp_path / "a.xml", capabilities("Old"))
    options = ("baseline", "--cpu-map", map_folder, "--models")

    assert 2 == run(*options, f"@{tmp_path}/missing.xml", path).status
    assert f"error: {path}: root element is 'capabilities'" in run(*options, f"@{path}", path).err


@pytest.mark.parametrize(
    ("spoiled", "expected"),
    [
        ({"x86_models.xml": "<cpus>"}, "CPU map 'x86_models.xml' is not well-formed"),
        ({"index.xml": "<cpus/>"}, "cannot find CPU map for x86 architecture in index.xml"),
    ],
)
def test_broken_map(tmp_path: Path, spoiled: dict[str, str], expected: str) -> None:
    """It is the map's file that is named, not that of a CPU."""
    folder = write_map(tmp_path / "map", spoiled)
    path = write(tmp_path / "a.xml", capabilities("Old"))
    done = run("baseline", "--cpu-map", folder, path)

    assert 3 == done.status
    assert done.err.startswith(f"error: {expected}")


def test_no_map(tmp_path: Path) -> None:
    """As where libvirt is not installed."""
    path = write(tmp_path / "a.xml", capabilities("Old"))
    done = run("baseline", "--cpu-map", tmp_path / "none", path)

    assert (3, True) == (done.status, "cannot read CPU map 'index.xml'" in done.err)


def test_compat(baseline: Baseline) -> None:
    """PowerPC: the newest mode that all hosts have, where libvirt sees no baseline."""
    texts = [capabilities("POWER8", arch="ppc64le"), capabilities("POWER9", arch="ppc64le")]
    done = baseline(*texts, options=("--compat",))

    assert (
        """\
<cpu mode='host-model'>
  <model fallback='allow'>power8</model>
</cpu>
""",
        0,
    ) == (done.out, done.status)


def test_compat_elsewhere(baseline: Baseline) -> None:
    """No other architecture has such modes."""
    done = baseline(capabilities("Old"), options=("--compat",))

    assert (2, True) == (done.status, "x86_64 has no compatibility modes" in done.err)


def test_pvr(baseline: Baseline) -> None:
    """Two revisions of one family."""
    texts = [capabilities(name, arch="ppc64") for name in ("POWER9_v2.0", "POWER9_v2.2")]
    same = baseline(texts[1], texts[1], options=("--pvr", "exact", "--json"))

    assert ("POWER9_v2.2", "IBM") == (same.json["model"], same.json["vendor"])
    assert 1 == baseline(*texts, options=("--pvr", "exact")).status
    assert "1.xml:4: Unknown CPU model POWER9_v2.0" in baseline(*texts).err


def test_arm_is_blind(baseline: Baseline) -> None:
    """libvirt's own answer, and that it is one to distrust."""
    texts = [capabilities(name, arch="aarch64") for name in ("cortex-a72", "Neoverse-N1")]
    done = baseline(*texts)

    assert "<model fallback='allow'>cortex-a72</model>" in done.out
    assert done.err.startswith("note: libvirt looks at 1.xml:4 only on aarch64")
    assert "" == baseline(texts[0], texts[0]).err


@pytest.mark.parametrize("arch", sorted(X86 | PPC64 | ARM | S390 | RISCV64 | LOONGARCH64))
def test_every_architecture(baseline: Baseline, arch: Arch) -> None:
    """A result or an error, no bug."""
    done = baseline(f"<cpu><arch>{arch}</arch><model>POWER8</model></cpu>")

    assert (done.status == 0) == bool(done.out)
    assert (done.status != 0) == done.err.startswith("error: ")
