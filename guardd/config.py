"""guardd.toml and its drop-ins, as text, to a Config; a mistake names file, line and key."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from guardd.cpu import PVRMatch, driver_for
from guardd.cpu.definition import Arch, CPUDef, CPUType, Match
from guardd.cpu.xml import parse_cpu
from guardd.errors import BadConfig, GuardError
from guardd.judge.finding import Answer, Code, Enforcement
from guardd.judge.policy import DEFAULT_RULES, Ceiling, GuestMetadata, Policy

KEYS = (
    "mode",
    "on_unavailable",
    "on_cannot_tell",
    "on_revert",
    "guest_metadata",
    "pvr",
    "rules",
    "guests",
    "ceiling",
)

_UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

Word = TypeVar("Word", bound=StrEnum)


class Config(NamedTuple):
    """What the administrator set; `on_unavailable` answers where nobody can judge at all.

    `pvr` tells what makes two PowerPC processors the same, for `guardd.cpu.match_pvr`.
    """

    policy: Policy = Policy()
    on_unavailable: Answer = Answer.ALLOW
    pvr: PVRMatch = PVRMatch.FAMILY


class _File(NamedTuple):
    """One file while it is read, to say where in it a mistake is."""

    name: str
    text: str

    def mistake(self, table: str, key: str, problem: str) -> BadConfig:
        line = self._line(table, key)
        place = self.name if line is None else f"{self.name}:{line}"
        return BadConfig(f"{place}: {problem}")

    def _line(self, table: str, key: str) -> int | None:
        """Find the line of *key*; tomllib does not tell."""
        current = ""
        wanted = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
                current = header[1]
                if not table and current.split(".")[0] == key:
                    return number
            elif current == table and wanted.match(line):
                return number
        return None


def parse_config(files: Iterable[tuple[str, bytes]]) -> Config:
    """Read (name, bytes) of guardd.toml and of its drop-ins, in the order in which they count.

    A later file replaces single keys of an earlier one, those of its tables one by one.
    Raises BadConfig, with file and line, for the first mistake.
    """
    words: dict[str, StrEnum] = {}
    rules = dict(DEFAULT_RULES)
    guests: dict[str, Enforcement] = {}
    ceilings: dict[Arch, Ceiling] = {}
    for name, data in files:
        file, document = _parse_file(name, data)
        for key, value in document.items():
            match key:
                case "mode" | "on_revert":
                    words[key] = _word(file, "", key, value, Enforcement)
                case "on_unavailable" | "on_cannot_tell":
                    words[key] = _word(file, "", key, value, Answer)
                case "guest_metadata":
                    words[key] = _word(file, "", key, value, GuestMetadata)
                case "pvr":
                    words[key] = _word(file, "", key, value, PVRMatch)
                case "rules":
                    rules.update(_rules(file, value))
                case "guests":
                    guests.update(_guests(file, value))
                case "ceiling":
                    ceilings.update(_ceilings(file, value))
                case _:
                    raise file.mistake("", key, _unknown("key", key, KEYS))
    policy = Policy(
        mode=Enforcement(words.get("mode", Enforcement.ENFORCE)),
        rules=MappingProxyType(rules),
        guests=MappingProxyType(guests),
        on_cannot_tell=Answer(words.get("on_cannot_tell", Answer.ALLOW)),
        on_revert=Enforcement(words.get("on_revert", Enforcement.WARN)),
        guest_metadata=GuestMetadata(words.get("guest_metadata", GuestMetadata.IGNORE)),
        ceilings=tuple(ceilings.values()),
    )
    return Config(
        policy=policy,
        on_unavailable=Answer(words.get("on_unavailable", Answer.ALLOW)),
        pvr=PVRMatch(words.get("pvr", PVRMatch.FAMILY)),
    )


def _parse_file(name: str, data: bytes) -> tuple[_File, dict[str, Any]]:
    import tomllib  # noqa: PLC0415 (a host without a configuration needs no such load)

    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadConfig(f"{name}: is not UTF-8 at byte {exc.start}") from exc
    try:
        return _File(name, text), tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise BadConfig(f"{name}: {exc}") from exc
    except (ValueError, RecursionError) as exc:
        raise BadConfig(f"{name}: has a number too long, or is nested too deeply") from exc


def _rules(file: _File, value: object) -> dict[Code, Enforcement]:
    rules = {}
    settable = [code.value for code in Code if not code.is_doubt]
    for key, word in _table(file, "rules", value).items():
        if key not in settable:
            raise file.mistake("rules", key, _unknown_in("rules", "rule", key, settable))
        rules[Code(key)] = _word(file, "rules", key, word, Enforcement)
    return rules


def _guests(file: _File, value: object) -> dict[str, Enforcement]:
    guests = {}
    for key, word in _table(file, "guests", value).items():
        guest = key.lower() if re.fullmatch(_UUID, key) else key
        guests[guest] = _word(file, "guests", key, word, Enforcement)
    return guests


def _ceilings(file: _File, value: object) -> dict[Arch, Ceiling]:
    ceilings = {}
    for key, text in _table(file, "ceiling", value).items():
        if key not in list(Arch):
            raise file.mistake(
                "ceiling", key, _unknown_in("ceiling", "architecture", key, list(Arch))
            )
        if not isinstance(text, str):
            raise file.mistake("ceiling", key, f"ceiling for {key} must be a text")
        try:
            driver_for(Arch(key))
            ceilings[Arch(key)] = Ceiling(arch=Arch(key), cpu=_ceiling_cpu(text))
        except GuardError as exc:
            raise file.mistake("ceiling", key, f"ceiling for {key}: {exc}") from exc
    return ceilings


def _ceiling_cpu(text: str) -> CPUDef:
    """Read <cpu> XML, or the bare name of a model."""
    if "<" not in text:
        return CPUDef(model=text.strip(), match=Match.EXACT)
    cpu = parse_cpu(text, None if "<arch>" in text else CPUType.GUEST)
    if cpu.model is None:
        raise BadConfig("a ceiling needs a CPU model")
    return cpu


def _table(file: _File, key: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise file.mistake("", key, f"'{key}' must be a table, written [{key}]")
    return value


def _word(file: _File, table: str, key: str, value: object, words: type[Word]) -> Word:
    if isinstance(value, str) and value in list(words):
        return words(value)
    allowed = ", ".join(f'"{word}"' for word in words)
    raise file.mistake(table, key, f"'{key}' is {value!r}, must be one of {allowed}")


def _unknown_in(table: str, what: str, key: str, known: Iterable[str]) -> str:
    """Say that *table* has no such key; it may be one of the top, put after a table's header."""
    if not (top := _like(key, KEYS, 0.75)):
        return _unknown(what, key, known)
    return f"unknown key '{key}' in [{table}], did you mean '{top}', which stands above all tables?"


def _unknown(what: str, key: str, known: Iterable[str]) -> str:
    near = _like(key, known)
    return f"unknown {what} '{key}'" + (f", did you mean '{near}'?" if near else "")


def _like(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    import difflib  # noqa: PLC0415 (mistakes are rare)

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=likeness)), "")
