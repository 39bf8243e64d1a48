"""Finds bundles of recorded cases: a folder with manifest.json, data/ and the map they go with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from guardd import cpu
from guardd.cpu import CPUMap

REPOSITORY = Path(__file__).parents[2]
VARIABLE = "GUARDD_VECTORS"
DEFAULT = "../shared/vectors"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The cases of one libvirt release."""

    folder: Path
    release: str

    def text(self, name: str) -> str:
        return (self.folder / "data" / name).read_text(encoding="utf-8")

    def element(self, name: str) -> str:
        """Give the text of the file's <cpu> element; a comment may stand before it."""
        text = self.text(name)
        return text[text.index("<cpu") :].rstrip()

    def cpu_map(self) -> CPUMap:
        return _load(self.folder / "cpu_map")


@cache
def _load(folder: Path) -> CPUMap:
    return cpu.CPUMap(lambda name: (folder / name).read_bytes())


def vectors() -> Path:
    """Give the folder that holds the bundles."""
    return REPOSITORY / os.environ.get(VARIABLE, DEFAULT)


def recorded() -> Iterator[tuple[Bundle, dict[str, Any]]]:
    """Give every case of every bundle."""
    for path in sorted(vectors().rglob("manifest.json")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        bundle = Bundle(path.parent, manifest["libvirt"])
        for case in manifest["cases"]:
            yield bundle, case
