"""The verdict without the daemon, as the program that the hook runs."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from guardd import files
from guardd.facts.snapshot import HostSnapshot
from guardd.fallback import EX_UNAVAILABLE, REFUSED
from guardd.judge.finding import Answer
from guardd.probe.fingerprint import read_fingerprint
from tests.judge.table import cpu, domain
from tests.recordings import DATA, ROOT, recorded_host

# the program as it is, but for where it looks: below a folder, and its journal is a file there
PROGRAM = """
import json, runpy, sys
from pathlib import Path
from guardd import files, kept
from guardd.journal import writer
from guardd.probe import cpu_map
folder, data = Path(sys.argv[1]), Path(sys.argv[2])
files.config_files.__defaults__ = (folder / "etc",)
files.kept_config.__defaults__ = kept.kept_host.__defaults__ = (folder / "state",)
cpu_map.open_cpu_map.__defaults__ = (data / "cpu_map",)
def send_record(fields):
    if (folder / "hangs").exists():
        (folder / "hangs").read_text()
    (folder / "record.new").write_text(json.dumps(fields))
    (folder / "record.new").rename(folder / "record")
def offer_record(fields):
    is_taken = not (folder / "hangs").exists()
    if is_taken:
        send_record({**fields, "OFFERED": "yes"})
    return is_taken
writer.send_record, writer.offer_record = send_record, offer_record
sys.argv = ["guardd.fallback", *sys.argv[3:]]
runpy.run_module("guardd.fallback", run_name="__main__")
"""
SECONDS = 20.0


def present_host() -> HostSnapshot:
    """Give a recorded host whose emulators are as they are on this one."""
    snapshot = recorded_host("haswell")
    emulators = (hypervisor.emulator for hypervisor in snapshot.hypervisors)
    return snapshot._replace(fingerprint=read_fingerprint(emulators))


@dataclass(frozen=True)
class Place:
    """A configuration and a state below *folder*."""

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "etc" / files.CONFIG

    @property
    def state(self) -> Path:
        """What is kept."""
        return self.folder / "state"

    def run(
        self,
        xml: str | bytes,
        *words: str,
        name: str = "web1",
        operation: str = "prepare",
        reply: bytes = b"",
    ) -> tuple[int, str, str]:
        """Run the program; give status, stdout and stderr."""
        arguments = words or (name, operation)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(self.folder), str(DATA), *arguments],
            input=reply + b"\0" + (xml if isinstance(xml, bytes) else xml.encode()),
            cwd=ROOT,
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def record(self) -> dict[str, str]:
        """Give the journal's record."""
        fields: dict[str, str] = json.loads((self.folder / "record").read_text())
        return fields


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Make a host whose snapshot was kept and has not changed since."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "state").mkdir()
    files.keep_snapshot(present_host(), tmp_path / "state")
    return Place(tmp_path)


def test_allowed(place: Place) -> None:
    """Not a word."""
    assert (0, "", "") == place.run(domain(cpu("Nehalem")))


def test_a_journal_that_hangs_gets_the_record_later(place: Place) -> None:
    """The answer does not wait for it, and whoever reads the output to its end does not either."""
    os.mkfifo(place.folder / "hangs")
    status, _, stderr = place.run(domain(cpu("Haswell")))
    is_written = (place.folder / "record").exists()
    (place.folder / "hangs").write_text("no more")
    deadline = time.monotonic() + SECONDS
    while not (place.folder / "record").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)

    assert (REFUSED, True) == (status, stderr.startswith("cpu-guardd[missing-feature]: web1"))
    assert not is_written
    assert "OFFERED" not in place.record()


def test_refused(place: Place) -> None:
    """A status that no accident has, and the line that the daemon would have said."""
    assert (
        REFUSED,
        "",
        (
            "cpu-guardd[missing-feature]: web1 needs hle, rtm from Haswell; this host"
            " (Haswell-noTSX, KVM) lacks them; see: cpu-guardctl explain web1\n"
        ),
    ) == place.run(domain(cpu("Haswell")))


def test_the_record(place: Place) -> None:
    """The same as the daemon's, and it says who judged."""
    place.run(domain(cpu("Haswell")), name="büro 1", operation="prepare")
    record = place.record()

    assert ("büro 1", "deny", "yes", "prepare") == (
        record["GUARDD_DOMAIN"],
        record["GUARDD_DECISION"],
        record["GUARDD_REFUSED"],
        record["GUARDD_OPERATION"],
    )
    assert record["GUARDD_SOURCE"].startswith("no daemon; snapshot kept since 2026-11-22T")
    assert int(record["GUARDD_ELAPSED_USEC"]) > 0
    assert "yes" == record["OFFERED"]  # it is the journal's before the answer is given


