"""libvirtd's own comparisons beside ours, on random CPUs, with the hosts' real CPUs and maps."""

import json
from pathlib import Path

from tests.lab.host import Host

COMPARE_EACH = Path(__file__).with_name("compare_each.py")
SEED, COUNT = 20261122, 3000


def test_compare(guarded_host: Host) -> None:
    """virsh cpu-compare and hypervisor-cpu-compare, and our driver: the same result each time."""
    guarded_host.push(COMPARE_EACH, "/root/compare_each.py")
    done = guarded_host.run("python3", "/root/compare_each.py", str(SEED), str(COUNT), timeout=300)
    answer = json.loads(done.stdout)

    assert [] == answer["differences"]
    # every kind of answer was among them
    for result in ("host incompatible", "host superset", "hypervisor incompatible"):
        assert answer["results"][result] > COUNT // 100
