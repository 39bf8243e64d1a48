"""A libvirt with guests of our own: its test driver, which reads them from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

RUNNING, OFF = 1, 5  # virDomainState

_NODE = """\
<node xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>
{domains}
</node>
"""
_DOMAIN = """\
  <domain type='test'>
    <name>{name}</name>
    <memory>1024</memory>
    <os><type>hvm</type></os>
    {cpu}
    <test:runstate>{state}</test:runstate>
  </domain>
"""


def guests_uri(path: Path, guests: Mapping[str, tuple[str, int]]) -> str:
    """Write *guests* (<cpu> element and state, by name) to *path*; give the URI of their libvirt.

    Each connection has them anew.
    """
    domains = "".join(
        _DOMAIN.format(name=name, cpu=cpu, state=state) for name, (cpu, state) in guests.items()
    )
    path.write_text(_NODE.format(domains=domains), encoding="utf-8")
    return f"test://{path}"
