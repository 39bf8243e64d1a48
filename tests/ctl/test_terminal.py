"""What a terminal would act on never reaches it: names are other people's."""

from __future__ import annotations

import os
import pty
import re
import sys
from pathlib import Path

import pytest

from guardd import files
from guardd.ctl.terminal import shown
from tests.ctl.guests import OFF, RUNNING, guests_uri
from tests.recordings import DATA, ROOT, recorded_host

# 8-bit CSI and OSC, next line, bidirectional override: all that XML 1.0 lets a name have
NAMES = (
    "&#x9b;31mred",
    "&#x9d;0;title&#x9c;",
    "a&#x85;web1 ok",
    "a&#x2028;b",
    "&#x202e;1bew",
    "a&#13;b",
    "tab&#9;b",
    "[red]x",
    "[link=file:x]x",
)
# what JSON and TOML can have as well
SEQUENCE = "\x1b[2J\x1b]0;title\x07\x1b[8m\x9b1m\n\x00"
STYLE = re.compile(r"\x1b\[[0-9;]*m")
MODEL = "<cpu mode='custom' check='partial'><model>{}</model></cpu>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("\x1b[1;31mred\x1b[0m\x1b[m", "\x1b[1;31mred\x1b[0m\x1b[m"),
        ("\x1b[8mhidden", "\\u001b[8mhidden"),
        ("\x1b[2J\x1b]0;x\x07", "\\u001b[2J\\u001b]0;x\\u0007"),
        (
            "\x9b31m\x85\u202e\u2028\r\x00\x7f",
            "\\u009b31m\\u0085\\u202e\\u2028\\u000d\\u0000\\u007f",
        ),
        ("\udcff\ufeff\U000e0041", "\\udcff\\ufeff\\U000e0041"),
        ("jäger 🐧 中文", "jäger 🐧 中文"),
    ],
)
def test_shown(text: str, expected: str) -> None:
    """Line ends, tabs and colours pass; all else that cannot be seen is seen."""
    assert expected == shown(text)


def on_a_terminal(*words: str | Path) -> str:
    """Run cpu-guardctl on a terminal of its own; give all that this was sent."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.environ.update(TERM="xterm-256color", COLUMNS="200")
        arguments = [sys.executable, "-m", "guardd.ctl", *map(str, words)]
        os.execv(sys.executable, arguments)  # noqa: S606 (the child of a pseudo-terminal)
    sent = b""
    try:
        while part := os.read(terminal, 65536):
            sent += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    os.waitpid(process, 0)
    return sent.decode()


def plain(sent: str) -> str:
    """Take away what a terminal may be sent: colours, and line ends as the terminal makes them."""
    return STYLE.sub("", sent).replace("\r\n", "\n")


def is_harmless(sent: str) -> bool:
    """Whether nothing is left in it that a terminal acts on."""
    return all(line.isprintable() for line in plain(sent).split("\n"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a host of which every word is bad, with bad guests."""
    host = recorded_host("haswell")
    assert host.host_cpu is not None
    hypervisors = [
        each._replace(virt_type="test", emulator=SEQUENCE, machine=SEQUENCE)
        for each in host.hypervisors
    ]
    bad = host._replace(hostname=SEQUENCE, taken=SEQUENCE, libvirt=SEQUENCE, qemu=SEQUENCE)
    files.keep_snapshot(bad._replace(hypervisors=tuple(hypervisors)), tmp_path)
    files.keep_previous(
        bad._replace(hostname="b" + SEQUENCE, fingerprint={SEQUENCE: SEQUENCE}), tmp_path
    )
    guests = {
        name: (MODEL.format(model), state)
        for name, model, state in zip(
            NAMES, ("Haswell", *NAMES), (OFF, RUNNING) * len(NAMES), strict=False
        )
    }
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", guests_uri(tmp_path / "guests.xml", guests))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("guests",),
        ("guests", "--json"),
        ("host",),
        ("host", "--json"),
        ("drift",),
        ("drift", "--json"),
        ("check", "[red]x"),
        ("check", "tab\tb"),
        ("check", "\x9b31mred"),
        ("fix", "\u202e1bew"),
        ("check", "\x1b[2J no such guest"),
        ("report", "--html", "-"),
    ],
    ids=" ".join,
)
def test_no_name_paints_the_terminal(folder: Path, words: tuple[str, ...]) -> None:
    """Of guests, of hosts, of files."""
    common: list[str | Path] = ["--state", folder, "--cpu-map", DATA / "cpu_map"]
    common += ["--config", folder] if words[0] != "host" else []
    sent = on_a_terminal(*words, *common)

    assert "Traceback" not in sent
    assert sent.strip()
    assert is_harmless(sent), ascii(plain(sent))


def test_markup_is_text(folder: Path) -> None:
    """rich writes tables, and would take a name in brackets for colours or a link."""
    sent = on_a_terminal(
        *("guests", "--state", folder, "--config", folder, "--cpu-map", DATA / "cpu_map")
    )

    assert "[red]x" in sent
    assert "[link=file:x]x" in sent
    assert "\\x9b31mred" in sent


def test_a_file_for_a_terminal(folder: Path) -> None:
    """What is printed of a file comes from it: here a <cpu> of somebody's, and a bad mistake."""
    path = folder / "cpu.xml"
    path.write_text("<cpu match='exact'><model>a&#x9b;31m&#x202e;</model></cpu>")
    (folder / "guardd.toml").write_text('"a\\u001b[2J\\nb" = 1\n')
    compared = on_a_terminal(*("compare", path, "--state", folder, "--cpu-map", DATA / "cpu_map"))
    refused = on_a_terminal("guests", "--config", folder, "--state", folder)

    assert is_harmless(compared), ascii(compared)
    assert "Unknown CPU model a\\x9b31m" in compared
    assert is_harmless(refused), ascii(refused)
    assert "unknown key" in refused
