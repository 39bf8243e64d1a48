"""Every --json has its schema, written down and named in docs/json.md.

That what is really printed keeps to it, the tests of each command see: `Done.json` looks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest
from jsonschema import ValidationError

from guardd.ctl.main import main
from tests.ctl.commands import subcommands
from tests.ctl.schemas import FOLDER, validate
from tests.recordings import ROOT

NAMES = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "common")
TEXT = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")


def commands(group: click.Group, *words: str) -> Iterator[str]:
    """Name the schema of every command that has --json."""
    for name, command in subcommands(group).items():
        if isinstance(command, click.Group):
            yield from commands(command, *words, name)
        elif any(parameter.name == "as_json" for parameter in command.params):
            yield "-".join((*words, name))


def test_every_command_has_one() -> None:
    """A new command needs one too."""
    assert set() == set(commands(main)) - set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_schema(name: str) -> None:
    """It is one, it says its own name and version, and the documentation names it."""
    schema = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    word, _slash, version = schema["properties"]["schema"]["const"].partition("/")

    assert (name, True, f"{name}.json") == (word, version.isdigit(), schema["$id"])
    assert f"`{word}/{version}`" in TEXT
    with pytest.raises(ValidationError):
        validate({"schema": f"{name}/{version}", "nothing-that-any-has": 1})
