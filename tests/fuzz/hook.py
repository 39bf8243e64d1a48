"""The C of libvirt's hook against Python's JSON, with the compiler's own checks for memory.

python -m tests.fuzz.hook [NUMBER]: of inputs, 1,000,000 unless told.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.fuzz.mutations import mutate_bytes
from tests.fuzz.words import JSON_NAMES, NAMES
from tests.recordings import ROOT

SOURCE = ROOT / "hooks" / "qemu.c"
HARNESS = Path(__file__).with_name("hook.c")
FLAGS = ("-g", "-O1", "-w", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
BATCH = 5000  # inputs of one process

QUOTE, REPLY = b"q", b"r"
ALLOWED, REFUSED, NEITHER = b"0", b"1", b"-"
Item = tuple[bytes, bytes]

LINES = ("web1 needs avx; this host lacks it", '\u00e9 \U0001f427 " \\ / \x7f', *NAMES, *JSON_NAMES)
REPLIES = [
    json.dumps(
        {"parameters": {"refused": refused, "line": line, "verdict": {"domain": line}}},
        separators=(",", ":"),
    ).encode()
    + b"\0"
    for refused in (True, False)
    for line in LINES
]
PIECES = (
    *(
        b"\\u",
        b"\\ud83d\\udc27",
        b"\\ud800",
        b"\\udc27",
        b'\\"',
        b"\\",
        b'"',
        b"\\n",
        b"\\/",
        b"\0",
    ),
    *(
        b"\\u00",
        b"\xc3\xa9",
        b"\\u0041",
        b"\\uD83D",
        b"\x1b",
        b"\\u0000",
        b"\\u001b",
        b"\\ud83d\\u",
    ),
)


def build(folder: Path) -> Path:
    """Compile the hook with what asks it; give the program."""
    program = folder / "hook"
    command = ["gcc", *FLAGS, f'-DHOOK="{SOURCE}"', "-o", str(program), str(HARNESS)]
    subprocess.run(command, check=True)
    return program


def inputs(random: Random) -> Iterator[Item]:
    """Make one batch."""
    for _ in range(BATCH):
        data = random.choice(REPLIES)
        if random.random() < 0.3:
            yield QUOTE, mutate_bytes(data, random)
            continue
        for _ in range(random.randrange(4)):
            if random.random() < 0.5:
                data = mutate_bytes(data, random)
            else:
                at = random.randrange(len(data) + 1)
                data = data[:at] + random.choice(PIECES) + data[at + random.randrange(3) :]
        yield REPLY, data


def ask(program: Path, items: list[Item]) -> list[Item]:
    """Give what the hook makes of each; raises where a check of the compiler's fails."""
    given = b"".join(kind + struct.pack("=I", len(data)) + data for kind, data in items)
    rest = subprocess.run([program], input=given, stdout=subprocess.PIPE, check=True).stdout
    found = []
    while rest:
        (size,) = struct.unpack("=I", rest[1:5])
        found.append((rest[:1], rest[5 : 5 + size]))
        rest = rest[5 + size :]
    return found


def check(item: Item, result: Item) -> None:
    """What is quoted reads back; whom it refuses or lets through, JSON does, in the same words."""
    (kind, data), (status, made) = item, result
    if kind == QUOTE:
        text = made.decode("utf-8", "surrogateescape")
        assert json.loads(text) == data.decode("utf-8", "surrogateescape"), data
        return
    reply = _parameters(data)
    if reply is None:
        return  # it reads no further than it needs
    refused, line = reply
    if status == REFUSED:
        assert refused is True, data
        assert made.decode() == line, data
    elif status == ALLOWED:
        assert refused is False, data


def _parameters(data: bytes) -> tuple[object, object] | None:
    try:
        # of a key that stands there twice the hook sees the first
        decoder = json.JSONDecoder(object_pairs_hook=lambda pairs: dict(reversed(pairs)))
        document, _ = decoder.raw_decode(data.partition(b"\0")[0].decode())
        return document["parameters"]["refused"], document["parameters"]["line"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def run(number: int, folder: Path) -> int:
    """Try *number* inputs, in whole batches; give how many were refusals in words."""
    program, refusals = build(folder), 0
    for batch in range(-(-number // BATCH)):
        items = list(inputs(Random(batch)))
        results = ask(program, items)
        for item, result in zip(items, results, strict=True):
            check(item, result)
            refusals += result[0] == REFUSED
    return refusals


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as temporary:
        print(f"hook: {wanted} inputs, {run(wanted, Path(temporary))} refusals, nothing found")
