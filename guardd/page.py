"""A report as an HTML page; text out, the only door to Jinja2.

Importing it raises MissingPackage where Jinja2 is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardd.errors import MissingPackage
from guardd.render import printable

try:
    from jinja2 import Environment, StrictUndefined
except ModuleNotFoundError as exc:  # only who wants a page needs it
    raise MissingPackage(
        "Python's jinja2 is missing",
        hint="install python3-jinja2, the name of its package in Debian, Ubuntu and Fedora",
    ) from exc

LENGTH = 4096  # of a text; a UUID, a name and a sentence are all shorter


def page(document: Mapping[str, Any], template: str) -> str:
    """Fill *document* into *template*: every text escaped, and no character that is not shown."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(template).render(document)


def _shown(value: object) -> str:
    return printable(str(value), LENGTH)
