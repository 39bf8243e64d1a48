"""Runs inside the machine: what the probe reads there, and the files that it reads it from."""

import json
import os
import sys
from pathlib import Path

from guardd.cpu import PVRMatch, match_pvr
from guardd.probe import mfpvr
from guardd.probe.cpu_map import read_cpu_map
from guardd.probe.hardware import Hardware, read_hardware


def main() -> None:
    """Print one JSON object."""
    cpu_map = read_cpu_map()
    exact = read_hardware(match_pvr(cpu_map, PVRMatch.EXACT))
    versions = Path("/proc/device-tree/cpus").glob("*/cpu-version")
    # a copy of the machine's own files, as a host's that is looked at from elsewhere
    elsewhere = Path("/tmp/elsewhere")  # noqa: S108 (there is nobody else)
    (elsewhere / "proc/device-tree").mkdir(parents=True)
    (elsewhere / "proc/cpuinfo").write_bytes(Path("/proc/cpuinfo").read_bytes())
    json.dump(
        {
            "hardware": words(read_hardware(cpu_map)),
            "exact": words(exact),
            "by cpuinfo alone": words(read_hardware(cpu_map, elsewhere)),
            "mfpvr": f"0x{mfpvr.read_pvr():08x}",
            "kernel": os.uname().release,
            "cpuinfo": Path("/proc/cpuinfo").read_text(),
            "cpu-version": {path.parent.name: path.read_bytes().hex() for path in versions},
        },
        sys.stdout,
    )


def words(hardware: Hardware) -> dict[str, object]:
    """Give what counts of *hardware* as JSON has it."""
    cpu = hardware.cpu
    return {
        "arch": hardware.arch,
        "model": None if cpu is None else cpu.model,
        "vendor": None if cpu is None else cpu.vendor,
        "source": hardware.source,
        "pvr": f"0x{hardware.data:08x}" if isinstance(hardware.data, int) else None,
        "revision": hardware.revision,
        "compat": hardware.compat,
        "cores": len(hardware.cores),
        "notes": hardware.notes,
    }


if __name__ == "__main__":
    main()
