r"""The examples in the documentation's Markdown, as what can be run and compared.

    ```console                      commands after a prompt, each followed by all that it prints:
    hosta# virsh list               `hosta# ` and the like run on a host of the lab, `$ ` run here;
    ...                             a command goes on in the next line after a `\`

    ```xml hosta:/root/web1.xml     a file, on a host of the lab or, without one, here

`...` stands for anything. How text is spaced and broken into lines does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = tuple(sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]))

HERE = ""  # in place of a host's name

_FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^(?:(host\w)# |\$ )(.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block: its language, the file that it is or "", its text, where it stands."""

    language: str
    file: str
    text: str
    place: str

    @property
    def host(self) -> str:
        """The host that the file is on."""
        return self.file.rpartition(":")[0]

    @property
    def path(self) -> str:
        """The file's path there."""
        return self.file.rpartition(":")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command in a console, what it is said to print, and where that is said."""

    host: str
    command: str
    printed: str
    place: str


def blocks(page: Path) -> list[Block]:
    """Give the fenced blocks of *page* in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            language=found[1],
            file=found[2] or "",
            text=found[3],
            place=f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}",
        )
        for found in _FENCE.finditer(text)
    ]


def steps(block: Block) -> Iterator[Step]:
    """Give the commands of a console in their order; raises ValueError where it has no prompt."""
    host, command, printed = HERE, "", ""
    for line in block.text.splitlines():
        if command.endswith("\\"):
            command += f"\n{line}"
        elif prompt := _PROMPT.match(line):
            if command:
                yield Step(host=host, command=command, printed=printed, place=block.place)
            host, command, printed = prompt[1] or HERE, prompt[2], ""
        else:
            printed += f"{line}\n"
    if not command:
        raise ValueError(f"{block.place}: a console without a prompt")
    yield Step(host=host, command=command, printed=printed, place=block.place)


def hosts(page: Path) -> set[str]:
    """Name the hosts of the lab that *page* needs: none, or all that it speaks of."""
    found = blocks(page)
    consoles = (step for block in found if block.language == "console" for step in steps(block))
    if {*(step.host for step in consoles), *(block.host for block in found)} <= {HERE}:
        return set()
    return set(re.findall(r"\bhost[a-d]\b", page.read_text(encoding="utf-8")))


def is_as_printed(printed: str, actual: str) -> bool:
    """Tell whether *actual* is what the page says: *printed*, with its `...`."""
    pattern = ".*".join(map(re.escape, " ".join(printed.split()).split("...")))
    # spaces around the dots go with what they stand for
    pattern = pattern.replace("\\ .*", ".*").replace(".*\\ ", ".*")
    return re.fullmatch(pattern, " ".join(actual.split()), re.DOTALL) is not None
