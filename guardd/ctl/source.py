"""A host named on the command line: a libvirt URI, or a file that was brought from there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_SSH = "+ssh"


class SSH(NamedTuple):
    """How libvirt's URI says that ssh gets to the host, in the parameters that libvirt has."""

    host: str
    port: int | None = None
    user: str = ""
    keyfile: str = ""
    command: str = "ssh"
    verifies: bool = True


class Far(NamedTuple):
    """A host behind a libvirt URI; `ssh` None: it is not reached by way of ssh."""

    uri: str
    host: str
    ssh: SSH | None = None


Source = Far | Path


class SourceType(click.ParamType):
    """A URI, told by its "://", or the name of a file that can be read."""

    name = "URI|FILE"

    def convert(
        self, value: str | Source, param: click.Parameter | None, ctx: click.Context | None
    ) -> Source:
        """Give what *value* names; a mistake in it is one of usage."""
        if not isinstance(value, str):
            return value
        if "://" not in value:
            from guardd.ctl.cpufile import READABLE

            return Path(READABLE.convert(value, param, ctx))
        try:
            return far_host(value)
        except ValueError as exc:
            self.fail(f"'{value}' is no URI of a libvirt: {exc}", param, ctx)


def far_host(uri: str) -> Far:
    """Take *uri* apart; raises ValueError."""
    from urllib.parse import urlsplit

    parts = urlsplit(uri)
    if not parts.scheme:
        raise ValueError("it has no driver before its '://'")
    host = parts.hostname or ""
    ssh = _ssh(parts, host) if parts.scheme.endswith(_SSH) and host else None
    return Far(uri=uri, host=host, ssh=ssh)


def _ssh(parts: SplitResult, host: str) -> SSH:
    from urllib.parse import parse_qs, unquote

    # a '+' in a file's name stands for itself in libvirt's URIs
    words = {k: v[-1] for k, v in parse_qs(parts.query.replace("+", "%2B")).items()}
    return SSH(
        host=host,
        port=parts.port,
        user=unquote(parts.username or ""),
        keyfile=words.get("keyfile", ""),
        command=words.get("command", "ssh"),
        verifies=words.get("no_verify", "0") == "0",
    )


def labels(sources: Sequence[Source]) -> list[str]:
    """Name *sources* as shortly as tells them apart: by host, URI without parameters, or URI."""
    names = [_names(source) for source in sources]
    counts = [Counter(column) for column in zip(*names, strict=True)]
    return [
        next(
            (name for name, count in zip(each, counts, strict=True) if name and count[name] == 1),
            each[-1],
        )
        for each in names
    ]


def _names(source: Source) -> tuple[str, str, str]:
    if isinstance(source, Path):
        from guardd.ctl.cpufile import name_of

        return (name_of(source),) * 3
    return source.host, source.uri.partition("?")[0], source.uri
