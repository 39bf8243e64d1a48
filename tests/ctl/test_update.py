"""cpu-guardctl update: what a guest gets where libvirt starts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ctl.commands import capabilities, domain, domcaps, keep_snapshot, run, write

GIVES = """<model fallback='forbid'>Mid</model><vendor>Intel</vendor>
<feature policy='require' name='vmx'/><feature policy='require' name='invtsc'/>
<feature policy='disable' name='rtm'/>"""


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(
            "<cpu mode='host-model' check='partial'><topology sockets='1' cores='2' threads='1'/>"
            "<feature policy='disable' name='hle'/></cpu>",
            """\
<cpu mode='custom' match='exact' check='partial'>
  <model fallback='forbid'>Mid</model>
  <vendor>Intel</vendor>
  <topology sockets='1' dies='1' cores='2' threads='1'/>
  <feature policy='require' name='vmx'/>
  <feature policy='disable' name='rtm'/>
  <feature policy='disable' name='hle'/>
</cpu>
""",
            id="host-model, less what blocks migration",
        ),
        pytest.param(
            "<cpu match='minimum'><model>Old</model></cpu>",
            """\
<cpu mode='custom' match='exact'>
  <model fallback='forbid'>Mid</model>
  <feature policy='require' name='vmx'/>
  <feature policy='disable' name='rtm'/>
</cpu>
""",
            id="minimum",
        ),
        pytest.param(
            "<cpu><model>Old</model><feature policy='optional' name='vmx'/>"
            "<feature policy='optional' name='svm'/></cpu>",
            """\
<cpu mode='custom' match='exact'>
  <model fallback='forbid'>Old</model>
  <feature policy='require' name='vmx'/>
  <feature policy='disable' name='svm'/>
</cpu>
""",
            id="optional features",
        ),
        pytest.param(
            "<cpu><model>New</model></cpu>",
            """\
<cpu mode='custom' match='exact'>
  <model fallback='forbid'>Mid</model>
  <feature policy='require' name='x2apic'/>
  <feature policy='require' name='rdctl-no'/>
  <feature policy='disable' name='vmx'/>
</cpu>
""",
            id="a model that QEMU does not have",
        ),
        pytest.param(
            "<cpu mode='host-passthrough' migratable='off'/>",
            "<cpu mode='host-passthrough' migratable='off'/>\n",
            id="host-passthrough",
        ),
        pytest.param(
            "<cpu><topology sockets='1' cores='2' threads='1'/></cpu>",
            """\
<cpu>
  <topology sockets='1' dies='1' cores='2' threads='1'/>
</cpu>
""",
            id="only a topology",
        ),
    ],
)
def test_x86(tmp_path: Path, map_folder: Path, asked: str, expected: str) -> None:
    """Bare or in a domain, by domain capabilities or by this host's snapshot of them."""
    text = domcaps(GIVES, "plain", "Old", "Mid")
    host = write(tmp_path / "host.xml", text)
    state = keep_snapshot(tmp_path / "state", capabilities("New"), text)
    words = ("update", "--cpu-map", map_folder, "-")

    assert expected == run(*words, "--host", host, stdin=asked).out
    assert expected == run(*words, "--host", host, stdin=domain(asked)).out
    assert expected == run(*words, "--state", state, stdin=domain(asked)).out
    assert expected == run(*words, "--state", state, "--json", stdin=asked).json["xml"] + "\n"


def test_this_hosts_tcg(tmp_path: Path, map_folder: Path) -> None:
    """The domain's virt type tells which of this host's hypervisors it gets."""
    state = keep_snapshot(
        tmp_path / "state",
        capabilities("New"),
        domcaps(GIVES, "Mid"),
        domcaps("<model>K</model>", "K", virt_type="qemu"),
    )
    words = ("update", "--cpu-map", map_folder, "--state", state, "--json", "-")
    guest = "<cpu mode='host-model'/>"

    assert "Mid" == run(*words, stdin=domain(guest)).json["model"]
    assert "K" == run(*words, stdin=domain(guest, virt_type="qemu")).json["model"]


def test_capabilities(tmp_path: Path, map_folder: Path) -> None:
    """A host's silicon; --models names what its QEMU has."""
    host = write(tmp_path / "host.xml", capabilities("Mid", "vmx"))
    words = ("update", "--cpu-map", map_folder, "--host", host, "--json", "-")
    guest = "<cpu mode='host-model'/>"

    assert "Mid" == run(*words, stdin=guest).json["model"]
    assert "Old" == run(*words, "--models", "Old", stdin=guest).json["model"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("<cpu mode='host-model'><model>power8</model></cpu>", "mode='host-model'"),
        ("<cpu match='strict'><model>POWER8_v1.0</model></cpu>", "match='exact'"),
    ],
)
def test_powerpc(tmp_path: Path, map_folder: Path, asked: str, expected: str) -> None:
    """host-model stays what it is, an old name becomes that of its family."""
    host = write(tmp_path / "host.xml", capabilities("POWER9", arch="ppc64le"))
    done = run("update", "--cpu-map", map_folder, "--host", host, "-", stdin=asked)

    assert expected in done.out
    assert "_v1.0" not in done.out


@pytest.mark.parametrize(
    ("host", "asked", "status", "expected"),
    [
        (capabilities("Mit"), "<cpu mode='host-model'/>", 3, "{host}:4: Unknown CPU model Mit"),
        (
            capabilities("Mid"),
            "<cpu><model>Mit</model></cpu>",
            3,
            "standard input:1: Unknown CPU model Mit",
        ),
        (
            capabilities("Mid"),
            "<cpu mode='host-model'><feature policy='optional' name='sse9'/></cpu>",
            3,
            "standard input:1: unknown CPU feature sse9",
        ),
        (
            domcaps(GIVES, "Old"),
            "<cpu><model fallback='forbid'>Mid</model></cpu>",
            3,
            "standard input:1: CPU model Mid is not supported by hypervisor",
        ),
        (
            capabilities("Mid"),
            domain("<cpu mode='host-model'/>", arch="ppc64le"),
            1,
            "standard input:4: CPU arch ppc64le does not match x86_64 of {host}:4",
        ),
        (capabilities("Mid"), domain(""), 3, "standard input does not contain any <cpu>"),
    ],
)
def test_errors(
    tmp_path: Path, map_folder: Path, host: str, asked: str, status: int, expected: str
) -> None:
    """Which of the two it is about."""
    path = write(tmp_path / "host.xml", host)
    done = run("update", "--cpu-map", map_folder, "--host", path, "-", stdin=asked)

    assert ("", status) == (done.out, done.status)
    assert done.err.startswith("error: " + expected.format(host=path))


def test_nothing_known(tmp_path: Path, map_folder: Path) -> None:
    """A snapshot from before any hypervisor was asked."""
    state = keep_snapshot(tmp_path / "state", capabilities("Mid"))
    done = run(
        *("update", "--cpu-map", map_folder, "--state", state, "-"),
        stdin="<cpu mode='host-model'/>",
    )

    assert (3, True) == (done.status, done.err.startswith("error: libvirt tells nothing of"))
