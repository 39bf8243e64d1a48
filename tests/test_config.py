"""guardd.toml: every key, every mistake, and that the shipped file says what is true."""

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.config import KEYS, Config, parse_config
from guardd.cpu.definition import Arch, CPUDef, CPUType, FeaturePolicy, Match, Mode
from guardd.errors import BadConfig
from guardd.judge.finding import Answer, Code, Enforcement
from guardd.judge.policy import DEFAULT_RULES, Ceiling, GuestMetadata, Policy
from tests.recordings import ROOT

SHIPPED = ROOT / "etc" / "cpu-guardd" / "guardd.toml"


def config(*texts: str) -> Config:
    """Read *texts* as guardd.toml and its drop-ins."""
    names = ["guardd.toml", *(f"guardd.toml.d/{number}.toml" for number in range(1, len(texts)))]
    return parse_config((name, text.encode()) for name, text in zip(names, texts, strict=True))


def test_nothing_is_the_default() -> None:
    """A host without any file runs with what the manual says."""
    expected = Config(policy=Policy(), on_unavailable=Answer.ALLOW)

    assert expected == parse_config([]) == config("")
    assert (Enforcement.ENFORCE, Answer.ALLOW) == (
        expected.policy.mode,
        expected.policy.on_cannot_tell,
    )


@pytest.mark.parametrize("word", list(Enforcement))
def test_mode(word: Enforcement) -> None:
    """The bound of every rule."""
    assert word is config(f'mode = "{word}"').policy.mode


@pytest.mark.parametrize("word", list(Answer))
def test_answers(word: Answer) -> None:
    """Two different questions: nobody could judge, and the judge cannot tell."""
    unavailable = config(f'on_unavailable = "{word}"')
    cannot_tell = config(f'on_cannot_tell = "{word}"')

    assert (word, Answer.ALLOW) == (
        unavailable.on_unavailable,
        unavailable.policy.on_cannot_tell,
    )
    assert (Answer.ALLOW, word) == (
        cannot_tell.on_unavailable,
        cannot_tell.policy.on_cannot_tell,
    )


@pytest.mark.parametrize("code", [code for code in Code if not code.is_doubt])
@pytest.mark.parametrize("word", list(Enforcement))
def test_rules(code: Code, word: Enforcement) -> None:
    """Every code that is no doubt is a rule; the others keep their default."""
    rules = config(f'[rules]\n{code} = "{word}"').policy.rules

    assert {**DEFAULT_RULES, code: word} == rules


def test_guests() -> None:
    """By name, in any UTF-8, or by UUID."""
    uuid = "7d0a5d4e-30d5-4a4b-9a5f-9d3c8f6c2f0e"
    text = f'[guests]\nweb1 = "warn"\n"büro 1" = "observe"\n{uuid} = "enforce"'

    assert {
        "web1": Enforcement.WARN,
        "büro 1": Enforcement.OBSERVE,
        uuid: Enforcement.ENFORCE,
    } == config(text).policy.guests


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param('"Haswell"', CPUDef(model="Haswell"), id="a name"),
        pytest.param('" Haswell "', CPUDef(model="Haswell"), id="a name in blanks"),
        pytest.param(
            """'''<cpu mode='custom' match='exact'>
  <model fallback='forbid'>Haswell</model>
  <feature policy='disable' name='rtm'/>
</cpu>'''""",
            None,
            id="as virsh hypervisor-cpu-baseline prints it",
        ),
    ],
)
def test_ceiling(value: str, expected: CPUDef | None) -> None:
    """A CPU by its name or by its definition."""
    (ceiling,) = config(f"[ceiling]\nx86_64 = {value}").policy.ceilings

    assert Arch.X86_64 is ceiling.arch
    assert "Haswell" == ceiling.cpu.model
    assert expected in (None, ceiling.cpu)
    assert expected is not None or {"rtm": FeaturePolicy.DISABLE} == ceiling.cpu.features
    assert (Mode.CUSTOM, Match.EXACT) == (ceiling.cpu.mode, ceiling.cpu.match)


def test_ceiling_of_a_host() -> None:
    """As virsh capabilities prints it: with <arch>, features without policy."""
    text = "<cpu><arch>x86_64</arch><model>Haswell</model><feature name='vmx'/></cpu>"
    (ceiling,) = config(f'[ceiling]\nx86_64 = "{text}"').policy.ceilings

    assert (CPUType.HOST, {"vmx": None}) == (ceiling.cpu.type, dict(ceiling.cpu.features))


