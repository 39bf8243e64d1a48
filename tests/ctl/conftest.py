"""What the tests of the commands start from."""

from pathlib import Path

import pytest

from tests.ctl.commands import write_map


@pytest.fixture(scope="session")
def map_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the small CPU map of the tests, for --cpu-map."""
    return write_map(tmp_path_factory.mktemp("map") / "cpu_map")
