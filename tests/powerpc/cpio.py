"""A cpio archive as the kernel unpacks it for its first file system, the initramfs."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import BinaryIO

_ALIGNMENT = 4
_END = "TRAILER!!!"
_END_ALIGNMENT = 512


@dataclass(slots=True)
class Archive:
    """Writes entries to *out*; a later one of the same name counts. `finish` ends it."""

    out: BinaryIO
    _number: int = 0
    _folders: set[str] = field(default_factory=set)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file, and the folders above it."""
        self.folder(name.rpartition("/")[0])
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link, and the folders above it."""
        self.folder(name.rpartition("/")[0])
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def folder(self, name: str) -> None:
        """Add a folder and those above it, each once."""
        if not name or name in self._folders:
            return
        self.folder(name.rpartition("/")[0])
        self._folders.add(name)
        self._entry(name, stat.S_IFDIR | 0o755)

    def console(self) -> None:
        """Add /dev/console, which init needs before it can make others."""
        self.folder("dev")
        self._entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))

    def finish(self) -> None:
        """End the archive so that another may follow."""
        self._entry(_END, 0)
        self.out.write(bytes(-self.out.tell() % _END_ALIGNMENT))

    def _entry(
        self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        self._number += 1
        text = name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device, device of the node, name, checksum
        numbers = (self._number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(text), 0)
        header = b"070701" + b"".join(b"%08x" % number for number in numbers) + text
        for part in (header, data):
            self.out.write(part + bytes(-len(part) % _ALIGNMENT))
