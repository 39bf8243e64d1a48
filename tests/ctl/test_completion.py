"""TAB in real shells: the command gets the guest's name as it is, whatever is in it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from guardd.ctl.completion import Line, quoted, read_line

ROOT = Path(__file__).resolve().parents[2]
COMPLETIONS = ROOT / "completions"
BREAKS = " \t\n\"'@><=;|&(:"  # bash's own COMP_WORDBREAKS
SECONDS = 30
PROMPT = "READY>"

GUESTS = (
    "alpha",
    "b c d",
    "it's mine",
    'quo"te',
    "co:lon=x",
    "dol$HOME",
    "ex!cl",
    "glob*",
    "hash #tag",
    "jäger",
    "kilo\\back",
    "lima,comma",
    "new(paren)",
    "or;reboot",
    "pipe|x&y",
    "sub`id`",
    "under~{a,b}",
    "two-1",
    "two-2",
)
NODE = "<node>{}</node>"
DOMAIN = """<domain type='test'><name>{}</name><memory>8192</memory>
<os><type>hvm</type></os></domain>"""
PROGRAM = """#!/bin/sh
[ -z "$_CPU_GUARDCTL_COMPLETE" ] || exec {real} "$@"
exec {python} -I -c 'import json, sys; print("<<" + json.dumps(sys.argv[1:]) + ">>")' "$@"
"""
REAL = """#!{python}
import sys
sys.path.insert(0, {root!r})
sys.argv[0] = "cpu-guardctl"
from guardd.ctl.main import main
main()
"""


def needs(program: str) -> pytest.MarkDecorator:
    """Skip a test where *program* is not installed; under GUARDD_CI=1 none is skipped."""
    lacks = shutil.which(program) is None and os.environ.get("GUARDD_CI") != "1"
    return pytest.mark.skipif(lacks, reason=f"{program} is not installed")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Give an environment with the program, and a libvirt that has the guests."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "here").mkdir()
    (folder / "here/globular").touch()  # what a name with a pattern in it would match
    node = folder / "node.xml"
    node.write_text(NODE.format("".join(DOMAIN.format(escape(name)) for name in GUESTS)))
    for name, text in (
        ("real", REAL.format(python=sys.executable, root=str(ROOT))),
        ("cpu-guardctl", PROGRAM.format(real=folder / "bin/real", python=sys.executable)),
    ):
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder / "here"),
        "LIBVIRT_DEFAULT_URI": f"test://{node}",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
    }


@dataclass(slots=True)
class Shell:
    """An interactive shell on a terminal of its own."""

    pid: int
    terminal: int
    seen: str = ""

    def until(self, pattern: str) -> re.Match[str]:
        """Read until *pattern* is there, and take it and all before it away."""
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.terminal], [], [], deadline - time.monotonic())
            assert ready, f"no {pattern} in {self.seen!r}"
            self.seen += os.read(self.terminal, 65536).decode("utf-8", "replace")
        self.seen = self.seen[found.end() :]
        return found

    def type(self, keys: str) -> list[str]:
        """Type *keys* and Enter; give the arguments that the program was started with."""
        os.write(self.terminal, f"{keys}\r".encode())
        arguments: list[str] = json.loads(self.until(r"<<(\[.*?\])>>\r?\n")[1])
        self.until(PROMPT)
        return arguments


def start(command: list[str], setup: str, environment: Mapping[str, str]) -> Iterator[Shell]:
    """Run a shell on a terminal, wide enough that no line wraps; *setup* ends with its prompt."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(environment["HOME"])
        os.execvpe(command[0], command, dict(environment))  # noqa: S606 (it is the shell)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 1000, 0, 0))
    shell = Shell(pid, terminal)
    os.write(terminal, setup.encode())
    shell.until(rf"{PROMPT}\s*$")
    yield shell
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)


@pytest.fixture(scope="module")
def bash(environment: Mapping[str, str]) -> Iterator[Shell]:
    """Run bash, with the completion as it is installed."""
    script = shlex.quote(str(COMPLETIONS / "cpu-guardctl.bash"))
    setup = f"set +H; bind 'set bell-style none'; . {script}; PS1=READY''\\>\r"
    yield from start(["bash", "--norc", "--noprofile", "-i"], setup, environment)


@pytest.fixture(scope="module")
def zsh(environment: Mapping[str, str]) -> Iterator[Shell]:
    """Run zsh, with the completion on its path of functions."""
    folder = shlex.quote(str(COMPLETIONS))
    setup = (
        f"unsetopt beep zle_bracketed_paste promptsp 2>/dev/null; unset zle_bracketed_paste; "
        f"fpath=({folder} $fpath); autoload -U compinit; compinit -u -D; PS1=READY''\\>\r"
    )
    yield from start(["zsh", "-f", "-i"], setup, environment)


# what is typed before TAB, and the guest that is meant
TYPED = [
    *((name[0], name) for name in GUESTS[:-2]),
    ("b\\ c", "b c d"),
    ("'b ", "b c d"),
    ('"b ', "b c d"),
    ('"it', "it's mine"),
    ("'qu", 'quo"te'),
    ('"dol', "dol$HOME"),
    ('"sub', "sub`id`"),
    ("'glob", "glob*"),
    ("co:l", "co:lon=x"),
    ("co:lon=", "co:lon=x"),
    ("jä", "jäger"),
    ("two-1", "two-1"),
]


