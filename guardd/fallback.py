"""The verdict without the daemon: the hook runs this when it is not plainly told yes or no.

python3 -I -m guardd.fallback DOMAIN OPERATION; on stdin the daemon's reply, which may be empty, a
NUL, and the domain XML. Exit status 0 allow, REFUSED with one line on stderr, anything else:
nothing could be judged, the hook decides.
"""

from __future__ import annotations

import sys
import time

from guardd import files, render, wire
from guardd.config import Config, parse_config
from guardd.cpu import PVRMatch, match_pvr
from guardd.errors import BadConfig, BadRequest, GuardError
from guardd.facts.snapshot import with_revision
from guardd.journal.writer import offer_record, send_apart, send_record
from guardd.judge import judge
from guardd.judge.finding import CheckRequest, Operation
from guardd.kept import kept_host
from guardd.probe.cpu_map import open_cpu_map
from guardd.probe.revision import read_revision

REFUSED = 20  # not 1, with which Python itself ends on an error
EX_UNAVAILABLE = 69  # sysexits.h


def main(domain: str, operation: str) -> int:
    """Answer what is on stdin as its reply says, or else by judging alone; give the exit status."""
    reply, _, xml = sys.stdin.buffer.read().partition(b"\0")
    status = answered(reply)
    if status is None:
        text = xml.decode("utf-8", "surrogateescape")
        status = judged(CheckRequest(domain=domain, operation=Operation(operation), xml=text))
    return status


def answered(reply: bytes) -> int | None:
    """Give the exit status that a daemon's reply asks for; None where it is no verdict.

    The hook itself understands only the bytes that this version's daemon writes.
    """
    try:
        parameters = wire.parse_reply(reply)
    except BadRequest:
        return None
    match parameters:
        case {"refused": False}:
            return 0
        case {"refused": True, "line": str(line)}:
            say(line)
            return REFUSED
    return None


def judged(request: CheckRequest) -> int:
    """Judge by the kept snapshot, say so in the journal, give the exit status."""
    start = time.perf_counter_ns()
    config = _config()
    snapshot = kept_host()
    if snapshot is None:
        raise GuardError("nothing is known of this host: no snapshot was kept")
    cpu_map = match_pvr(open_cpu_map(), config.pvr)
    if config.pvr is PVRMatch.EXACT:
        snapshot = with_revision(snapshot, read_revision(cpu_map))
    verdict = judge(request, snapshot, config.policy, cpu_map)
    verdict = verdict._replace(source=f"no daemon; {verdict.source}")
    if verdict.refused:
        say(render.hook_line(verdict))
    # a journal that does not read must not hold up the answer, nor lose it
    record = render.journal_fields(verdict, (time.perf_counter_ns() - start) // 1000)
    if not offer_record(record):
        send_apart(record, send_record)
    return REFUSED if verdict.refused else 0


def say(line: str) -> None:
    """Write a line for the person who tried."""
    sys.stderr.buffer.write(line.encode("utf-8", "backslashreplace") + b"\n")
    sys.stderr.flush()


def _config() -> Config:
    """Read the configuration without its pool: there is no time for the snapshots of others."""
    try:
        return parse_config(files.config_files())
    except BadConfig:
        kept = files.kept_config()
        if kept is None:
            raise
        return kept


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:3]))
    except GuardError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(EX_UNAVAILABLE)
