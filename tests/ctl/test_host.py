"""cpu-guardctl host: what is known, in forms that the other commands take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardd.cpu.definition import TSC, Arch
from guardd.cpu.x86.data import CPUData, Register
from guardd.ctl.hardware import hardware_lines, hardware_to_dict
from guardd.probe.hardware import CoreKind, Hardware, Source
from tests.cpu.definitions import host as host_cpu
from tests.ctl.commands import capabilities, domcaps, keep_snapshot, run

KVM = domcaps("<model fallback='forbid'>Old</model>", "Old", "plain")
TCG = domcaps("<model fallback='forbid'>K</model>", "K", virt_type="qemu")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Keep the snapshot of a host with KVM and TCG."""
    return keep_snapshot(tmp_path / "state", capabilities("Old", "vmx"), KVM, TCG)


def test_table(state: Path) -> None:
    """For people."""
    done = run("host", "--state", state)

    assert "CPU:       Old, vendor unknown\n" in done.out
    assert ["kvm x86_64 pc-1 Old 2 of 2", "qemu x86_64 pc-1 K 1 of 1"] == [
        " ".join(line.split()).removesuffix(" /nowhere/qemu") for line in done.out.splitlines()[-2:]
    ]


def test_xml(state: Path, map_folder: Path) -> None:
    """What another host's compare takes."""
    done = run("host", "--state", state, "--xml")

    assert done.out.startswith("<cpu>\n  <arch>x86_64</arch>\n  <model>Old</model>\n")
    same = run("compare", "--cpu-map", map_folder, "--state", state, "-", stdin=done.out)
    assert "is identical to host CPU" in same.out


def test_hypervisor(state: Path, map_folder: Path) -> None:
    """What baseline takes, with what it is of in a comment."""
    done = run("host", "--state", state, "--hypervisor")
    kvm = run("host", "--state", state, "--hypervisor", "--virttype", "kvm")

    assert ["kvm x86_64 pc-1 /nowhere/qemu", "qemu x86_64 pc-1 /nowhere/qemu"] == [
        line[5:-4] for line in done.out.splitlines() if line.startswith("<!--")
    ]
    assert "<model fallback='forbid'>Old</model>" in kvm.out
    assert "K" not in kvm.out
    words = ("baseline", "--cpu-map", map_folder, "--arch", "x86_64", "-")
    assert run(*words, stdin=kvm.out).out in kvm.out


def test_json(state: Path) -> None:
    """The snapshot as it is kept; of --hypervisor, the CPUs."""
    kept = json.loads((state / "snapshot.json").read_bytes())

    assert kept == run("host", "--state", state, "--json").json
    assert [("kvm", "x86_64"), ("qemu", "x86_64")] == [
        (h["virt_type"], h["arch"])
        for h in run("host", "--state", state, "--hypervisor", "--json").json["hypervisors"]
    ]


def test_nothing_there(tmp_path: Path) -> None:
    """No model, no hypervisor of the type."""
    state = keep_snapshot(tmp_path / "state", capabilities("<!-- -->"))

    assert 3 == run("host", "--state", state, "--xml").status
    assert 3 == run("host", "--state", state, "--hypervisor").status
    assert (0, True) == (
        run("host", "--state", state).status,
        "CPU:       unknown" in run("host", "--state", state).out,
    )


def test_hardware_of_nothing(tmp_path: Path, map_folder: Path) -> None:
    """A folder without /proc: it says what is missing, and does not know."""
    words = ("host", "--hardware", "--cpu-map", map_folder, "--root", tmp_path)

    assert 3 == run(*words).status
    assert run(*words).err.startswith("note: ")
    assert run(*words, "--json").json["notes"]
    assert ("", 3) == (run(*words, "--xml").out, run(*words, "--xml").status)


def test_hardware_of_another_host(tmp_path: Path, map_folder: Path) -> None:
    """A copy of its files, of an architecture that this machine need not have."""
    (tmp_path / "proc").mkdir()
    cpuinfo = (
        "processor\t: 0\ncpu\t\t: POWER9, altivec supported\nrevision\t: 2.2 (pvr 004e 1202)\n"
    )
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo, encoding="ascii")
    words = ("host", "--hardware", "--cpu-map", map_folder, "--root", tmp_path)
    done = run(*words, "--arch", "ppc64le", "--json")

    assert (0, "POWER9", "POWER9_v2.2", "0x004e1202") == (
        done.status,
        done.json["model"],
        done.json["revision"],
        done.json["cpudata"],
    )


def test_hardware_lines() -> None:
    """Only what is known."""
    x86 = Hardware(
        arch=Arch.X86_64,
        cpu=host_cpu("Mid", vendor="Intel"),
        source=Source.CPUID,
        data=CPUData({Register("cpuid", 1, 0, "edx"): 1}),
        microcode=0x42,
        phys_bits=46,
        tsc=TSC(frequency=2000000000, scaling=False),
        cores=(
            CoreKind(cpus=(0, 1), name="core", features=("vmx",)),
            CoreKind(cpus=(2,), name=""),
        ),
    )
    power = Hardware(arch=Arch.PPC64LE, data=0x4E1202, revision="POWER9_v2.2", compat="power8")

    assert [
        "Arch:      x86_64",
        "CPU:       Mid, vendor Intel",
        "Microcode: 0x42",
        "Address:   46 physical bits",
        "TSC:       2000000000 Hz, a guest's is not scaled",
        "Read from: cpuid",
        "Cores:     2 of kind core (CPU 0, 1), they alone have vmx",
        "Cores:     1 (CPU 2)",
    ] == hardware_lines(x86)
    assert [
        "Arch:      ppc64le",
        "CPU:       unknown, vendor unknown",
        "Revision:  POWER9_v2.2",
        "Runs as:   power8",
        "PVR:       0x004e1202",
    ] == hardware_lines(power)
    assert ("0x004e1202", "POWER9_v2.2") == (
        hardware_to_dict(power)["cpudata"],
        hardware_to_dict(power)["revision"],
    )
    assert "<cpudata arch='x86'>" in hardware_to_dict(x86)["cpudata"]
    json.dumps([hardware_to_dict(x86), hardware_to_dict(power)])
