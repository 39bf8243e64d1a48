"""What many tests start from."""

import os
import subprocess

import pytest
from hypothesis import settings

from guardd.cpu import CPUMap
from guardd.probe.cpu_map import DIRECTORY, read_cpu_map
from tests.recordings import ROOT, small_map

# no deadline for one example: a busy machine is no finding; no database: the tree stays as it is
settings.register_profile("default", deadline=None, database=None, max_examples=100)
settings.register_profile("thorough", deadline=None, database=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure() -> None:
    """Build the hook that this tree ships: tests read it while they are collected."""
    subprocess.run(["make", "-s", "build/hook"], cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def cpu_map() -> CPUMap:
    """Read the CPU map that this machine's libvirt installed."""
    if not (DIRECTORY / "index.xml").exists():
        pytest.skip(f"no libvirt here: {DIRECTORY} is missing")
    return read_cpu_map()


@pytest.fixture(scope="session")
def own_map() -> CPUMap:
    """Read the small CPU map of tests/data, the same on every machine."""
    return small_map()
