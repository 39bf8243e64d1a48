"""cpu-guardctl metrics, on stdout and in node_exporter's textfile."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.ctl.commands import run
from tests.ctl.test_status import daemon, frame
from tests.test_metrics import numbers

pytest.importorskip("prometheus_client")

AWAY = """\
# HELP cpu_guardd_up Whether cpu-guardd answers (1) or not (0).
# TYPE cpu_guardd_up gauge
cpu_guardd_up 0.0
"""
REPLY = frame({"parameters": numbers()})


def test_stdout(tmp_path: Path) -> None:
    """What Prometheus would read."""
    path = tmp_path / "guard.sock"
    with daemon(path, REPLY):
        done = run("metrics", "--socket", path)

    assert (0, "") == (done.status, done.err)
    assert "\ncpu_guardd_up 1.0\n" in done.out
    assert '\ncpu_guardd_refusals_total{code="missing-feature"} 1.0\n' in done.out


def test_textfile(tmp_path: Path) -> None:
    """The same, readable for node_exporter's user, and nothing else is left in the folder."""
    path = tmp_path / "guard.sock"
    textfile = tmp_path / "node-exporter/cpu-guardd.prom"
    textfile.parent.mkdir()
    textfile.write_text("of the last minute")
    with daemon(path, REPLY):
        done = run("metrics", "--socket", path, "--textfile", textfile)

    assert (0, "", "") == (done.status, done.out, done.err)
    assert "\ncpu_guardd_up 1.0\n" in textfile.read_text()
    assert 0o644 == textfile.stat().st_mode & 0o777
    assert [textfile] == list(textfile.parent.iterdir())


def test_the_daemon_is_away(tmp_path: Path) -> None:
    """The file says so: an old one would go on saying that all is well."""
    textfile = tmp_path / "cpu-guardd.prom"
    printed = run("metrics", "--socket", tmp_path / "none")
    written = run("metrics", "--socket", tmp_path / "none", "--textfile", textfile)

    assert (69, AWAY) == (printed.status, printed.out)
    assert printed.err.startswith("error: the daemon does not answer on ")
    assert (69, "", AWAY) == (written.status, written.out, textfile.read_text())


def test_a_textfile_that_cannot_be_written(tmp_path: Path) -> None:
    """It names the file and the reason; the folder is not made up."""
    textfile = tmp_path / "none/cpu-guardd.prom"
    done = run("metrics", "--socket", tmp_path / "none", "--textfile", textfile)

    assert (3, "") == (done.status, done.out)
    assert done.err.startswith(f"error: cannot write {textfile}: No such file or directory\nhint: ")


def test_a_textfile_is_whole_at_any_time(tmp_path: Path) -> None:
    """node_exporter reads whenever it likes, while it is written again and again."""
    textfile = tmp_path / "cpu-guardd.prom"
    run("metrics", "--socket", tmp_path / "none", "--textfile", textfile)
    stopped = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not stopped.is_set():
            seen.add(textfile.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        run("metrics", "--socket", tmp_path / "none", "--textfile", textfile)
    stopped.set()
    reader.join()

    assert {AWAY} == seen