def test_drop_ins() -> None:
    """A later file replaces single keys, those of its tables one by one."""
    merged = config(
        'mode = "warn"\non_cannot_tell = "deny"\n[rules]\nmissing-feature = "warn"\n'
        'extra-feature = "warn"\n[guests]\na = "warn"\nb = "warn"\n[ceiling]\nx86_64 = "Haswell"\n'
        'ppc64 = "POWER8"',
        'mode = "observe"\n[rules]\nextra-feature = "observe"\n[guests]\nb = "observe"',
        '[guests]\nb = "enforce"\nc = "warn"\n[ceiling]\nx86_64 = "Nehalem"',
    )

    assert (Enforcement.OBSERVE, Answer.DENY) == (merged.policy.mode, merged.policy.on_cannot_tell)
    assert {
        **DEFAULT_RULES,
        Code.MISSING_FEATURE: Enforcement.WARN,
        Code.EXTRA_FEATURE: Enforcement.OBSERVE,
    } == merged.policy.rules
    assert {
        "a": Enforcement.WARN,
        "b": Enforcement.ENFORCE,
        "c": Enforcement.WARN,
    } == merged.policy.guests
    assert (
        Ceiling(arch=Arch.X86_64, cpu=CPUDef(model="Nehalem")),
        Ceiling(arch=Arch.PPC64, cpu=CPUDef(model="POWER8")),
    ) == merged.policy.ceilings


@pytest.mark.parametrize("word", Enforcement)
def test_on_revert(word: Enforcement) -> None:
    """All that a mode can be."""
    assert word is config(f'on_revert = "{word}"').policy.on_revert
    assert Enforcement.WARN is config("").policy.on_revert


@pytest.mark.parametrize("word", GuestMetadata)
def test_guest_metadata(word: GuestMetadata) -> None:
    """A later file may take it back."""
    assert word is config(f'guest_metadata = "{word}"').policy.guest_metadata
    assert GuestMetadata.IGNORE is config("").policy.guest_metadata


MISTAKES = [
    pytest.param('on_revert = "allow"', "1: 'on_revert' is 'allow', must be one of", id="revert"),
    pytest.param(
        "guest_metadata = true",
        '1: \'guest_metadata\' is True, must be one of "ignore", "honour"',
        id="guest metadata",
    ),
    pytest.param('moode = "warn"', "1: unknown key 'moode', did you mean 'mode'?", id="key"),
    pytest.param(
        '\n\non-unavailable = "deny"',
        "3: unknown key 'on-unavailable', did you mean 'on_unavailable'?",
        id="key with a dash",
    ),
    pytest.param("xyzzy = 1", "1: unknown key 'xyzzy'", id="key like no other"),
    pytest.param('"mo\\u00f6de" = 1', "unknown key 'moöde', did you mean", id="key, escaped"),
    pytest.param("[rulez]\n", "1: unknown key 'rulez', did you mean 'rules'?", id="table"),
    pytest.param('mode = "strict"', "1: 'mode' is 'strict', must be one of \"enforce\"", id="word"),
    pytest.param('mode = "Warn"', "1: 'mode' is 'Warn', must be one of", id="capital"),
    pytest.param("mode = 1", "1: 'mode' is 1, must be one of", id="number"),
    pytest.param("mode = true", "1: 'mode' is True, must be one of", id="boolean"),
    pytest.param('mode = ["warn"]', "1: 'mode' is ['warn'], must be one of", id="list"),
    pytest.param("[mode]", "1: 'mode' is {}, must be one of", id="a table in place of a word"),
    pytest.param(
        'on_unavailable = "warn"', "1: 'on_unavailable' is 'warn', must be one of \"al", id="answer"
    ),
    pytest.param("on_cannot_tell = 0", "1: 'on_cannot_tell' is 0, must be one of", id="answer 0"),
    pytest.param('rules = "warn"', "1: 'rules' must be a table, written [rules]", id="no table"),
    pytest.param('guests = ["web1"]', "1: 'guests' must be a table", id="a list of guests"),
    pytest.param("ceiling = 7", "1: 'ceiling' must be a table", id="a number of ceilings"),
    pytest.param(
        '# rules\n[rules]\nmissing-features = "warn"',
        "3: unknown rule 'missing-features', did you mean 'missing-feature'?",
        id="rule",
    ),
    pytest.param(
        '[rules]\nunknown-host = "warn"', "2: unknown rule 'unknown-host'", id="a doubt is no rule"
    ),
    pytest.param(
        '[rules]\nmissing-feature = "deny"',
        "2: 'missing-feature' is 'deny', must be one of",
        id="an answer in place of a mode",
    ),
    pytest.param(
        '[rules]\non_unavailable = "deny"',
        "2: unknown key 'on_unavailable' in [rules], did you mean 'on_unavailable', which stands"
        " above all tables?",
        id="a key after a table's header is the table's",
    ),
    pytest.param(
        '[guests]\nweb1 = "warn"\nmode = "off"', "3: 'mode' is 'off'", id="a guest named as a key"
    ),
    pytest.param(
        'mode = "warn"\n[guests]\nmode = 1', "3: 'mode' is 1", id="the line is that of the table"
    ),
    pytest.param(
        '[guests]\n"web 1" = "off"', "2: 'web 1' is 'off', must be one of", id="a guest in quotes"
    ),
    pytest.param(
        '[ceiling]\nx86-64 = "Haswell"',
        "2: unknown architecture 'x86-64', did you mean 'x86_64'?",
        id="architecture",
    ),
    pytest.param("[ceiling]\nx86_64 = 7", "2: ceiling for x86_64 must be a text", id="ceiling 7"),
    pytest.param(
        '[ceiling]\nsparc = "max"',
        "2: ceiling for sparc: 'sparc' architecture is not supported",
        id="an architecture without a driver",
    ),
    pytest.param(
        '[ceiling]\nx86_64 = "<cpu"', "2: ceiling for x86_64: CPU definition is not well", id="XML"
    ),
    pytest.param(
        "[ceiling]\nx86_64 = \"<cpu mode='host-model'/>\"",
        "2: ceiling for x86_64: a ceiling needs a CPU model",
        id="a ceiling without a model",
    ),
    pytest.param(
        "[ceiling]\nx86_64 = \"<cpu><model>A</model><feature policy='no' name='b'/></cpu>\"",
        "2: ceiling for x86_64: Invalid CPU feature policy",
        id="a ceiling that libvirt would refuse",
    ),
    pytest.param("mode", "guardd.toml: Expected '=' after a key", id="not TOML"),
    pytest.param('mode = "warn"\nmode = "warn"', "Cannot overwrite a value", id="twice"),
    pytest.param("[rules]\n[rules]", "Cannot declare", id="a table twice"),
    pytest.param('mode = "a\nb"', "Illegal character", id="a line end in a text"),
    pytest.param("x = " + "[" * 5000, "nested too deeply", id="nested too deeply"),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_mistakes(text: str, expected: str) -> None:
    """Each names the file, the line where one is known, and the nearest word."""
    with pytest.raises(BadConfig) as caught:
        config(text)

    assert str(caught.value).startswith("guardd.toml:")
    assert expected in str(caught.value)


def test_a_mistake_in_a_drop_in_names_the_drop_in() -> None:
    """Each file is read by itself: the line is one of that file."""
    with pytest.raises(BadConfig) as caught:
        config('mode = "warn"', '# one\nmoode = "warn"')

    assert str(caught.value).startswith("guardd.toml.d/1.toml:2: unknown key 'moode'")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'mode = "\xff"', "guardd.toml: is not UTF-8 at byte 8"),
        ('mode = "warn"'.encode("utf-16"), "guardd.toml: is not UTF-8 at byte 0"),
        (b"mode = \0", "guardd.toml: "),
    ],
)
def test_bytes(data: bytes, expected: str) -> None:
    """A file that no editor of text has written."""
    with pytest.raises(BadConfig) as caught:
        parse_config([("guardd.toml", data)])

    assert str(caught.value).startswith(expected)


