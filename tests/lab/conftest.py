"""The lab as pytest fixtures; everything below this folder carries the marker `lab`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import guard, hosts
from tests.lab.host import HOSTS, Host

_PAIRS = (("hosta", "hostb"), ("hostc", "hostd"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(folder):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab() -> Iterator[Mapping[str, Host]]:
    """All hosts by name, up; they stay up for the next run unless GUARDD_LAB_DOWN=1."""
    reason = hosts.obstacle()
    if reason is not None:
        # CI is there to run these tests: nothing may keep it from that unnoticed.
        (pytest.fail if os.environ.get("GUARDD_CI") == "1" else pytest.skip)(reason)
    hosts.up()
    yield HOSTS
    if os.environ.get("GUARDD_LAB_DOWN") == "1":
        hosts.down()


@pytest.fixture(params=HOSTS)
def host(lab: Mapping[str, Host], request: pytest.FixtureRequest) -> Iterator[Host]:
    """Each host in turn, without guests."""
    with _emptied(lab[request.param]):
        yield lab[request.param]


@pytest.fixture(params=_PAIRS, ids="-".join)
def pair(lab: Mapping[str, Host], request: pytest.FixtureRequest) -> Iterator[tuple[Host, Host]]:
    """Two hosts of one release, without guests: once with bookworm, once with trixie."""
    source, destination = (lab[name] for name in request.param)
    with _emptied(source, destination):
        yield source, destination


@pytest.fixture
def mixed_pair(lab: Mapping[str, Host]) -> Iterator[tuple[Host, Host]]:
    """A host of the older release and one of the newer, without guests."""
    source, destination = lab["hosta"], lab["hostc"]
    with _emptied(source, destination):
        yield source, destination


@contextmanager
def _emptied(*emptied: Host) -> Iterator[None]:
    for each in emptied:
        each.reset()
    yield
    for each in emptied:
        each.reset()


@pytest.fixture(scope="session")
def guarded(lab: Mapping[str, Host]) -> Iterator[Mapping[str, Host]]:
    """All hosts by name, with cpu-guardd of this checkout installed from its package.

    After all tests, no program of its units may have been killed by its system call filter.
    """
    package = guard.build_package()
    begins = {name: each.cursor() for name, each in lab.items()}
    for each in lab.values():
        each.reset()
        guard.install(each, package)
    yield lab
    for name, each in lab.items():
        records = each.journal("_PID=1", since_cursor=begins[name])
        killed = [record["MESSAGE"] for record in records if guard.KILLED in record["MESSAGE"]]
        assert not [line for line in killed if "cpu-guardd" in line], name


@pytest.fixture(params=["hosta", "hostc"])
def guarded_host(guarded: Mapping[str, Host], request: pytest.FixtureRequest) -> Iterator[Host]:
    """A guarded host of each release, with the default configuration and without guests."""
    host = guarded[request.param]
    with _emptied(host), _by_default(host):
        yield host


@pytest.fixture(params=_PAIRS, ids="-".join)
def guarded_pair(
    guarded: Mapping[str, Host], request: pytest.FixtureRequest
) -> Iterator[tuple[Host, Host]]:
    """Two guarded hosts of one release."""
    source, destination = (guarded[name] for name in request.param)
    with _emptied(source, destination), _by_default(source, destination):
        yield source, destination


@pytest.fixture
def guarded_mixed_pair(guarded: Mapping[str, Host]) -> Iterator[tuple[Host, Host]]:
    """A guarded host of the older release and one of the newer."""
    source, destination = guarded["hosta"], guarded["hostc"]
    with _emptied(source, destination), _by_default(source, destination):
        yield source, destination


@pytest.fixture
def unguarded_after(guarded_host: Host) -> Iterator[Host]:
    """A guarded host whose daemon a test may break; it is made whole again."""
    yield guarded_host
    guarded_host.shell(
        "systemctl kill --signal=CONT cpu-guardd.service; systemctl reset-failed 'cpu-guardd*'"
        "; systemctl restart cpu-guardd.socket cpu-guardd.service"
    )


@contextmanager
def _by_default(*hosts_in_use: Host) -> Iterator[None]:
    """Begin and end with the default configuration, whatever a test puts in force."""
    for each in hosts_in_use:
        if each.run("test", "-e", guard.DROP_IN, check=False).code == 0:
            guard.configure(each, "")
    yield
    for each in hosts_in_use:
        if each.run("test", "-e", guard.DROP_IN, check=False).code == 0:
            guard.configure(each, "")
