"""Files of the kernel: what is said of those that cannot be read, and lists of CPUs."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from guardd.errors import UnreadableHardware
from guardd.probe.auxv import parse_auxv
from guardd.probe.cpuinfo import number, parse_cpuinfo
from guardd.probe.devices import Hint, parse_cpu_list, read_file, unreadable

PATH = Path("/dev/cpu/0/cpuid")


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.ENOENT, "load it"),
        (errno.ENXIO, "load it"),
        (errno.EACCES, "be root"),
        (errno.EPERM, "be root"),
        (errno.EIO, ""),
        (errno.EMFILE, ""),
    ],
)
def test_hint(code: int, hint: str) -> None:
    """It stands where a device is missing or forbidden, not where it is broken."""
    error = unreadable(PATH, OSError(code, "words of the kernel"), Hint("load it", "be root"))

    assert ("cannot read /dev/cpu/0/cpuid: words of the kernel", hint) == (str(error), error.hint)
    assert error.code == "unreadable-hardware"


def test_limit(tmp_path: Path) -> None:
    """A file that does not end is read up to a limit."""
    assert bytes(1000) == read_file(Path("/dev/zero"), 1000)
    with pytest.raises(UnreadableHardware, match="Is a directory"):
        read_file(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0\n", (0,)), ("0-3\n", (0, 1, 2, 3)), ("0,2-3,8\n", (0, 2, 3, 8))],
)
def test_cpu_list(text: str, expected: tuple[int, ...]) -> None:
    """As the kernel writes it."""
    assert expected == parse_cpu_list(text)


@pytest.mark.parametrize("text", ["", "\n", "a", "3-1", "0-", "-1", "0-99999999999", "0-3:2/4"])
def test_no_cpu_list(text: str) -> None:
    """Nor what would take all memory."""
    with pytest.raises(UnreadableHardware):
        parse_cpu_list(text)


def test_cpuinfo_blocks() -> None:
    """Processors' lines by number; what follows a blank line without one is the machine's."""
    info = parse_cpuinfo(
        "processor\t: 0\ncpu\t\t: POWER9\n\nprocessor : 8\ncpu : POWER9\n\n\nplatform : PowerNV\n"
    )

    assert {0: "POWER9", 8: "POWER9"} == {n: block["cpu"] for n, block in info.processors.items()}
    assert {"platform": "PowerNV"} == info.machine
    assert "POWER9" == info.first["cpu"]


@pytest.mark.parametrize(
    "text",
    ["", "\n\n\n", "processor", "processor : x", "processor : ²", "\0" * 99, ": : :", "x" * 999999],
)
def test_cpuinfo_of_nothing(text: str) -> None:
    """No processor, and no error."""
    assert {} == parse_cpuinfo(text).first


def test_cpuinfo_without_blanks() -> None:
    """A key that comes twice in a block counts once; a new processor needs no blank line."""
    info = parse_cpuinfo("processor:0\nflags: a\nflags: b\nprocessor:1\nflags: c")

    assert ["a", "c"] == [block["flags"] for block in info.processors.values()]


@pytest.mark.parametrize(
    ("text", "expected"), [("0x1000065", 0x1000065), ("25", 25), ("", None), (None, None)]
)
def test_number(text: str | None, expected: int | None) -> None:
    """Decimal or with 0x; anything else is none."""
    assert expected == number(text)


def test_auxv() -> None:
    """Pairs up to AT_NULL; a torn end is left out."""
    words = (6, 4096, 16, 1 << 63, 0, 0, 26, 1)
    data = b"".join(word.to_bytes(8, "little") for word in words)

    assert {6: 4096, 16: 1 << 63} == parse_auxv(data)
    assert {6: 4096} == parse_auxv(data[:31])
    assert {} == parse_auxv(b"")
