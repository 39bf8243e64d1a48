"""The documentation says what the code does: examples are run, references are complete."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from lxml import etree

from guardd.config import Config, parse_config
from guardd.cpu.definition import CPUType
from guardd.cpu.xml import parse_cpu
from guardd.ctl.main import main as cpu_guardctl
from guardd.facts.domain import parse_domain
from guardd.judge.finding import Code
from guardd.judge.policy import DEFAULT_RULES
from guardd.render import MESSAGE_ID
from tests import pages
from tests.ctl.commands import subcommands
from tests.pages import HERE, PAGES, ROOT, Block

MAN_PAGES = sorted((ROOT / "man").iterdir())
FINDINGS = ROOT / "docs/findings.md"
ADVICE = {Code.NEVER_MIGRATES, Code.NO_CHECK, Code.DEFAULT_CPU}
BLOCKS = [block for page in PAGES for block in pages.blocks(page)]
LOCAL = [page for page in PAGES if not pages.hosts(page) and pages.blocks(page)]
# what is run, up to where the shell goes on with something else
CALL = re.compile(r"cpu-guardctl ([a-z][^|;&`)>\n]*)")


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("block", of("toml"), ids=lambda block: block.place)
def test_configuration(block: Block) -> None:
    """It is good, and sets something."""
    config = parse_config([(block.place, block.text.encode())])

    assert config != Config() or block.text == 'mode = "enforce"\n'


@pytest.mark.parametrize("block", of("xml"), ids=lambda block: block.place)
def test_xml(block: Block) -> None:
    """It is what libvirt and we take for a domain or a CPU."""
    if etree.fromstring(block.text).tag == "domain":
        assert parse_domain(block.text).cpu is not None
    else:
        parse_cpu(block.text, None if "<arch>" in block.text else CPUType.GUEST)


@pytest.mark.parametrize("page", LOCAL, ids=name)
@pytest.mark.usefixtures("cpu_map")
def test_page(page: Path, tmp_path: Path) -> None:
    """A page that needs no hosts: its files and commands, in a folder of their own."""
    program = tmp_path / "cpu-guardctl"
    words = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from guardd.ctl.main import main; main()"
    program.write_text(f"#!{sys.executable}\n{words}\n")
    program.chmod(0o755)
    for block in pages.blocks(page):
        if block.file:
            (tmp_path / block.path).write_text(block.text)
        for step in pages.steps(block) if block.language == "console" else ():
            done = subprocess.run(
                ["bash", "-c", step.command],
                cwd=tmp_path,
                env={"PATH": f"{tmp_path}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert step.host == HERE
            assert pages.is_as_printed(step.printed, done.stdout), (step, done.stdout)


def calls() -> list[tuple[str, str]]:
    """Find each call of cpu-guardctl in the pages, the man pages and the catalog."""
    found = []
    for path in [*PAGES, *MAN_PAGES, ROOT / "systemd/cpu-guardd.catalog"]:
        text = path.read_text(encoding="utf-8").replace(r"\-", "-").replace("\\e\n", "")
        found += [(path.name, call[1]) for call in CALL.finditer(text.replace("\\\n", ""))]
    return sorted(set(found))


@pytest.mark.parametrize(("where", "call"), calls())
def test_call(where: str, call: str) -> None:
    """The command is there, and has the options."""
    try:
        words = shlex.split(call)
    except ValueError:
        words = call.split()
    command: click.Command = cpu_guardctl
    while isinstance(command, click.Group):
        word = words.pop(0).strip("\"'.,:")
        known_commands = subcommands(command)
        assert word in known_commands, (where, call)
        command = known_commands[word]
    known = {option for parameter in command.params for option in parameter.opts}
    # an option's value, and prose after it, are not looked at
    assert {word for word in words if word.startswith("--")} <= known | {"--help"}, (where, call)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links(page: Path) -> None:
    """Each link leads somewhere, also from where the pages are installed."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_pages_are_found() -> None:
    """The map of the documentation has them all."""
    linked = re.findall(r"\]\(([^)]+\.md)\)", (ROOT / "docs/README.md").read_text())
    there = {path.relative_to(ROOT / "docs").as_posix() for path in PAGES if path.parent != ROOT}

    assert set(linked) == there - {"README.md"}


def findings() -> dict[str, str]:
    """Give the sections of the reference of findings by their headings."""
    _, *sections = re.split(r"^## ", FINDINGS.read_text(), flags=re.MULTILINE)
    return {head: text for head, _, text in (section.partition("\n") for section in sections)}


def test_findings_are_all_there() -> None:
    """In the order of the code, none missing and none too many."""
    assert list(findings()) == [str(code) for code in Code]


@pytest.mark.parametrize("code", Code)
def test_finding(code: Code) -> None:
    """Its mode and its MESSAGE_ID are those of the code; it says what to do."""
    facts, meaning, what_to_do = findings()[code].strip().split("\n\n")
    mode, _, message_id = facts.split(" | ")
    by_default = str(DEFAULT_RULES.get(code, "enforce"))
    expected = f"advice, {by_default}" if code in ADVICE else by_default

    assert mode == ("doubt" if code.is_doubt else expected)
    assert message_id == f"`{MESSAGE_ID[code]}`"
    assert meaning
    assert what_to_do.startswith("*What to do:* ")


@pytest.mark.parametrize(
    ("printed", "actual", "expected"),
    [
        ("one two", "one\n  two\n", True),
        ("one ... four", "one two three four", True),
        ("...\nfour", "four", True),
        ("one\n...", "one", True),
        ("one", "one two", False),
        ("", "anything", False),
        ("taken ...Z", "taken 2026Z", True),
        ("a+b", "aab", False),
    ],
)
def test_as_printed(printed: str, actual: str, expected: bool) -> None:  # noqa: FBT001 (a table)
    """Only `...` stands for something else, and space is space."""
    assert pages.is_as_printed(printed, actual) is expected