@pytest.mark.parametrize(("typed", "guest"), TYPED)
@needs("bash")
def test_bash(bash: Shell, typed: str, guest: str) -> None:
    """A name that is complete is followed by a blank."""
    assert ["check", guest, "x"] == bash.type(f"cpu-guardctl check {typed}\tx")


@pytest.mark.parametrize(("typed", "guest"), TYPED)
@needs("zsh")
def test_zsh(zsh: Shell, typed: str, guest: str) -> None:
    """A name that is complete is followed by a blank."""
    assert ["check", guest, "x"] == zsh.type(f"cpu-guardctl check {typed}\tx")


@pytest.mark.parametrize(("typed", "guest"), TYPED)
@needs("fish")
def test_fish(environment: Mapping[str, str], typed: str, guest: str) -> None:
    """Fish is asked what it would offer; it quotes by itself what it inserts."""
    assert [guest] == offered_by_fish(environment, f"cpu-guardctl check {typed}")


def offered_by_fish(environment: Mapping[str, str], line: str) -> list[str]:
    """Give the words that fish offers for the end of *line*."""
    script = f"source {COMPLETIONS / 'cpu-guardctl.fish'}; complete -C $argv[1]"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script, line],
        env=dict(environment),
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def answers(environment: Mapping[str, str], line: str, **more: str) -> list[str]:
    """Give what the program answers a script that asks for *line*."""
    done = subprocess.run(
        [shutil.which("real", path=environment["PATH"]) or ""],
        env={**environment, "COMP_LINE": line, "_CPU_GUARDCTL_COMPLETE": "line_complete", **more},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def test_offered(environment: Mapping[str, str]) -> None:
    """Every guest, commands, options and their words."""
    guests = [f"plain,{name}" for name in sorted(GUESTS)]

    assert guests == answers(environment, "cpu-guardctl check ")
    assert ["plain,last", *guests] == answers(environment, "cpu-guardctl explain ")
    assert ["plain,two-1", "plain,two-2"] == answers(environment, "cpu-guardctl check two")
    assert ["plain,explain"] == answers(environment, "cpu-guardctl ex")
    assert ["plain,--operation"] == answers(environment, "cpu-guardctl check --op")
    assert ["plain,migrate"] == answers(environment, "cpu-guardctl check --operation m")


@pytest.mark.parametrize("word", ["./dom", "zulu"])
def test_files(environment: Mapping[str, str], word: str) -> None:
    """Where no guest fits, the shell is told to look for files itself."""
    assert [f"file,{word}"] == answers(environment, f"cpu-guardctl check {word}")
    assert [] == answers(environment, f"cpu-guardctl explain {word}")


def test_nothing_typed(environment: Mapping[str, str]) -> None:
    """As a script that hands over no line."""
    assert "plain,check" in answers(environment, "")


@pytest.mark.parametrize(
    "uri",
    ["qemu+unix:///system?socket=/nowhere", "qemu+ssh://x/system", "x"],
)
def test_no_libvirt(environment: Mapping[str, str], uri: str) -> None:
    """Silence: a person who pressed TAB did not ask about libvirt. Nor is a password asked for."""
    assert ["file,"] == answers(environment, "cpu-guardctl check ", LIBVIRT_DEFAULT_URI=uri)
    assert ["plain,last"] == answers(environment, "cpu-guardctl explain ", LIBVIRT_DEFAULT_URI=uri)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Line(("",), "", 0)),
        ("a b", Line(("a", "b"), "", 0)),
        ("a b ", Line(("a", "b", ""), "", 0)),
        ("a 'b c' ", Line(("a", "b c", ""), "", 0)),
        ("a 'b c", Line(("a", "b c"), "'", 0)),
        ('a "b \\" c', Line(("a", 'b " c'), '"', 0)),
        ("a b\\ c", Line(("a", "b c"), "", 0)),
        ("a b\\", Line(("a", "b"), "", 0)),
        ("a b:c", Line(("a", "b:c"), "", 2)),
        ("a b:c=d", Line(("a", "b:c=d"), "", 4)),
        ("a b\\:c", Line(("a", "b:c"), "", 0)),
        ("a x'b:c", Line(("a", "xb:c"), "'", 1)),
        ("a '' ", Line(("a", "", ""), "", 0)),
    ],
)
def test_line(line: str, expected: Line) -> None:
    """A line is read as sh reads it, and as readline finds the word that it replaces."""
    assert expected == read_line(line, BREAKS)


@pytest.mark.parametrize("name", GUESTS)
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_quoted(name: str, quote: str) -> None:
    """What is written is what sh reads, and nothing is done on the way."""
    assert name == read_line(f"{quote}{quoted(name, quote)}{quote}").words[-1]
    shown = subprocess.run(
        ["sh", "-c", f"printf %s {quote}{quoted(name, quote)}{quote}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert name == shown.stdout
