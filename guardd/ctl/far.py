"""Asks another host: its guard by way of ssh, or its libvirt."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from guardd import libvirtconn, wire
from guardd.ctl.errand import STEP_SECONDS, Errand
from guardd.ctl.source import SSH, Far
from guardd.errors import BadRequest, BadSnapshot, GuardError, LibvirtFailed, Unreachable
from guardd.facts.domcaps import HypervisorKey
from guardd.facts.snapshot import HostSnapshot, snapshot_from_json, with_hypervisor
from guardd.judge.finding import CheckRequest, Verdict
from guardd.libvirtconn import Connection
from guardd.watch.learn import learn_elsewhere, learn_hypervisor

CONNECT_SECONDS = 10
SSH_SECONDS = CONNECT_SECONDS + STEP_SECONDS
_SSH_FAILED = 255  # ssh(1): an error of ssh itself
_NO_COMMAND = (126, 127)  # sh(1): not executable, not found

Result = TypeVar("Result")


def ask_guard(ssh: SSH, request: CheckRequest, errand: Errand[Any]) -> Verdict | None:
    """Have the guard on the host behind *ssh* judge *request*; None where there is no guard.

    It has the rules of that host's administrator. Raises Unreachable.
    """
    remote = f"cpu-guardctl check - --operation {request.operation} --json"
    text = request.xml.encode("utf-8", "surrogateescape")
    errand.begin(f"ask the guard on {ssh.host}", SSH_SECONDS)
    done = _run_there(ssh, remote, text)
    if done.returncode in _NO_COMMAND:
        return None
    trouble = done.stderr.decode("utf-8", "replace").strip().splitlines()
    try:
        return wire.verdict_from_dict(json.loads(done.stdout))
    except (ValueError, TypeError, BadRequest) as exc:
        # a guard that cannot judge says so on stderr, its hint in the last line
        says = next((line for line in trouble if line.startswith("error: ")), str(exc))
        raise Unreachable(f"its guard gives no verdict: {says.removeprefix('error: ')}") from exc


def ask_guard_host(ssh: SSH, errand: Errand[Any]) -> HostSnapshot | None:
    """Read what the guard on the host behind *ssh* knows of its host; None where it tells nothing.

    Raises Unreachable where ssh does not get there.
    """
    errand.begin(f"ask the guard on {ssh.host}", SSH_SECONDS)
    done = _run_there(ssh, "cpu-guardctl host --json", b"")
    if done.returncode:
        return None
    try:
        return snapshot_from_json(done.stdout)
    except BadSnapshot:
        return None


def _run_there(ssh: SSH, remote: str, text: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run the command *remote* with *text* as its input; raises Unreachable."""
    try:
        done = subprocess.run(  # noqa: S603 (the words are ours and the administrator's)
            [*ssh_words(ssh), remote],
            input=text,
            capture_output=True,
            timeout=SSH_SECONDS,
            check=False,
        )
    except OSError as exc:
        raise Unreachable(f"cannot run {ssh.command}: {exc.strerror}") from exc
    except subprocess.TimeoutExpired:
        raise Unreachable(f"the guard does not answer within {SSH_SECONDS:g} s") from None
    if done.returncode == _SSH_FAILED:
        trouble = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unreachable(f"ssh: {trouble[-1] if trouble else 'it failed without a word'}")
    return done


def ssh_words(ssh: SSH) -> list[str]:
    """Give the command that runs something on that host, as libvirt puts it together.

    It asks nobody for a password: nobody is there to answer while many hosts are asked.
    """
    words = [ssh.command, "-T", "-e", "none"]
    words += ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
    if ssh.port is not None:
        words += ["-p", str(ssh.port)]
    if ssh.user:
        words += ["-l", ssh.user]
    if ssh.keyfile:
        words += ["-i", ssh.keyfile]
    if not ssh.verifies:
        words += ["-o", "StrictHostKeyChecking=no"]
    return [*words, "--", ssh.host]


def ask_libvirt(
    far: Far, errand: Errand[Any], sought: Sequence[HypervisorKey] = ()
) -> HostSnapshot:
    """Read from its libvirt what the host behind *far* is.

    Of its hypervisors only the first of *sought* that it tells of; without any, its defaults.
    Raises LibvirtFailed, and what reading capabilities raises.
    """
    with _connected(far, errand) as connection:
        errand.begin(f"ask libvirt on {far.host or far.uri}")
        snapshot, defaults = learn_elsewhere(connection)
        if sought:
            return _with_first(connection, snapshot, sought)
        for key in defaults:
            with contextlib.suppress(GuardError):
                snapshot = with_hypervisor(snapshot, learn_hypervisor(connection, key))
        return snapshot


def ask_libvirt_all(far: Far, errand: Errand[Any], sought: Iterable[HypervisorKey]) -> HostSnapshot:
    """Read from its libvirt what the host behind *far* is, with every hypervisor of *sought*.

    One that it does not tell of is left out, or its default emulator is taken for it. Raises
    LibvirtFailed, and what reading capabilities raises.
    """
    with _connected(far, errand) as connection:
        errand.begin(f"ask libvirt on {far.host or far.uri}")
        snapshot, _defaults = learn_elsewhere(connection)
        for key in sought:
            errand.begin(f"ask libvirt on {far.host or far.uri}")
            with contextlib.suppress(GuardError):
                snapshot = _with_first(connection, snapshot, (key, key._replace(emulator=None)))
        return snapshot


@contextmanager
def _connected(far: Far, errand: Errand[Any]) -> Iterator[Connection]:
    libvirtconn.silence_stderr()
    errand.begin(f"connect to {far.uri}")
    connection = _open(far)
    try:
        yield connection
    finally:
        libvirtconn.close(connection)


def _open(far: Far) -> Connection:
    uri = far.uri
    if far.ssh is not None and "no_tty" not in uri:
        # or libvirt's ssh would ask for a password on the terminal
        uri += ("&" if urlsplit(uri).query else "?") + "no_tty=1"
    try:
        # not read-only: libvirt tells nobody there what its hypervisors give
        return libvirtconn.open_connection(uri)
    except LibvirtFailed as exc:
        raise LibvirtFailed(str(exc).replace(uri, far.uri)) from exc


def _with_first(
    connection: Connection, snapshot: HostSnapshot, sought: Sequence[HypervisorKey]
) -> HostSnapshot:
    errors = []
    for key in sought:
        try:
            return with_hypervisor(snapshot, learn_hypervisor(connection, key))
        except GuardError as exc:
            errors.append(exc)
    raise errors[0]
