"""Which leaves of CPUID are read, and what a device does that is none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from guardd.cpu.x86.data import Register
from guardd.errors import UnreadableHardware
from guardd.probe.cpuid import MAX_LEAVES, MAX_SUBLEAVES, Leaf, open_cpuid, read_leaves
from tests.probe import recordings
from tests.probe.recordings import Leaves

TOP = 0x80000000


def asked(leaves: Mapping[tuple[int, int], Leaf], leaf: int) -> list[int]:
    """Give the sub-leaves that are kept of *leaf* on a processor with *leaves*; 0xff marks each."""
    highest = {(0, 0): Leaf(max(leaf, 7), 0, 0, 0), (TOP, 0): Leaf(TOP, 0, 0, 0)}
    data = read_leaves(recordings.player({**highest, **leaves}))
    return sorted({r.subleaf for r in data.registers if r.leaf == leaf})


def filled(count: int, leaf: int, value: Leaf) -> Leaves:
    """Give *count* sub-leaves of the same *value*."""
    return {(leaf, subleaf): value for subleaf in range(count)}


MARK = Leaf(0, 0, 0, 0xFF)


@pytest.mark.parametrize(
    ("leaf", "leaves", "expected"),
    [
        pytest.param(4, filled(9, 4, Leaf(0x21, 0, 0, 0)), range(9), id="caches"),
        pytest.param(4, {(4, 0): MARK, (4, 1): MARK}, [0], id="the-terminating-one-is-kept"),
        pytest.param(7, {**filled(9, 7, MARK), (7, 0): Leaf(2, 0, 0, 0)}, range(3), id="counted"),
        pytest.param(0xB, filled(3, 0xB, Leaf(1, 0, 0x100, 0)), range(3), id="topology"),
        pytest.param(0xB, filled(3, 0xB, MARK), [], id="no-topology"),
        pytest.param(
            0xD,
            {**filled(64, 0xD, MARK), (0xD, 0): Leaf(7, 0, 0, 1), (0xD, 1): Leaf(1, 0, 0x100, 0)},
            [0, 1, 2, 8, 32],
            id="states-of-user-and-supervisor",
        ),
        pytest.param(
            0xF, {**filled(32, 0xF, MARK), (0xF, 0): Leaf(0, 0, 0, 2)}, [0, 1], id="monitoring"
        ),
        pytest.param(
            0x10, {**filled(32, 16, MARK), (16, 0): Leaf(0, 12, 0, 0)}, [0, 2, 3], id="allocation"
        ),
        pytest.param(0x12, filled(9, 0x12, Leaf(1, 0, 0, 0)), [], id="no-enclaves"),
        pytest.param(
            0x12,
            {**filled(4, 0x12, Leaf(1, 0, 0, 0)), (7, 0): Leaf(0, 4, 0, 0)},
            range(4),
            id="enclaves",
        ),
        pytest.param(
            0x14, {**filled(9, 0x14, MARK), (0x14, 0): Leaf(1, 0, 0, 0)}, [0, 1], id="trace"
        ),
        pytest.param(
            0x17, {**filled(9, 0x17, MARK), (0x17, 0): Leaf(2, 0, 0, 0)}, [], id="no-vendor"
        ),
        pytest.param(0x17, filled(4, 0x17, Leaf(3, 0, 0, 0)), range(4), id="vendor"),
        pytest.param(0x1A, filled(4, 0x1A, MARK), [0], id="others-have-sub-leaf-0-only"),
    ],
)
def test_subleaves(leaf: int, leaves: Leaves, expected: list[int]) -> None:
    """libvirt's rule for each leaf (spec cpu-x86, 7.1)."""
    assert list(expected) == asked(leaves, leaf)


def test_leaves_beyond_the_highest_are_not_read() -> None:
    """There Intel repeats the highest basic leaf, which would look like features."""
    leaves = {(0, 0): Leaf(1, 0, 0, 0), (TOP, 0): Leaf(TOP + 1, 0, 0, 0)}
    beyond = {(2, 0): MARK, (TOP + 2, 0): MARK}
    last = {(1, 0): MARK, (TOP + 1, 0): MARK}
    data = read_leaves(recordings.player({**leaves, **last, **beyond}))

    assert {0, 1, TOP, TOP + 1} == {register.leaf for register in data.registers}


def test_no_extended_leaves() -> None:
    """A processor without them answers with what is no number of a leaf."""
    data = read_leaves(recordings.player({(0, 0): Leaf(1, 2, 3, 4), (TOP, 0): Leaf(7, 7, 7, 7)}))

    assert {0} == {register.leaf for register in data.registers}


def test_garbage_ends() -> None:
    """Whatever says all ones to each question is read for a while only."""
    count = 0

    def read(_leaf: int, _subleaf: int) -> Leaf:
        nonlocal count
        count += 1
        return Leaf(*[0xFFFFFFFF] * 4)

    data = read_leaves(read)

    assert count < 2 * MAX_LEAVES + 16 * MAX_SUBLEAVES
    assert data.registers[Register("cpuid", 1, 0, "eax")] == 0xFFFFFFFF


def test_recording() -> None:
    """A whole processor: nothing is asked that the recording lacks, every non-zero is kept."""
    leaves = recordings.load("amd-epyc-genoa-guest")
    data = read_leaves(lambda leaf, subleaf: leaves[leaf, subleaf])
    kept = {
        (register.leaf, register.subleaf, register.name): value
        for register, value in data.registers.items()
    }

    # asked for to see whether there is more, and not kept: sub-leaf 2 ends leaf 0xb
    recorded = {
        (leaf, subleaf, name): value
        for (leaf, subleaf), values in leaves.items()
        for name, value in values._asdict().items()
        if value and (leaf != 0xB or values.ecx & 0xFF00)
    }
    assert recorded == kept


def test_missing_device(tmp_path: Path) -> None:
    """The module is not loaded: that is said, and what would help."""
    path = tmp_path / "cpuid"
    with pytest.raises(UnreadableHardware, match="No such file or directory") as raised:
        open_cpuid(path).__enter__()

    assert f"cannot read {path}: No such file or directory" == str(raised.value)
    assert "load the kernel's module: modprobe cpuid" == raised.value.hint


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [("short", "3 bytes for leaf 0"), ("folder", "Is a directory"), ("pipe", "Illegal seek")],
)
def test_no_device(tmp_path: Path, kind: str, complaint: str) -> None:
    """Something else under the device's name: an error, and nobody waits for a pipe's writer."""
    path = tmp_path / "cpuid"
    match kind:
        case "short":
            path.write_bytes(b"abc")
        case "folder":
            path.mkdir()
        case _:
            os.mkfifo(path)
    with pytest.raises(UnreadableHardware, match=complaint), open_cpuid(path) as read:
        read_leaves(read)
