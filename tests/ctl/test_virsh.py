"""The answers of virsh itself, by the CPU map installed here; its test driver needs no daemon."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch
from guardd.judge.compatibility import IGNORED_BY_LIBVIRT
from guardd.probe.cpu_map import DIRECTORY, read_cpu_map
from tests.ctl.commands import capabilities, run, write

pytestmark = pytest.mark.skipif(
    shutil.which("virsh") is None or not DIRECTORY.exists(), reason="no libvirt here"
)

SEEDS = range(40)


@pytest.fixture(scope="module")
def installed() -> CPUMap:
    """Read the CPU map that virsh goes by."""
    return read_cpu_map()


def virsh(*words: str | Path) -> tuple[bool, str]:
    """Run virsh with libvirt's test driver; give whether it could, and its words."""
    done = subprocess.run(
        ["virsh", "-q", "-c", "test:///default", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stdout or done.stderr


def ours(*words: str | Path) -> tuple[bool, str]:
    """Run cpu-guardctl, and give the same."""
    done = run(*words)
    return done.status == 0, done.out or done.err


def hosts(cpu_map: CPUMap, seed: int) -> str:
    """Make up some hosts, near each other so that they have something in common."""
    dice = random.Random(seed)  # noqa: S311 (no secret)
    models = cpu.models(cpu_map, Arch.X86_64)
    names = sorted(cpu.features(cpu_map, Arch.X86_64, cpu_def("Icelake-Server")))
    names = [name for name in names if name not in IGNORED_BY_LIBVIRT]
    few = dice.sample(models, dice.randint(1, 3))
    vendor = dice.choice(["", "", "<vendor>Intel</vendor>", "<vendor>AMD</vendor>"])
    return "".join(
        capabilities(
            f"<model>{dice.choice(few)}</model>{vendor}",
            *dice.sample(names, dice.randint(0, len(names))),
        )
        for _ in range(dice.randint(1, 5))
    ).replace("<?xml version='1.0' encoding='UTF-8'?>", "")


def cpu_def(model: str) -> cpu.definition.CPUDef:
    """Give a guest's CPU that is nothing but *model*."""
    return cpu.definition.CPUDef(model=model)


@pytest.mark.parametrize("options", [(), ("--features",)], ids=["", "features"])
@pytest.mark.parametrize("seed", SEEDS)
def test_baseline(tmp_path: Path, installed: CPUMap, seed: int, options: Sequence[str]) -> None:
    """The same bytes, or an error with the same words in it."""
    path = write(tmp_path / "hosts.xml", hosts(installed, seed))
    done, text = virsh("cpu-baseline", *options, path)
    actual = ours("baseline", *options, path)

    if done:
        assert (done, text) == actual
    else:
        assert not actual[0]
        assert text.rpartition(": ")[2].strip() in actual[1]


@pytest.mark.parametrize("arch", ["x86_64", "i686", "ppc64", "ppc64le", "aarch64", "s390x"])
def test_models(arch: str) -> None:
    """The same names in the same order; what takes all models lists none."""
    done, text = virsh("cpu-models", arch)
    found = run("models", arch)

    assert (done, text) == (found.status == 0, found.out)


@pytest.mark.parametrize(
    "cpus",
    [
        ["<arch>ppc64</arch><model>POWER8</model>"] * 2,
        ["<arch>ppc64</arch><model>POWER8</model>", "<arch>ppc64le</arch><model>POWER8</model>"],
        ["<arch>ppc64</arch><model>POWER8</model>", "<arch>ppc64</arch><model>POWER7</model>"],
        ["<arch>ppc64</arch><model>POWER8</model><vendor>VIA</vendor>"],
        ["<arch>ppc64</arch><model>power8</model>"],
        ["<arch>x86_64</arch>"],
        ["<arch>x86_64</arch><model>Penryn</model><feature name='x'/>"],
        ["<arch>x86_64</arch><model>Penryn</model><feature name='x'/><feature name='x'/>"],
        ["<arch>z80</arch><model>Penryn</model>"],
        ["<arch>s390x</arch><model>z13</model>"],
        ["<arch>aarch64</arch><model>cortex-a53</model>", "<arch>aarch64</arch><model>x</model>"],
        [],
    ],
)
def test_other_documents(tmp_path: Path, cpus: list[str]) -> None:
    """Bare host CPUs; an error has libvirt's words, after ours on where."""
    path = write(tmp_path / "cpus.xml", "".join(f"<cpu>{each}</cpu>" for each in cpus))
    done, text = virsh("cpu-baseline", path)
    actual = ours("baseline", path)

    assert done == actual[0]
    words = text if done else re.sub(r"^error: ([a-zA-Z ]+: )?", "", text).strip()
    assert words in actual[1].replace("File '", "").replace(f"{path} does", f"File '{path}' does")


def test_virsh_takes_a_baseline(tmp_path: Path) -> None:
    """A pipe between the two; only a host's CPU is taken by the test driver."""
    path = write(tmp_path / "a.xml", capabilities("Haswell", "vmx"))
    result = run("baseline", "--json", path).json
    back = write(
        tmp_path / "b.xml",
        capabilities(result["model"], *result["features"]).partition("?>")[2],
    )

    assert (True, run("baseline", path).out) == virsh("cpu-baseline", back)
