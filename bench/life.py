"""The daemon's life: how soon it is ready, what it grows to, what wakes it; and the command."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.place import ROOT, Daemon, daemon, default_hypervisor, libvirtd, wait_until_known
from bench.rounds import interleaved, medians
from bench.table import Row, against, in_words
from bench.texts import HASWELL_GUEST, domain
from bench.verdicts import Client, call_bytes

STEP = 10_000  # verdicts between two looks at the memory
MEGABYTE = 1e6


def rows(rounds: int, *, verdicts: int, idle_seconds: float) -> Iterator[Row]:
    """Measure with a libvirtd of our own, as long as that may be started."""
    with libvirtd() as uri, TemporaryDirectory() as folder:
        kept = Path(folder) / "state"
        where = uri or "test:///default"
        with daemon(where) as guard:
            wait_until_known(guard)
            shutil.copytree(guard.folder / "state", kept)
        readies = []
        for _ in range(5):
            with daemon(where, state=kept) as guard:
                readies.append(guard.ready)
        ready = sorted(readies)[len(readies) // 2]
        yield Row(
            what="start to READY=1, with a kept snapshot", ours=in_words(ready), peer="1 s",
            ratio=ready, target=1.0,
        )  # fmt: skip
        with daemon(where, state=kept) as guard:
            yield from _growth(guard, default_hypervisor(uri), verdicts)
        with daemon(where, state=kept) as guard:
            yield from _wake_ups(guard, "beside a libvirtd" if uri else "", idle_seconds)
        if uri is not None:
            yield from _command(uri, kept, rounds)


def _growth(guard: Daemon, hypervisor: tuple[str, str], verdicts: int) -> Iterator[Row]:
    emulator, machine = hypervisor
    client, sizes = Client(guard.socket), []
    for number in range(verdicts):
        if number % STEP == 0:
            sizes.append(_resident(guard))
        name = f"guest{number}"
        xml = domain(HASWELL_GUEST, virt_type="qemu", machine=machine, emulator=emulator, name=name)
        client.ask(call_bytes(xml, name))
    sizes.append(_resident(guard))
    yield Row(
        what=f"resident after {verdicts} verdicts on as many guests",
        ours=f"{sizes[-1] / MEGABYTE:.1f} MB", peer="60 MB",
        ratio=sizes[-1] / MEGABYTE / 60, target=1.0,
    )  # fmt: skip
    if len(sizes) > 2:  # noqa: PLR2004 (the first step fills what is remembered)
        slope = (sizes[-1] - sizes[1]) / (verdicts - STEP) * STEP
        yield Row(
            what=f"growth for each {STEP} verdicts, after the first", ours=f"{slope / 1e3:.0f} kB"
        )


def _resident(guard: Daemon) -> int:
    for line in Path(f"/proc/{guard.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise ValueError("no VmRSS")


def _wake_ups(guard: Daemon, where: str, seconds: float) -> Iterator[Row]:
    time.sleep(5)  # until what follows a start is done
    before = _switches(guard)
    time.sleep(seconds)
    after = _switches(guard)
    woken = {name: after[name] - count for name, count in before.items() if after[name] > count}
    each = ", ".join(f"{name} {count}" for name, count in sorted(woken.items())) or "none"
    yield Row(what=f"wake-ups in {seconds:.0f} s of idling {where}, by thread", ours=each)


def _switches(guard: Daemon) -> dict[str, int]:
    """Give how often each thread went to sleep; its number, for names are not unique."""
    counts = {}
    for task in Path(f"/proc/{guard.process.pid}/task").iterdir():
        words = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        counts[f"{words['Name'].strip()}-{task.name}"] = int(words["voluntary_ctxt_switches"])
    return counts


def _command(uri: str, kept: Path, rounds: int) -> Iterator[Row]:
    emulator, machine = default_hypervisor(uri)
    with TemporaryDirectory() as folder:
        guest, cpu = Path(folder) / "guest.xml", Path(folder) / "cpu.xml"
        guest.write_text(
            domain(HASWELL_GUEST, virt_type="qemu", machine=machine, emulator=emulator)
        )
        cpu.write_text(HASWELL_GUEST)
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        code += "from guardd.ctl.__main__ import run; run()"
        ours = [sys.executable, "-I", "-c", code, "check", str(guest)]
        ours += ["--state", str(kept), "--config", folder]
        theirs = ["virsh", "-c", uri, "cpu-compare", str(cpu)]

        def run(command: list[str]) -> None:
            subprocess.run(command, capture_output=True, check=False)

        found = medians(
            interleaved(
                {"ours": lambda: run(ours), "peer": lambda: run(theirs)},
                rounds=max(10, rounds // 10),
            )
        )
    name = "virsh cpu-compare FILE"
    yield against("cpu-guardctl check FILE", found["ours"], found["peer"], name, 4.0)
