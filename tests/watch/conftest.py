"""libvirt's own test driver, inside this process: a host of its own for each test."""

import queue
from collections.abc import Iterator
from dataclasses import dataclass

import libvirt
import pytest

from guardd import libvirtconn
from guardd.libvirtconn import Connection, GuestEvent, Listeners
from guardd.watch.chore import Chore

SECONDS = 20.0
LAST = (
    "<domain type='test'><name>last</name><memory>1024</memory><os><type>hvm</type></os></domain>"
)


@dataclass(frozen=True)
class Driver:
    """A connection to the test driver, and the events that it fires."""

    connection: Connection
    events: "queue.SimpleQueue[GuestEvent]"

    def define(self, xml: str) -> libvirt.virDomain:
        """Define a guest, running or not."""
        return self.connection.defineXML(xml)

    def hand_on(self, chore: Chore, count: int = 1) -> list[GuestEvent]:
        """Hand the next events to *chore* as the watcher does, and give them."""
        events = [self.events.get(timeout=SECONDS) for _ in range(count)]
        for event in events:
            chore.happened(self.connection, event)
        return events


@pytest.fixture(scope="session")
def _event_loop() -> None:
    libvirtconn.silence_stderr()
    libvirtconn.start_event_loop()


@pytest.fixture
def driver(_event_loop: None) -> Iterator[Driver]:
    """Give the test driver without guests."""
    connection = libvirtconn.open_connection("test:///default")
    for domain in connection.listAllDomains():
        if domain.isActive():
            domain.destroy()
        domain.undefine()
    events: queue.SimpleQueue[GuestEvent] = queue.SimpleQueue()
    libvirtconn.watch(connection, Listeners(happened=events.put, closed=lambda: None))
    # what was done before may be told only now
    connection.defineXML(LAST).undefine()
    while events.get(timeout=SECONDS).name != "last":
        pass
    events.get(timeout=SECONDS)
    yield Driver(connection, events)
    libvirtconn.close(connection)