def test_huge() -> None:
    """Exceptions for ten thousand guests are many, and no reason to fail."""
    text = "[guests]\n" + "".join(f'guest{number} = "warn"\n' for number in range(10_000))

    assert 10_000 == len(config(text).policy.guests)


@given(st.text())
def test_any_text(text: str) -> None:
    """It is read, or it is a BadConfig; nothing else can happen."""
    try:
        read = parse_config([("guardd.toml", text.encode("utf-8", "replace"))])
    except BadConfig:
        return

    assert isinstance(read, Config)


@given(
    st.dictionaries(
        st.sampled_from([*KEYS, "x"]),
        st.sampled_from(['"warn"', '"deny"', "1", "true", "{}", "[]", "{ a = 1 }", "1979-05-27"]),
    )
)
def test_any_value_of_any_key(pairs: dict[str, str]) -> None:
    """The same for keys that exist, with values of every type that TOML has."""
    text = "\n".join(f"{key} = {value}" for key, value in pairs.items())
    try:
        read = config(text)
    except BadConfig as exc:
        told = str(exc)
    else:
        told = "guardd.toml: nothing" if read == config(text) else ""

    assert told.startswith("guardd.toml:")


def test_the_shipped_file_changes_nothing() -> None:
    """Every key stands in it, commented out."""
    shipped = SHIPPED.read_bytes()

    assert Config() == parse_config([("guardd.toml", shipped)])
    assert {"rules": {}, "guests": {}, "ceiling": {}} == tomllib.loads(shipped.decode())


def test_the_shipped_file_shows_the_defaults() -> None:
    """Uncommented it still is the default, but for the examples of guests and ceilings."""
    text = re.sub(r"^#(?! )(?=\S)", "", SHIPPED.read_text(encoding="utf-8"), flags=re.MULTILINE)
    uncommented = config(text)

    assert Policy().rules == uncommented.policy.rules
    assert (Policy().mode, Policy().on_cannot_tell, Answer.ALLOW) == (
        uncommented.policy.mode,
        uncommented.policy.on_cannot_tell,
        uncommented.on_unavailable,
    )
    assert (Policy().on_revert, Policy().guest_metadata) == (
        uncommented.policy.on_revert,
        uncommented.policy.guest_metadata,
    )
    assert ["web1", "7d0a5d4e-30d5-4a4b-9a5f-9d3c8f6c2f0e"] == list(uncommented.policy.guests)
    assert [Arch.X86_64, Arch.PPC64] == [c.arch for c in uncommented.policy.ceilings]
    assert set(KEYS) == set(tomllib.loads(text))
