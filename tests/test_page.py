"""The page: valid, self-contained, escaped, and legible by its colours."""

from __future__ import annotations

import re
from typing import Any

import pytest

jinja2 = pytest.importorskip("jinja2")
html5lib = pytest.importorskip("html5lib")

from tests.judge.table import OWN_MAP  # noqa: E402 (what follows needs Jinja2)
from tests.reports import HOSTILE, hostile, written  # noqa: E402

AA = 4.5  # WCAG 2.2, 1.4.3

PAGE = written(hostile(OWN_MAP))


@pytest.fixture(scope="module")
def tree() -> Any:  # noqa: ANN401 (html5lib has no types)
    """Parse the page; a mistake in it is raised."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse(PAGE)


def texts(tree: Any, path: str) -> list[str]:  # noqa: ANN401
    """Give the whole text of each element at *path*."""
    return ["".join(element.itertext()) for element in tree.findall(path)]


def test_only_our_elements(tree: Any) -> None:  # noqa: ANN401
    """Nothing in it that somebody else could have put there, and nothing that loads or runs."""
    tags = {element.tag for element in tree.iter() if isinstance(element.tag, str)}

    assert not tags & {"script", "img", "link", "iframe", "object", "svg", "form", "a", "base"}
    assert 1 == len(tree.findall(".//style"))


def test_no_reference_to_anything(tree: Any) -> None:  # noqa: ANN401
    """No address, no handler, and a policy that forbids both."""
    names = {name for element in tree.iter() for name in element.attrib}
    (style,) = texts(tree, ".//style")
    policies = [
        element.get("content")
        for element in tree.iter("meta")
        if element.get("http-equiv") == "Content-Security-Policy"
    ]

    assert not names & {"src", "href", "srcset", "action", "style", "srcdoc", "data"}
    assert not {name for name in names if name.startswith("on")}
    assert not re.search(r"url\(|@import|@font-face", style)
    assert ["default-src 'none'; style-src 'unsafe-inline'"] == policies


def test_hostile_names_are_shown(tree: Any) -> None:  # noqa: ANN401
    """Each stands in its row as it is, but for what nobody can see."""
    rows = texts(tree, ".//table[@class='matrix']/tbody/tr/th/bdi")
    shown = {
        "left\u202eto right\u2066": "left\\u202eto right\\u2066",
        "🚀 ракета 👩‍🚀": "🚀 ракета 👩\\u200d🚀",
        "\udcffnot UTF-8": "\\udcffnot UTF-8",
    }

    assert [*(shown.get(name, name) for name in HOSTILE), "last"] == rows


def test_no_character_that_acts() -> None:
    """Neither a control character nor one that turns the direction of text; it can be encoded."""
    assert [] == [c for c in PAGE if c != "\n" and not c.isprintable()]
    assert PAGE.encode()


def test_ids(tree: Any) -> None:  # noqa: ANN401
    """Each is there once, and what refers to one finds it."""
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    wanted = {
        element.get(name)
        for element in tree.iter()
        for name in ("popovertarget", "aria-describedby", "aria-labelledby")
        if element.get(name)
    }

    assert len(ids) == len(set(ids))
    assert wanted <= set(ids)
    assert wanted


def test_table_for_those_who_do_not_see_it(tree: Any) -> None:  # noqa: ANN401
    """A caption, and every heading says what it heads."""
    headings = tree.findall(".//th")

    assert {"col", "row", "rowgroup"} >= {heading.get("scope") for heading in headings}
    assert len(tree.findall(".//table")) == len(tree.findall(".//table/caption"))
    assert "en" == tree.get("lang")


def colours(style: str) -> list[dict[str, str]]:
    """Give the colours of the light and of the dark page by name."""
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    found = [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks]
    return [found[0], {**found[0], **found[1]}]


def luminance(colour: str) -> float:
    """Give the relative luminance, WCAG 2.2."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "back"),
    [
        *(("text", back) for back in ("page", "panel")),
        *(("quiet", back) for back in ("page", "panel")),
        *((ink, f"{ink}-back") for ink in "ywnu"),
        *((ink, back) for ink in "ywnu" for back in ("page", "panel")),
    ],
)
def test_contrast(ink: str, back: str, *, dark: bool) -> None:
    """Every pair of colours that meet can be read."""
    found = colours(PAGE)[dark]
    bright, dim = sorted((luminance(found[ink]), luminance(found[back])), reverse=True)

    assert (bright + 0.05) / (dim + 0.05) >= AA
