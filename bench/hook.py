"""The hook as libvirt runs it, fork to exit, beside programs that do nothing."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.place import ROOT, daemon
from bench.rounds import interleaved, medians
from bench.table import Row, against
from bench.texts import HASWELL_GUEST, domain

BUILT = ROOT / "build/hook"
INSTALLED = Path("/etc/libvirt/hooks/qemu")
SOCKET = Path("/run/cpu-guardd/guard.sock")  # where every hook looks
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C"}


def rows(rounds: int) -> Iterator[Row]:
    """Measure the installed hook against the daemon that runs, or this checkout's against ours."""
    if os.geteuid() != 0:
        yield Row(what="the hook", ours="not measured", peer="only root's guests are judged")
    elif SOCKET.exists():
        yield from _rows(INSTALLED if INSTALLED.exists() else BUILT, rounds)
    else:
        is_ours = not SOCKET.parent.exists()
        SOCKET.parent.mkdir(exist_ok=True)
        try:
            with daemon("test:///default", path=SOCKET):
                yield from _rows(BUILT, rounds)
        finally:
            SOCKET.unlink(missing_ok=True)
            if is_ours:
                SOCKET.parent.rmdir()


def _rows(hook: Path, rounds: int) -> Iterator[Row]:
    # under a name of nobody's, and TCG, which refuses none for its features
    cpu = HASWELL_GUEST.replace("check='partial'", "check='none'")
    xml = domain(cpu, virt_type="qemu", machine="q35", emulator="/usr/bin/qemu-system-x86_64")
    with tempfile.TemporaryDirectory() as folder:
        cases = {
            name: [_empty(Path(folder) / word, first)]
            for name, word, first in (
                ("empty sh", "sh", "#!/bin/sh"),
                ("empty python3 -IS", "python", "#!/usr/bin/python3 -IS"),
            )
        }
        for operation in ("prepare", "start", "started"):
            cases[operation] = [str(hook), "web1", operation, "begin", "-"]
        spent = interleaved(
            {name: partial(_run, argv, xml.encode()) for name, argv in cases.items()},
            rounds=rounds,
        )
    found = medians(spent)
    python, shell = found["empty python3 -IS"], found["empty sh"]
    start = found["prepare"] + found["start"] + found["started"]
    yield against("hook, a gated call", found["prepare"], python, "empty python3 -IS", 1.25)
    yield against("hook, a call it does not gate", found["started"], shell, "empty sh", 1.5)
    yield against("hook, the three calls of a start", start, 3 * python, "three empty Pythons", 0.5)


def _empty(path: Path, first_line: str) -> str:
    path.write_text(f"{first_line}\n")
    path.chmod(0o700)
    return str(path)


def _run(argv: list[str], xml: bytes) -> None:
    subprocess.run(argv, input=xml, env=ENVIRONMENT, capture_output=True, check=True)
