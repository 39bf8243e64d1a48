"""cpu-guardctl decode, and models: what is in CPU data, and in the CPU map."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardd import cpu
from guardd.cpu import x86
from guardd.cpu.definition import Arch
from tests.cpu.definitions import host
from tests.cpu.maps import MAP
from tests.ctl.commands import domcaps, run, write, write_map


def cpudata(model: str, features: str = "", vendor: str | None = None) -> str:
    """Give the CPU data of a host as libvirt writes it."""
    encoded = cpu.encode(MAP, Arch.X86_64, host(model, features, vendor=vendor))
    both = {**encoded.require.registers, **encoded.vendor.registers}
    return cpu.format_cpu_data(Arch.X86_64, x86.data.CPUData(both))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            (),
            """\
<cpu>
  <arch>x86_64</arch>
  <model>Mid</model>
  <vendor>Intel</vendor>
  <feature name='svm'/>
</cpu>
""",
        ),
        (
            ("--guest",),
            """\
<cpu mode='custom' match='exact'>
  <model fallback='forbid'>Mid</model>
  <vendor>Intel</vendor>
  <feature policy='require' name='svm'/>
</cpu>
""",
        ),
        (
            ("--guest", "--models", "plain"),
            """\
<cpu mode='custom' match='exact'>
  <model fallback='forbid'>plain</model>
  <vendor>Intel</vendor>
  <feature policy='require' name='sse'/>
  <feature policy='require' name='sse2'/>
  <feature policy='require' name='hle'/>
  <feature policy='require' name='avx2'/>
  <feature policy='require' name='rtm'/>
  <feature policy='require' name='svm'/>
</cpu>
""",
        ),
    ],
)
def test_x86(tmp_path: Path, map_folder: Path, options: tuple[str, ...], expected: str) -> None:
    """A host's CPU as capabilities have it, a guest's as domain capabilities do."""
    path = write(tmp_path / "data.xml", cpudata("Mid", "svm", "Intel"))
    done = run("decode", "--cpu-map", map_folder, *options, path)

    assert (expected, "", 0) == (done.out, done.err, done.status)


def test_models_of_a_hypervisor(tmp_path: Path, map_folder: Path) -> None:
    """The same in the words of one QEMU."""
    offered = write(tmp_path / "dc.xml", domcaps("<model>Old</model>", "Old", "plain"))
    words = ("decode", "--cpu-map", map_folder, "--guest", "--json", "--models", f"@{offered}", "-")

    assert "Old" == run(*words, stdin=cpudata("Mid")).json["model"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("0x003f0203",), "<cpu>\n  <arch>ppc64</arch>\n  <model>POWER7</model>\n"),
        (("0x003F0203", "--pvr", "exact"), "<model>POWER7_v2.3</model>"),
        (("0x4e1202", "--pvr", "exact", "--guest"), "<model fallback='forbid'>POWER9_v2.2</model>"),
    ],
)
def test_pvr(map_folder: Path, words: tuple[str, ...], expected: str) -> None:
    """A PowerPC processor by its version register."""
    done = run("decode", "--cpu-map", map_folder, *words)

    assert expected in done.out
    assert 0 == done.status


def test_decoded_host_is_a_host(tmp_path: Path, map_folder: Path) -> None:
    """What --pvr exact wrote, compare --pvr exact takes for the host's CPU."""
    host_file, cpu_file = tmp_path / "host.xml", tmp_path / "cpu.xml"
    exact = ("--cpu-map", map_folder, "--pvr", "exact")
    write(host_file, run("decode", *exact, "0x003f0203").out)
    write(cpu_file, "<cpu><model>POWER7_v2.1</model></cpu>")

    assert 1 == run("compare", *exact, "--host", host_file, cpu_file).status


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("<cpudata arch='x86'/>", "standard input: no x86 CPU data found"),
        ("<cpudata/>", "standard input: missing CPU data architecture"),
        ("<cpudata arch='z80'/>", "standard input: CPU driver 'z80' does not exist"),
        ("<cpudata arch='arm'/>", "standard input: cannot parse arm CPU data"),
        ("<cpudata arch='x86'><cpuid/></cpudata>", "standard input: Invalid cpuid[0]"),
        ("", "standard input: CPU data is not well-formed XML"),
        (
            "<cpudata arch='x86'><cpuid eax_in='1' edx='1'/></cpudata>",
            "standard input: Cannot find suitable CPU model for given data",
        ),
    ],
)
def test_errors(map_folder: Path, data: str, expected: str) -> None:
    """libvirt's words, and where."""
    done = run("decode", "--cpu-map", map_folder, "-", stdin=data)

    assert ("", 3) == (done.out, done.status)
    assert done.err.startswith(f"error: {expected}")


def test_unknown_pvr(map_folder: Path) -> None:
    """A processor newer than the map, or a logical PVR."""
    done = run("decode", "--cpu-map", map_folder, "0x0f000006")

    assert (3, "error: Cannot find CPU model with PVR 0x0f000006\n") == (done.status, done.err)


@pytest.mark.parametrize("word", ["0x123456789", "0x", "missing.xml", "."])
def test_usage(map_folder: Path, word: str) -> None:
    """Neither a PVR nor a file."""
    assert 2 == run("decode", "--cpu-map", map_folder, word).status


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("x86_64", ["plain", "hidden", "Old", "Mid", "Mid-noTSX", "New", "New-v1", "K"]),
        ("ppc64le", ["POWER7", "POWER8", "POWER9", "POWER10", "POWERPC_e5500", "nobody"]),
        ("s390x", []),
    ],
)
def test_models(map_folder: Path, arch: str, expected: list[str]) -> None:
    """In map order, one a line; without a map of its own an architecture takes all."""
    done = run("models", "--cpu-map", map_folder, arch)

    assert ("".join(f"{name}\n" for name in expected), 0) == (done.out, done.status)
    assert ("" if expected else "all CPU models are accepted\n") == done.err
    assert expected == run("models", "--cpu-map", map_folder, "--json", arch).json["models"]


def test_models_errors(tmp_path: Path) -> None:
    """An unknown architecture is a mistake of the command line, a broken map is none."""
    folder = write_map(tmp_path / "map", {"ppc64.xml": "<cpus><model/></cpus>"})
    broken = run("models", "--cpu-map", folder, "ppc64")

    assert 2 == run("models", "z80").status
    assert "error: cannot find model name in CPU map 'ppc64.xml'\n" == broken.err
    assert (3, 0) == (broken.status, run("models", "--cpu-map", folder, "x86_64").status)
