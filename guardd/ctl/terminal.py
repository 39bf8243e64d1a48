"""The terminal: whatever is printed, what it would act on is shown instead, but for colours.

Names, sentences and files come from guests' owners and other hosts. Most are made printable where
they are put into words; this is the one door through which all of them go.
"""

from __future__ import annotations

import io
import re
import sys
from typing import TextIO

# what click and rich write for bold, dim, italic, underlined and colours, and to go back
_STYLE = r"(\x1b\[(?:0|[1-4]|[39][0-7])?(?:;(?:0|[1-4]|[39][0-7]))*m)"


def shown(text: str) -> str:
    """Give *text* with what a terminal would act on as JSON escapes it; line ends and tabs stay."""
    if text.isprintable():
        return text
    pieces = re.split(_STYLE, text)
    pieces[::2] = map(_escaped, pieces[::2])
    return "".join(pieces)


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


class Terminal(io.TextIOWrapper):
    """A standard stream that is a terminal."""

    def write(self, text: str) -> int:
        """Write *text* as it is shown."""
        super().write(shown(text))
        return len(text)


def guard(stream: TextIO) -> TextIO:
    """Give *stream*, of which nothing was written yet, fit for names that anybody chose."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    # a guest's name may hold what this terminal has no letter for
    stream.reconfigure(errors="backslashreplace")
    if not stream.isatty():
        return stream
    return Terminal(stream.buffer, stream.encoding, errors="backslashreplace", line_buffering=True)


def signs() -> TextIO:
    """Give standard error as it is, for signs of life, which move the cursor."""
    return sys.__stderr__ or sys.stderr
