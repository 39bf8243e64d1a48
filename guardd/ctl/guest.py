"""A guest as a command is given it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Guest(click.ParamType):
    """A guest's name, UUID or id; shells complete names, and *others* that a command takes."""

    name = "guest"

    def __init__(self, *others: str, or_file: bool = False) -> None:
        self._others = others
        self._or_file = or_file

    def shell_complete(
        self, _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Give what fits; where a file may be named and no guest fits, the shell looks itself."""
        from click.shell_completion import CompletionItem

        from guardd.ctl.completion import guest_names

        words = [*self._others, *guest_names()]
        fitting = [CompletionItem(word) for word in words if word.startswith(incomplete)]
        if self._or_file and not fitting:
            return [CompletionItem(incomplete, type="file")]
        return fitting
