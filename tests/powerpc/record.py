"""Boots one machine of each kind and keeps what it shows: python3 -m tests.powerpc.record."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.powerpc import image, machine
from tests.powerpc.machine import Machine

DATA = Path(__file__).parent.parent / "data/powerpc"

MACHINES = {
    "powernv8": Machine("powernv8"),
    "powernv8-power8e": Machine("powernv8", "power8e"),
    "powernv9": Machine("powernv9"),
    "powernv10": Machine("powernv10"),
    "pseries-power8": Machine("pseries", "power8"),
    "pseries-power8nvl": Machine("pseries", "power8nvl"),
    "pseries-power8-compat-power7": Machine("pseries,max-cpu-compat=power7", "power8"),
    "pseries-power9": Machine("pseries", "power9"),
    "pseries-power9_v1.0": Machine("pseries", "power9_v1.0"),
    "pseries-power9-compat-power8": Machine("pseries,max-cpu-compat=power8", "power9"),
    "pseries-power10": Machine("pseries", "power10"),
    "pseries-power10-compat-power8": Machine("pseries,max-cpu-compat=power8", "power10"),
}


def main() -> None:
    """Write a file for each machine, with the names of the programs that it comes from."""
    version = subprocess.run(
        [machine.QEMU, "--version"], capture_output=True, check=True, text=True
    ).stdout.splitlines()[0]
    built = image.build()
    DATA.mkdir(parents=True, exist_ok=True)
    for name, each in MACHINES.items():
        report = machine.boot(built, each)
        recording = {
            "origin": f"recorded by tests/powerpc/record.py: {version}, Linux {report['kernel']}",
            "machine": each.name,
            "cpu": each.cpu,
            "mfpvr": report["mfpvr"],
            "cpuinfo": report["cpuinfo"],
            "cpu-version": report["cpu-version"],
        }
        (DATA / f"{name}.json").write_text(json.dumps(recording, indent=1) + "\n")


if __name__ == "__main__":
    main()
