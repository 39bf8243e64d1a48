"""The matrix as the JSON object that pages are made of."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from guardd.judge.matrix import Bench, KnownBy, Matrix, Place, Traveller, traveller
from guardd.render.matrix import matrix_to_dict
from tests.judge.table import HASWELL, OWN_MAP, POWER9, cpu, domain
from tests.recordings import without

HERE = Place(label="here", given="", known_by=KnownBy.HERE, snapshot=HASWELL)
POOR = Place(
    label="poor", given="p.json", known_by=KnownBy.FILE, snapshot=without(HASWELL, "avx2", "aes")
)
LOST = Place(label="lost", given="x://lost", known_by=KnownBy.NOBODY, problem="no route\x1b to it")


def guest(name: str, model: str, check: str = "partial") -> Traveller:
    """Give a guest with a CPU of that model."""
    return traveller(name, f"u-{name}", domain(cpu(model, attributes=f"check='{check}'")))


def found(*guests: Traveller, places: tuple[Place, ...] = (HERE, POOR, LOST)) -> Any:  # noqa: ANN401 (JSON)
    """Judge all and give the object."""
    bench = Bench(places, {each.virt_type for each in guests}, OWN_MAP)
    matrix = Matrix(places=places, rows=tuple(map(bench.row, guests)))
    return matrix_to_dict(matrix, made="2026-11-23T02:00:00Z", title="T", notices=["n"])


RICH, LOOSE, OLD = (
    guest("a", "Haswell-noTSX"),
    guest("b", "Haswell-noTSX", "none"),
    guest("c", "Nehalem"),
)


def test_guests_share_notes() -> None:
    """What is the same is said once, whoever it is said of."""
    document = found(RICH, LOOSE, guest("d", "Haswell-noTSX"))
    cells = [
        [(cell["can_go"], cell["note"]) for cell in each["cells"]] for each in document["guests"]
    ]

    assert [
        [("yes", None), ("no", 1), ("cannot-tell", 2)],
        [("yes", None), ("with-warnings", 3), ("cannot-tell", 2)],
        [("yes", None), ("no", 1), ("cannot-tell", 2)],
    ] == cells
    assert [1, 2, 3] == [note["number"] for note in document["notes"]]


def test_note() -> None:
    """The reason in short, then each with its features by what they are for."""
    note, lost = found(RICH)["notes"]
    (reason,) = note["reasons"]

    assert note["sentence"].startswith("it needs ")
    assert "that host" in note["sentence"]
    assert ("missing-feature", "enforce") == (reason["code"], reason["mode"])
    assert {"AVX, AVX2 and FMA": ["avx2"], "cryptography (AES, SHA, ...)": ["aes"]} == reason[
        "features"
    ]
    assert "policy='disable'" in reason["hint"]
    assert "cannot judge it: no route\\x1b to it" == lost["sentence"]


def test_names_of_other_architectures_have_no_meaning() -> None:
    """A compatibility mode is no feature."""
    power = traveller("p", "", domain(cpu("POWER10"), arch="ppc64le"))
    place = Place(label="p9", given="", known_by=KnownBy.FILE, snapshot=POWER9)
    document = found(power, places=(place,))

    assert [] == [
        reason for note in document["notes"] for reason in note["reasons"] if reason["features"]
    ]
    assert {} == document["hosts"][0]["lacks"]


def test_summary() -> None:
    """Counts, who is stranded, and who is weakest."""
    places = (HERE, POOR)

    assert {
        "counts": {"yes": 3, "with-warnings": 0, "no": 1, "cannot-tell": 0},
        "here_only": ["a"],
        "nowhere": [],
        "uncertain": [],
        "weakest": ["poor"],
    } == found(RICH, OLD, places=places)["summary"]


def test_host() -> None:
    """What it is, and what guests miss there; a host that nobody could ask has no facts."""
    here, poor, lost = found(RICH)["hosts"]

    assert ("here", "", "here") == (here["host"], here["given"], here["known_by"])
    assert "6.1.0" == here["kernel"]
    assert ["KVM", "TCG"] == [each["accelerator"] for each in here["hypervisors"]]
    assert {"avx2": 1} == poor["lacks"]["AVX, AVX2 and FMA"]
    assert ("", [], {}) == (lost["cpu"], lost["hypervisors"], lost["lacks"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["a.x.org", "b.x.org", "c"], ["a", "b", "c"]),
        (["a.x.org", "a.y.org", "b.x.org"], ["a.x.org", "a.y.org", "b"]),
        (["10.0.0.1", "11.0.0.1"], ["10.0.0.1", "11.0.0.1"]),
    ],
)
def test_short_names(labels: list[str], expected: list[str]) -> None:
    """A column is called by its host's name without a domain, where that is clear."""
    places = tuple(replace(LOST, label=label) for label in labels)

    assert expected == [host["short"] for host in found(RICH, places=places)["hosts"]]


def test_it_is_json() -> None:
    """All of it, and of this format."""
    document = found(RICH, LOOSE, OLD, traveller("bad", "", "<"))

    assert document == json.loads(json.dumps(document))
    assert ("T", ["n"]) == (document["title"], document["notices"])
