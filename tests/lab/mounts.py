"""What is mounted where, and taking trees away without following a mount out of them."""

import shutil
from pathlib import Path

from tests.lab.process import execute

_TABLE = Path("/proc/self/mountinfo")


def mounted_below(folder: Path) -> list[Path]:
    """Mount points at or below *folder*, the innermost first."""
    points = (Path(_unescaped(line.split(" ")[4])) for line in _TABLE.read_text().splitlines())
    below = [point for point in points if point.is_relative_to(folder)]
    return sorted(below, key=lambda point: len(point.parts), reverse=True)


def _unescaped(field: str) -> str:
    for escape, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escape, char)
    return field


def is_mounted(point: Path) -> bool:
    return point in mounted_below(point)


def unmount_below(folder: Path) -> None:
    for point in mounted_below(folder):
        execute(["umount", str(point)])


def remove_tree(folder: Path) -> None:
    """Remove *folder* and all in it; whatever is mounted there is unmounted first."""
    unmount_below(folder)
    if folder.exists():
        shutil.rmtree(folder)
