"""A matrix of guests and hosts in words, as the JSON object that pages are made of too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from guardd import __version__
from guardd.cpu.x86.meaning import by_meaning
from guardd.facts.domcaps import Hypervisor
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.finding import Code, Finding, Verdict
from guardd.judge.matrix import (
    LACKING,
    Cell,
    Matrix,
    Place,
    Row,
    column,
    counts,
    lacks,
    stranded,
    weakest,
)
from guardd.judge.reference import ACCELERATORS, KVM
from guardd.render import REPORTED_LENGTH, REPORTED_SENTENCES, printable, reason_of, reason_there

# whose subjects are features
_OF_FEATURES = LACKING | {
    Code.FORBIDDEN_FEATURE,
    Code.EXTRA_FEATURE,
    Code.NEW_FEATURE,
    Code.ABOVE_CEILING,
    Code.OUTSIDE_POOL,
}
_FACTS = ("hostname", "arch", "cpu", "vendor", "libvirt", "qemu", "kernel", "microcode", "taken")
_WHO = "it"  # in a note, which many guests share
_THERE = ("this host", "that host")  # for a reader who is not on it
_FEW = 3  # names that a sentence holds; more are counted there and listed below
_DETAILS = frozenset({Code.OUTSIDE_POOL, Code.PHYS_BITS, Code.TSC_FREQUENCY, Code.TSC_CHANGE})


def matrix_to_dict(
    matrix: Matrix, *, made: str, title: str, notices: Sequence[str] = ()
) -> dict[str, Any]:
    """Give *matrix* as the JSON object that cpu-guardctl(1) describes.

    *made* is the UTC time in ISO 8601, *notices* say what could not be looked at. A note is what
    several guests have in common on a host; cells name it by its number, which counts from 1.
    """
    notes: dict[str, dict[str, Any]] = {}
    guests = [_guest_to_dict(row, notes) for row in matrix.rows]
    found = stranded(matrix)
    return {
        "version": __version__,
        "made": made,
        "title": title,
        "notices": list(notices),
        "summary": {
            "counts": dict(counts(cell for row in matrix.rows for cell in row.cells)),
            "here_only": [row.guest.name for row in found.here_only],
            "nowhere": [row.guest.name for row in found.nowhere],
            "uncertain": [row.guest.name for row in found.uncertain],
            "weakest": [matrix.places[at].label for at in weakest(matrix)],
        },
        "hosts": [_place_to_dict(matrix, at) for at in range(len(matrix.places))],
        "guests": guests,
        "notes": list(notes.values()),
    }


def _place_to_dict(matrix: Matrix, at: int) -> dict[str, Any]:
    place = matrix.places[at]
    wanted = lacks(matrix, at)
    return {
        "host": place.label,
        "short": _short(place.label, [each.label for each in matrix.places]),
        "given": place.given,
        "known_by": place.known_by,
        "problem": place.problem,
        "counts": dict(counts(column(matrix, at))),
        **_facts(place),
        "lacks": {
            meaning: {name: wanted[name] for name in names}
            for meaning, names in by_meaning(wanted).items()
        },
    }


def _short(label: str, labels: Iterable[str]) -> str:
    """Give *label* without its domain, where that still tells it apart; a number stays whole."""
    short = label.partition(".")[0]
    alike = [each for each in labels if each.partition(".")[0] == short]
    return label if len(alike) > 1 or short.isdigit() else short


def _facts(place: Place) -> dict[str, Any]:
    """Say what the host is; "" where it is not known."""
    known = place.snapshot
    if known is None:
        return {**dict.fromkeys(_FACTS, ""), "hypervisors": []}
    host_cpu = known.host_cpu
    return {
        "hostname": known.hostname,
        "arch": known.arch,
        "cpu": (host_cpu and host_cpu.model) or "",
        "vendor": (host_cpu and host_cpu.vendor) or "",
        "hypervisors": _hypervisors(known),
        "libvirt": known.libvirt,
        "qemu": known.qemu,
        "kernel": known.fingerprint.get("kernel", "").partition(" ")[0],
        "microcode": known.fingerprint.get("microcode", ""),
        "taken": known.taken,
    }


def _hypervisors(known: HostSnapshot) -> list[dict[str, Any]]:
    """Name each kind of guest that the host runs once, though several machine types have it."""
    kinds: dict[tuple[str, str, str], Hypervisor] = {}
    for each in sorted(known.hypervisors, key=lambda h: (h.arch != known.arch, h.virt_type != KVM)):
        model = "" if each.host_model is None else each.host_model.model or ""
        kinds.setdefault((each.virt_type, each.arch, model), each)
    return [
        {
            "virt_type": virt_type,
            "accelerator": ACCELERATORS.get(virt_type, virt_type),
            "arch": arch,
            "model": model,
        }
        for virt_type, arch, model in kinds
    ]


def _guest_to_dict(row: Row, notes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    verdicts = (cell.verdict for cell in row.cells)
    return {
        "name": row.guest.name,
        "uuid": row.guest.uuid,
        "runs": row.guest.runs,
        "cpu": next((each.guest_cpu for each in verdicts if each and each.guest_cpu), ""),
        "cells": [{"can_go": cell.can_go, "note": _number(cell, row, notes)} for cell in row.cells],
    }


def _number(cell: Cell, row: Row, notes: dict[str, dict[str, Any]]) -> int | None:
    """Give the number of what there is to say of *cell*, a new one where nobody said it yet."""
    if cell.verdict is None:
        note = _note(cell, "cannot judge it: " + printable(cell.problem, REPORTED_LENGTH))
    elif not cell.verdict.findings:
        return None  # it fits
    else:
        note = _note_of(cell, cell.verdict, is_x86=row.guest.is_x86)
    key = repr(note)
    if key not in notes:
        notes[key] = {"number": len(notes) + 1, **note}
    return int(notes[key]["number"])


def _note(cell: Cell, sentence: str) -> dict[str, Any]:
    return {
        "can_go": cell.can_go,
        "sentence": sentence,
        "reasons": [],
        "leniency": "",
        "source": "",
    }


def _note_of(cell: Cell, verdict: Verdict, *, is_x86: bool) -> dict[str, Any]:
    verdict = verdict._replace(domain=_WHO)
    groups: dict[Code, list[Finding]] = {}
    for finding in verdict.findings:
        groups.setdefault(finding.code, []).append(finding)
    return _note(cell, reason_there(verdict)) | {
        "reasons": [_reason(verdict, code, found, is_x86=is_x86) for code, found in groups.items()],
        "leniency": verdict.leniency,
        "source": verdict.source,
    }


def _reason(verdict: Verdict, code: Code, found: list[Finding], *, is_x86: bool) -> dict[str, Any]:
    names = [finding.subject for finding in found]
    is_listed = code in _OF_FEATURES and is_x86
    if code.is_doubt:
        sentence = found[0].sentence.replace(*_THERE)
    else:
        called = f"{len(names)} features" if is_listed and len(names) > _FEW else ""
        sentence = reason_of(verdict, code, names, called).replace(*_THERE)
    return {
        "code": code,
        "mode": found[0].mode,
        "sentence": sentence,
        "features": dict(by_meaning(names)) if is_listed else {},
        "details": list(_details(code, found)),
        "hint": found[0].hint,
    }


def _details(code: Code, found: list[Finding]) -> Iterable[str]:
    if code not in _DETAILS:
        return
    for finding in found[:REPORTED_SENTENCES]:
        yield finding.sentence.replace(*_THERE)
    if len(found) > REPORTED_SENTENCES:
        yield f"and {len(found) - REPORTED_SENTENCES} more"
