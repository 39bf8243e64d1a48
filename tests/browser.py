"""Debian's Chromium, driven as W3C's WebDriver says, by way of chromedriver."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
IS_HERE = CHROMIUM is not None and DRIVER is not None

_SECONDS = 60
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver, 12.2
_KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c"}  # WebDriver, 17.4.2
_MOUSE = "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    # a machine without a mouse would be taken for a phone (blink's HoverType and PointerType)
    f"--blink-settings={_MOUSE}",
)


class Browser:
    """One window; every command raises what urllib raises where WebDriver answers with an error."""

    def __init__(self, base: str) -> None:
        self._url = base
        options = {"binary": CHROMIUM, "args": _OPTIONS}
        wanted = {
            "capabilities": {
                "alwaysMatch": {
                    "goog:chromeOptions": options,
                    "goog:loggingPrefs": {"browser": "ALL"},
                }
            }
        }
        self._url += f"/session/{self._call('POST', '/session', wanted)['sessionId']}"

    def _call(self, method: str, path: str, body: object | None = None) -> Any:  # noqa: ANN401
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:  # noqa: S310
            return json.load(reply)["value"]

    def open(self, url: str, width: int, height: int) -> None:
        """Show the page at *url* in a viewport of that many CSS pixels."""
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self._call("POST", "/url", {"url": url})

    def with_scheme(self, scheme: str) -> None:
        """Prefer "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._devtools("Emulation.setEmulatedMedia", features=features)

    def with_media(self, media: str) -> None:
        """Lay the page out as for "print"; "" for the screen again."""
        self._devtools("Emulation.setEmulatedMedia", media=media)

    def complaints(self) -> list[str]:
        """Give what the browser has said of the page since it was asked last."""
        return [each["message"] for each in self._call("POST", "/se/log", {"type": "browser"})]

    def _devtools(self, command: str, **params: object) -> Any:  # noqa: ANN401
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def run(self, script: str) -> Any:  # noqa: ANN401
        """Run *script* in the page, whatever its policy says, and give what it returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def _find(self, selector: str) -> str:
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def point(self, selector: str) -> None:
        """Move the mouse over the element."""
        origin = {_ELEMENT: self._find(selector)}
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin}
        self._act({"type": "pointer", "id": "mouse", "actions": [move]})

    def tap(self, selector: str) -> None:
        """Touch the element with a finger."""
        origin = {_ELEMENT: self._find(selector)}
        steps = [
            {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        finger = {"pointerType": "touch"}
        self._act({"type": "pointer", "id": "finger", "parameters": finger, "actions": steps})

    def press(self, *keys: str) -> None:
        """Press keys, by their names, one after the other."""
        steps = [
            {"type": kind, "value": _KEYS[key]} for key in keys for kind in ("keyDown", "keyUp")
        ]
        self._act({"type": "key", "id": "keys", "actions": steps})

    def _act(self, *sources: object) -> None:
        self._call("POST", "/actions", {"actions": list(sources)})

    def shows(self, selector: str) -> bool:
        """Whether the element can be seen."""
        return bool(self._call("GET", f"/element/{self._find(selector)}/displayed"))

    def screenshot(self) -> bytes:
        """Give what the window shows, as PNG."""
        return base64.b64decode(self._call("GET", "/screenshot"))

    def printed(self) -> bytes:
        """Give the page as it prints, as PDF."""
        made = self._devtools("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        return base64.b64decode(made["data"])

    def quit(self) -> None:
        """Close it."""
        self._call("DELETE", "")


@contextmanager
def browser(scheme: str = "light") -> Iterator[Browser]:
    """Start a browser of its own; it and its driver are gone afterwards."""
    assert DRIVER is not None
    with subprocess.Popen(
        [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as driver:
        try:
            assert driver.stdout is not None
            ports = (re.search(r"on port (\d+)\.", line) for line in driver.stdout)
            port = next(found[1] for found in ports if found)
            window = Browser(f"http://127.0.0.1:{port}")
            window.with_scheme(scheme)
            yield window
            window.quit()
        finally:
            driver.terminate()
