"""The hook as libvirt runs it, fork to exit, beside an empty Python: run as root on a guarded host.

python3 bench/hook.py [ROUNDS] [HOOK]
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOOK = "/etc/libvirt/hooks/qemu"
XML = f"""<domain type='qemu'><name>bench</name>
<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>Nehalem</model></cpu>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
{"<disk type='file' device='disk'><source file='/var/lib/libvirt/images/a.qcow2'/></disk>" * 130}
</devices></domain>""".encode()  # 12 kB, as a guest of some size has


def elapsed_ms(argv: list[str]) -> float:
    begin = time.perf_counter()
    done = subprocess.run(
        argv, input=XML, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, capture_output=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"{argv}: exit status {done.returncode}: {done.stderr.decode()}")
    return (time.perf_counter() - begin) * 1e3


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    hook = sys.argv[2] if len(sys.argv) > 2 else HOOK  # noqa: PLR2004
    with tempfile.TemporaryDirectory() as folder:
        empty = {}
        for name, line in (("sh", "#!/bin/sh\n"), ("python3 -IS", "#!/usr/bin/python3 -IS\n")):
            path = Path(folder) / name.replace(" ", "")
            path.write_text(line)
            path.chmod(0o700)
            empty[f"empty {name}"] = [str(path)]
        cases = empty | {
            "hook, prepare begin": [hook, "bench", "prepare", "begin", "-"],
            "hook, started begin": [hook, "bench", "started", "begin", "-"],
        }
        # interleaved, so that what else the machine does hits all alike
        times: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, argv in cases.items():
                times[name].append(elapsed_ms(argv))
    base = statistics.median(times["empty python3 -IS"])
    for name, values in times.items():
        p95 = sorted(values)[int(len(values) * 0.95)]
        median = statistics.median(values)
        print(f"{name:22} median {median:6.1f} ms  p95 {p95:6.1f} ms  {median / base:5.2f} x")


main()
