"""cpu-guardctl compare: virsh's answer, the reason, and an exit status for scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ctl.commands import capabilities, domain, domcaps, keep_snapshot, run, write

HOST_MODEL = "<model fallback='forbid'>Old</model><feature policy='require' name='sse2'/>"

INCOMPATIBLE = "CPU described in {} is incompatible with host CPU\n"


@pytest.mark.parametrize(
    ("host", "asked", "status", "expected"),
    [
        (
            capabilities("Old"),
            capabilities("Old"),
            0,
            "CPU described in {} is identical to host CPU",
        ),
        (
            capabilities("Mid"),
            domain("<cpu><model>Old</model></cpu>"),
            0,
            "Host CPU is a superset of CPU described in {}",
        ),
        (
            capabilities("Old"),
            "<cpu><model>Mid</model></cpu>",
            1,
            INCOMPATIBLE + "missing-feature: sse2, hle, avx2, rtm",
        ),
        (
            domcaps(HOST_MODEL),
            "<cpu><model>Old</model><feature policy='forbid' name='sse2'/></cpu>",
            1,
            INCOMPATIBLE + "forbidden-feature: sse2",
        ),
        (
            capabilities("Old"),
            capabilities("POWER8", arch="ppc64"),
            1,
            INCOMPATIBLE + "arch-mismatch: ppc64",
        ),
        (
            capabilities("z14", arch="s390x"),
            "<cpu><model>z13</model></cpu>",
            3,
            "CPU described in {} is not compared on this architecture, QEMU decides at start",
        ),
    ],
)
def test_sentences(
    tmp_path: Path, map_folder: Path, host: str, asked: str, status: int, expected: str
) -> None:
    """virsh's words, then the difference by name."""
    paths = write(tmp_path / "host.xml", host), write(tmp_path / "cpu.xml", asked)
    done = run("compare", "--cpu-map", map_folder, "--host", *paths)

    assert (expected.format(paths[1]) + "\n", "", status) == (done.out, done.err, done.status)


def test_this_host(tmp_path: Path, map_folder: Path) -> None:
    """By the kept snapshot, without libvirt."""
    state = keep_snapshot(tmp_path / "state", capabilities("Mid", "svm"))
    words = ("compare", "--cpu-map", map_folder, "--state", state, "-")

    assert 0 == run(*words, stdin="<cpu><model>Mid</model></cpu>").status
    assert {
        "result": "incompatible",
        "difference": "missing-feature",
        "subjects": ["vmx"],
    } == run(*words, "--json", stdin=capabilities("Mid", "vmx")).json


def test_the_first_counts(tmp_path: Path, map_folder: Path) -> None:
    """As for virsh cpu-compare."""
    paths = [
        write(tmp_path / f"{n}.xml", capabilities(name) + capabilities("New"))
        for n, name in enumerate(("Old", "Mid"))
    ]

    assert 1 == run("compare", "--cpu-map", map_folder, "--host", *paths).status


@pytest.mark.parametrize(
    ("host", "asked", "expected"),
    [
        ("Old", "<cpu><model>Oldest</model></cpu>", "standard input:1: Unknown CPU model Oldest"),
        ("Older", "<cpu><model>Old</model></cpu>", "{host}:4: Unknown CPU model Older"),
        ("Old", "", "standard input does not contain any <cpu> element"),
    ],
)
def test_errors(tmp_path: Path, map_folder: Path, host: str, asked: str, expected: str) -> None:
    """Which of the two it is about."""
    path = write(tmp_path / "host.xml", capabilities(host))
    done = run("compare", "--cpu-map", map_folder, "--host", path, "-", stdin=asked)

    assert ("", 3) == (done.out, done.status)
    assert done.err.startswith("error: " + expected.format(host=path))


COMPAT = "<cpu mode='host-model'><model>power6</model></cpu>"


@pytest.mark.parametrize(
    ("host", "asked", "family", "exact"),
    [
        ("POWER8", "POWER8", 0, 0),
        # a revision in the file of the host is one that libvirt does not know
        ("POWER9_v2.2", "POWER9_v2.2", 3, 0),
        ("POWER9_v2.2", "POWER9_v2.0", 3, 1),
        ("POWER9_v2.2", "POWER9", 3, 0),
        # libvirt takes the old names for their family
        ("POWER7", "POWER7_v2.3", 0, 1),
        # the file of a host that tells no more than its family
        ("POWER8", "POWER8_v1.0", 0, 3),
        ("POWER10", COMPAT, 0, 1),
        ("POWER8", COMPAT, 0, 0),
    ],
)
def test_pvr(
    tmp_path: Path, map_folder: Path, host: str, asked: str, family: int, exact: int
) -> None:
    """Exit statuses by family, as libvirt, and by exact PVR."""
    cpu = asked if "<" in asked else f"<cpu><model>{asked}</model></cpu>"
    paths = (
        write(tmp_path / "host.xml", capabilities(host, arch="ppc64le")),
        write(tmp_path / "cpu.xml", cpu),
    )
    words = ("compare", "--cpu-map", map_folder, "--host", *paths, "--pvr")

    assert (family, exact) == (run(*words, "family").status, run(*words, "exact").status)


def test_pvr_unknown(tmp_path: Path, map_folder: Path) -> None:
    """The sentence for a host of which only the family is known."""
    path = write(tmp_path / "host.xml", capabilities("POWER8", arch="ppc64"))
    words = ("compare", "--cpu-map", map_folder, "--pvr", "exact", "--host", path, "-")
    done = run(*words, stdin="<cpu><model>POWER8_v2.0</model></cpu>")

    assert (
        "CPU described in standard input is of the host CPU's family, the host's own PVR is not"
        " known\n"
    ) == done.out


def test_no_host_cpu(tmp_path: Path, map_folder: Path) -> None:
    """A host whose model libvirt could not name."""
    state = keep_snapshot(tmp_path / "state", capabilities("<!-- unknown -->"))
    done = run(
        *("compare", "--cpu-map", map_folder, "--state", state, "-"),
        stdin="<cpu><model>Old</model></cpu>",
    )

    assert (3, "error: libvirt could not name this host's CPU\n") == (done.status, done.err)