def test_a_host_that_changed_since(place: Place) -> None:
    """After an update of QEMU nobody is refused by what was known before."""
    files.keep_snapshot(recorded_host("haswell"), place.state)

    assert (0, "", "") == place.run(domain(cpu("Haswell")))
    assert "warn" == place.record()["GUARDD_DECISION"]
    assert place.record()["GUARDD_SOURCE"].startswith("no daemon; outdated snapshot of 2026")


def test_the_configuration_counts(place: Place) -> None:
    """The administrator's exceptions are exceptions here too."""
    place.config.write_text('[guests]\nweb1 = "warn"')

    assert (0, "", "") == place.run(domain(cpu("Haswell")))
    assert REFUSED == place.run(domain(cpu("Haswell")), name="web2")[0]


def test_a_bad_configuration(place: Place) -> None:
    """The last good one counts, as it does for the daemon."""
    place.config.write_text("moode = 1")
    files.keep_config([("guardd.toml", b'[guests]\nweb1 = "warn"')], place.state)

    assert (0, "", "") == place.run(domain(cpu("Haswell")))
    assert REFUSED == place.run(domain(cpu("Haswell")), name="web2")[0]


def test_a_bad_configuration_and_no_other(place: Place) -> None:
    """Then nobody is judged by rules that nobody wrote: the hook's last resort answers."""
    place.config.write_text("moode = 1")

    status, stdout, stderr = place.run(domain(cpu("Haswell")))

    assert (EX_UNAVAILABLE, "") == (status, stdout)
    assert "guardd.toml:1: unknown key 'moode'" in stderr


@pytest.mark.parametrize("kept", [None, b"", b"{}", b"\0" * 100])
def test_nothing_is_known(kept: bytes | None, place: Place) -> None:
    """No snapshot, or none that can be read: nothing can be judged, and that is not "allow"."""
    path = place.state / files.SNAPSHOT
    path.unlink() if kept is None else path.write_bytes(kept)

    status, stdout, stderr = place.run(domain(cpu("Haswell")))

    assert (EX_UNAVAILABLE, "") == (status, stdout)
    assert 1 == len(stderr.splitlines())


@pytest.mark.parametrize(
    "xml", [b"", b"<domain", b"\xff\xfe", b"<domain/>"], ids=["empty", "cut", "bytes", "no guest"]
)
@pytest.mark.parametrize(("answer", "expected"), [(Answer.ALLOW, 0), (Answer.DENY, REFUSED)])
def test_an_unreadable_guest(xml: bytes, answer: Answer, expected: int, place: Place) -> None:
    """A doubt, and the policy decides."""
    place.config.write_text(f'on_cannot_tell = "{answer}"')

    status, _, stderr = place.run(xml)

    assert expected == status
    assert (expected != 0) is stderr.startswith("cpu-guardd[unreadable-guest]: cannot judge web1")


@pytest.mark.parametrize("words", [("web1",), ("web1", "start"), ("web1", "")])
def test_wrong_arguments(words: tuple[str, ...], place: Place) -> None:
    """Neither allowed nor refused: whatever this is, it is no verdict."""
    assert place.run("", *words)[0] not in (0, REFUSED)


@pytest.mark.parametrize(
    ("reply", "status", "said"),
    [
        (b'{ "parameters": {"line": "", "refused": false} }', 0, ""),
        (b'{ "parameters": {"line": "no: \\u001b", "refused": true} }', REFUSED, "no: \x1b\n"),
        (b'{"parameters":{"refused":1,"line":"no"}}', 0, ""),
        (b'{"parameters":{"refused":true}}', 0, ""),
        (b'{"error":"io.cpuguardd.Guard.Internal","parameters":{}}', 0, ""),
        (b"\xff", 0, ""),
    ],
)
def test_a_reply(reply: bytes, status: int, said: str, place: Place) -> None:
    """A verdict in another spelling is the verdict; what is none leaves it to judge alone."""
    assert (status, "", said) == place.run(domain(cpu("Nehalem")), reply=reply)
    assert (place.folder / "record").exists() == (b"line" not in reply or b":1" in reply)
