"""The page of cpu-guardctl report in Debian's Chromium, without a window."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardd.probe.cpu_map import DIRECTORY
from tests.browser import IS_HERE, Browser, browser

pytest.importorskip("jinja2")

from tests.judge.table import OWN_MAP
from tests.reports import GUESTS, hostile, shop, written

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not IS_HERE, reason="chromium and chromedriver are not installed"),
    pytest.mark.skipif(not DIRECTORY.exists(), reason="no libvirt here"),
]

DESKTOP, PHONE = (1280, 900), (390, 844)
REFUSED = "td.n button"
TIP = "td.n .tip"
# the <span> and the note that belong to the first refusal
NOTE = "return document.querySelector('td.n button').getAttribute('popovertarget')"


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    """Start one browser for all tests."""
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write the page of the shop; give its address."""
    return _put(tmp_path_factory.mktemp("report"), written(shop()))


def _put(folder: Path, text: str) -> str:
    file = folder / "report.html"
    file.write_text(text, encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_fits_the_window(window: Browser, page: str, size: tuple[int, int], scheme: str) -> None:
    """Nothing but the table scrolls sideways; the colours are those that the reader prefers."""
    window.with_scheme(scheme)
    window.open(page, *size)
    back = window.run("return getComputedStyle(document.body).backgroundColor")

    assert size == struct.unpack(">II", window.screenshot()[16:24])
    assert size[0] >= window.run("return document.documentElement.scrollWidth")
    assert {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 21, 28)"}[scheme] == back


def test_hover(window: Browser, page: str) -> None:
    """The mouse over a cell shows the reason."""
    window.open(page, *DESKTOP)
    before = window.shows(TIP)
    window.point(REFUSED)

    assert not before
    assert window.shows(TIP)
    assert window.run(f"return document.querySelector('{TIP}').innerText").startswith("It needs ")


def test_keyboard(window: Browser, page: str) -> None:
    """Focus shows the reason in short, Enter at length, Escape puts it away."""
    window.open(page, *DESKTOP)
    note = "#" + window.run(NOTE)
    window.run(f"document.querySelector('{REFUSED}').focus({{focusVisible: true}})")
    is_short, is_long = window.shows(TIP), window.shows(note)
    window.press("Enter")
    opened = window.shows(note)
    window.press("Escape")

    assert (True, False) == (is_short, is_long)
    assert opened
    assert not window.shows(note)


def test_every_reason_can_be_reached_by_tab(window: Browser, page: str) -> None:
    """From the first reason, Tab leads to the next."""
    window.open(page, *DESKTOP)
    window.run("document.querySelector('.matrix button').focus()")
    window.press("Tab")
    at = "return [...document.querySelectorAll('.matrix button')].indexOf(document.activeElement)"

    assert 1 == window.run(at)


def test_tap(window: Browser, page: str) -> None:
    """A finger opens the reason at length within the window, and closes it beside it."""
    window.open(page, *PHONE)
    note = "#" + window.run(NOTE)
    window.run(f"document.querySelector('{REFUSED}').scrollIntoView()")
    window.tap(REFUSED)
    opened = window.shows(note)
    box = window.run(
        f"const b = document.querySelector('{note}').getBoundingClientRect();"
        "return [b.left, b.right, b.top >= 0, b.bottom <= innerHeight]"
    )
    window.tap("h1")

    assert opened
    assert [0, PHONE[0], True, True] == box
    assert not window.shows(note)


def test_guest_stays_in_sight(window: Browser, page: str) -> None:
    """On a phone the names stand still while the hosts go by."""
    window.open(page, *PHONE)
    left = (
        "document.querySelector('.scroll').scrollLeft = 10000;"
        "return document.querySelector('.matrix th[scope=row]').getBoundingClientRect().left"
    )

    assert 0 <= window.run(left) < PHONE[0] / 10


def test_filter(window: Browser, page: str) -> None:
    """Guests that fit everywhere can be hidden, without a script."""
    window.open(page, *DESKTOP)
    seen = (
        "return [...document.querySelectorAll('.matrix tbody tr')]"
        ".filter(row => row.offsetHeight).length"
    )
    window.run("document.querySelectorAll('.matrix tbody td.u').forEach(td => td.className = 'y')")
    everybody = window.run(seen)
    window.run("document.querySelector('#few').click()")

    assert len(GUESTS) == everybody
    assert len(GUESTS) == window.run(seen)  # nobody can tell of one host


def test_print(window: Browser, page: str) -> None:
    """The reasons follow the table, none left out; it prints in light colours."""
    window.with_scheme("dark")
    window.open(page, *DESKTOP)
    printed = window.printed()
    window.with_media("print")
    shown = window.run(
        "const all = [...document.querySelectorAll('.note')];"
        "return [all.length, all.filter(note => note.offsetHeight).length,"
        "document.querySelector('.scroll').scrollWidth <= innerWidth,"
        "getComputedStyle(document.body).backgroundColor]"
    )
    window.with_media("")

    assert printed.startswith(b"%PDF-")
    assert shown[0] == shown[1] > 0
    assert [True, "rgb(255, 255, 255)"] == shown[2:]


def test_nothing_runs(window: Browser, tmp_path: Path) -> None:
    """With hostile names nothing is asked for and nothing goes wrong."""
    window.open(_put(tmp_path, written(hostile(OWN_MAP))), *DESKTOP)
    window.screenshot()
    loaded = window.run("return performance.getEntriesByType('resource').length")

    assert 0 == loaded
    assert [] == window.complaints()
    assert "alert(1)" in window.run("return document.querySelector('tbody th bdi').innerText")
