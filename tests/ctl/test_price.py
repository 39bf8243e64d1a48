"""cpu-guardctl baseline --price and --cover, and hosts that are snapshots or libvirts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from guardd import files
from tests.ctl.commands import Done, capabilities, domcaps, keep_snapshot, run, write

Baseline = Callable[..., Done]

INTEL = "<model>{}</model><vendor>Intel</vendor>"
AMD = "<model>K</model><vendor>AMD</vendor>"


@pytest.fixture
def baseline(tmp_path: Path, map_folder: Path) -> Baseline:
    """Give a function that writes texts to files 1.xml, 2.xml, ... and runs the command on them."""

    def of(*texts: str, options: tuple[str, ...] = ()) -> Done:
        paths = [write(tmp_path / f"{n}.xml", text) for n, text in enumerate(texts, 1)]
        done = run("baseline", "--cpu-map", map_folder, *options, *paths)
        short = [text.replace(f"{tmp_path}/", "") for text in (done.out, done.err)]
        return Done(done.status, *short)

    return of


# one older host keeps five newer ones from sse2, avx2 and more
POOL = (*[capabilities("Mid", "svm")] * 3, *[capabilities("New", "svm")] * 2, capabilities("Old"))


def test_price(baseline: Baseline) -> None:
    """What stands in the way, the trade-off, and below them the CPU, as without the option."""
    plain = baseline(*POOL)
    done = baseline(*POOL, options=("--price",))
    kinds, trade, xml = done.out.split("\n\n")

    assert (0, "") == (done.status, done.err)
    assert ["WITHOUT", "HOSTS", "THE OTHERS GAIN"] == columns(kinds)[0]
    assert ["6.xml:4", "1", "5: svm, avx2, sse2, hle, rtm"] == columns(kinds)[1]
    assert "Nothing is gained without any one of the other 2 kinds" in kinds
    assert [
        ["6 of 6", "Old", "4", "-", "-"],
        ["5 of 6", "Mid", "9", "5: svm, avx2, sse2, hle, rtm", "1 Old"],
        ["2 of 6", "New", "11", "2: rdctl-no, x2apic", "3 Mid, 1 Old"],
    ] == columns(trade)[1:]
    assert plain.out == xml


def columns(table: str) -> list[list[str]]:
    """Take a table apart, at two blanks or more."""
    return [[cell.strip() for cell in line.split("  ") if cell] for line in table.splitlines()]


@pytest.mark.parametrize(
    ("cover", "model", "note"),
    [
        ("6", "Old", ""),
        ("100%", "Old", ""),
        ("5", "Mid", "note: this CPU runs on 5 of 6 hosts, not on 6.xml:4\n"),
        ("50%", "Mid", "note: this CPU runs on 5 of 6 hosts, not on 6.xml:4\n"),
        ("33%", "New", "note: this CPU runs on 2 of 6 hosts, not on 1.xml:4, 2.xml:4, 3.xml:4,"),
        ("1", "New", "note: this CPU runs on 2 of 6 hosts"),
    ],
)
def test_cover(baseline: Baseline, cover: str, model: str, note: str) -> None:
    """Standard output is the XML of the best choice and no more; who loses is said beside it."""
    done = baseline(*POOL, options=("--cover", cover))

    assert 0 == done.status
    assert done.out.startswith("<cpu mode='custom' match='exact'>\n  <model fallback=")
    assert f">{model}</model>" in done.out
    assert done.err.startswith(note)
    assert bool(note) == bool(done.err)


@pytest.mark.parametrize("cover", ["0", "7", "101%", "-1", "half", "%", "1.5"])
def test_usage(baseline: Baseline, cover: str) -> None:
    """No number of hosts."""
    assert (2, "") == (baseline(*POOL, options=("--cover", cover)).status, "")


def test_each_row_is_a_baseline(baseline: Baseline) -> None:
    """Whatever is in a row is what the command says of those hosts alone."""
    done = baseline(*POOL, options=("--price", "--json"))

    assert ["hosts", "kinds", "trade_off", "chosen"] == list(done.json)
    assert 6 == len(done.json["hosts"])
    for row in done.json["trade_off"]:
        kept = [
            text
            for place, text in zip(done.json["hosts"], POOL, strict=True)
            if place not in row["without"]
        ]
        assert baseline(*kept).out == row["xml"] + "\n"
        assert len(kept) == row["covers"]
    for kind in done.json["kinds"]:
        assert set(kind["hosts"]) <= set(done.json["hosts"])
    assert done.json["trade_off"][0] == done.json["chosen"]


def test_vendors(baseline: Baseline) -> None:
    """There is no baseline of two vendors: who stands in the way, and what there is without."""
    texts = [*[capabilities(INTEL.format("Old"))] * 3, capabilities(AMD)]
    done = baseline(*texts, options=("--price",))
    kinds, trade, _ = done.out.split("\n\n")

    assert (1, True) == (done.status, "CPU vendors do not match" in done.err)
    assert "4.xml:4" in kinds
    assert "a baseline: there is none with them" in kinds
    assert columns(trade)[1][:2] == ["4 of 4", "none"]
    assert columns(trade)[2][:3] == ["3 of 4", "Old", "4"]

    covered = baseline(*texts, options=("--cover", "75%"))
    assert (0, True) == (covered.status, ">Old</model>" in covered.out)


def test_equal_hosts(baseline: Baseline) -> None:
    """Nothing to gain is said as well."""
    done = baseline(*[capabilities("Mid")] * 3, options=("--price",))

    assert 0 == done.status
    assert done.out.startswith("All hosts are of one kind.\n\n")


@pytest.mark.parametrize(
    ("options", "missing"),
    [((), set()), (("--migratable",), {"invtsc"})],
)
def test_what_no_baseline_has(
    baseline: Baseline, options: tuple[str, ...], missing: set[str]
) -> None:
    """What is left out of every result is no gain."""
    texts = [capabilities("Mid", "invtsc"), capabilities("Old")]
    done = baseline(*texts, options=("--price", "--json", *options))
    (kind, *_) = (kind for kind in done.json["kinds"] if kind["hosts"] == ["2.xml:4"])

    assert {"invtsc"} - missing == {"invtsc"} & set(kind["gains"])


@pytest.mark.parametrize("option", ["--price", "--cover=50%"])
@pytest.mark.parametrize(
    ("arch", "models"), [("ppc64le", ("POWER8", "POWER7")), ("aarch64", ("cortex-a72", "a64fx"))]
)
def test_no_price(baseline: Baseline, arch: str, models: tuple[str, ...], option: str) -> None:
    """Where CPUs are not made of features there is nothing to count."""
    done = baseline(*(capabilities(model, arch=arch) for model in models), options=(option,))

    assert (3, "") == (done.status, done.out)
    assert f"error: hosts of {arch} have no price" in done.err
    assert ("compatibility mode power7, see --compat" in done.err) == (arch == "ppc64le")


def test_unreadable(baseline: Baseline) -> None:
    """The file at fault is named."""
    unknown = baseline(capabilities("Old"), capabilities("Nex"), options=("--price",))
    no_model = baseline(capabilities("Old"), "<cpu mode='host-model'/>", options=("--price",))

    assert (3, True) == (unknown.status, "2.xml:4: Unknown CPU model Nex" in unknown.err)
    assert (3, True) == (no_model.status, "2.xml:1: no CPU model specified" in no_model.err)


@pytest.mark.parametrize(
    ("options", "model", "which"),
    [
        ((), "Old", "the host-model CPU of KVM"),
        (("--host-cpu",), "Mid", "the host's own CPU"),
    ],
)
def test_snapshots(
    tmp_path: Path, map_folder: Path, options: tuple[str, ...], model: str, which: str
) -> None:
    """What KVM gives, unless the silicon is asked for; which of both is said."""
    gives = domcaps("<model fallback='forbid'>Old</model>", "Old")
    folder = keep_snapshot(tmp_path / "state", capabilities("Mid"), gives)
    path = folder / files.SNAPSHOT
    done = run("baseline", "--cpu-map", map_folder, *options, path)

    assert (0, f"note: {which} is taken of {path}\n") == (done.status, done.err)
    assert f"<model fallback='forbid'>{model}</model>" in done.out


def test_emulated_only(tmp_path: Path, map_folder: Path) -> None:
    """Where there is no KVM the host's own CPU is taken, not what an emulator can do."""
    gives = domcaps("<model fallback='forbid'>Old</model>", "Old", virt_type="qemu")
    folder = keep_snapshot(tmp_path / "state", capabilities("Mid"), gives)
    done = run("baseline", "--cpu-map", map_folder, folder / files.SNAPSHOT)

    assert "the host's own CPU" in done.err
    assert ">Mid</model>" in done.out


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("test:///default", "libvirt there could not name the host's CPU"),
        ("nonsense://host/", "cannot connect to nonsense://host/"),
    ],
)
def test_libvirt(map_folder: Path, source: str, expected: str) -> None:
    """A libvirt that cannot be asked, or that does not know."""
    done = run("baseline", "--cpu-map", map_folder, "--arch", "i686", source)

    assert (3, "") == (done.status, done.out)
    assert expected in done.err
    assert 1 == done.err.count("\n")


def test_bad_snapshot(tmp_path: Path, map_folder: Path) -> None:
    """The file is named."""
    path = write(tmp_path / "a.json", "{}")
    done = run("baseline", "--cpu-map", map_folder, path)

    assert (3, True) == (done.status, done.err.startswith(f"error: {path}: kept snapshot"))
