"""States of guests, from libvirt's documents."""

import pytest

from guardd.errors import GuardError
from guardd.facts.domain import parse_domain
from guardd.facts.stamp import NAMESPACE
from guardd.facts.states import Standing, defined_state, snapshot_state
from tests.judge.table import UUID, cpu, domain

STAMPED = domain(cpu("Nehalem")).replace(
    "<os>", f"<metadata><g:stamp xmlns:g='{NAMESPACE}' version='1'/></metadata><os>"
)


def snapshot(state: str = "running", memory: str = "internal", inner: str = STAMPED) -> str:
    """Write a snapshot as libvirt's getXMLDesc does."""
    return (
        f"<domainsnapshot><name>s1</name><state>{state}</state>"
        f"<memory snapshot='{memory}'/>{inner}</domainsnapshot>"
    )


def test_snapshot() -> None:
    """The domain in it is one of its own, with its metadata."""
    state = snapshot_state(snapshot(), name="web1", uuid=UUID)

    assert state is not None
    assert (Standing.SNAPSHOT, "snapshot s1") == (state.standing, state.words)
    guest = parse_domain(state.xml)
    assert ("web1", UUID) == (guest.name, guest.uuid)
    assert "of version '1'" not in guest.stamp_problem
    assert guest.stamp_problem


@pytest.mark.parametrize(
    "text",
    [snapshot("shutoff"), snapshot("disk-snapshot"), snapshot(memory="no"), snapshot("crashed")],
)
def test_snapshots_without_memory(text: str) -> None:
    """Reverting to them is a start, or nothing that runs."""
    assert snapshot_state(text, name="web1", uuid=UUID) is None


@pytest.mark.parametrize("text", ["", "<a/>", snapshot(inner=""), domain(cpu("Nehalem"))])
def test_no_snapshot(text: str) -> None:
    """Whatever libvirt, or somebody, gave."""
    with pytest.raises(GuardError):
        snapshot_state(text, name="web1", uuid=UUID)


def test_definition() -> None:
    """A file of /etc/libvirt/qemu, with libvirt's comment in front."""
    text = "<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE.\n-->\n" + domain(cpu("Nehalem"))

    state = defined_state(text)

    assert ("web1", UUID, "defined") == (state.name, state.uuid, state.words)


@pytest.mark.parametrize("text", ["", "<network><name>a</name></network>", "<domain/>"])
def test_no_definition(text: str) -> None:
    """Other files are there as well."""
    with pytest.raises(GuardError):
        defined_state(text)
