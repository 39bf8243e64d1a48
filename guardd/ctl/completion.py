"""What a shell is told for TAB: the words that fit, quoted as the line needs them.

Click finds the words. Its own scripts for bash and fish break names with a blank, a comma or a
pattern in them, so completions/ has others, which hand over the line and nothing else.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import ClassVar

from click.shell_completion import CompletionItem, ShellComplete, add_completion_class

from guardd import libvirtconn
from guardd.ctl.known import uri
from guardd.errors import LibvirtFailed

LINE = "COMP_LINE"  # the command line up to the cursor
BREAKS = "COMP_WORDBREAKS"  # characters at which readline begins a new word, within one of ours
PLAIN = "_-./+%@:=,"  # besides letters and digits, what no shell gives a meaning within a word
LIBVIRT_SECONDS = 1.5  # a person waits


@dataclass(frozen=True, slots=True)
class Line:
    """A command line up to the cursor, as a shell reads it.

    `words`: without quotes, the last one being typed. `quote`: the quote that is open, "" for none.
    `done`: how many characters of the last word stand before what readline replaces.
    """

    words: tuple[str, ...]
    quote: str
    done: int


def read_line(line: str, breaks: str = "") -> Line:
    """Split *line* as sh does; what is not closed is taken as it is."""
    words, quote = [""], ""
    quote_at = break_at = 0
    is_word = is_escaped = False
    for character in line:
        if is_escaped:
            words[-1] += character
            is_escaped = False
        elif character == "\\" and quote != "'":
            is_escaped = is_word = True
        elif quote:
            if character == quote:
                quote = ""
            else:
                words[-1] += character
        elif character in "'\"":
            quote, quote_at, is_word = character, len(words[-1]), True
        elif character.isspace():
            if is_word:
                words.append("")
            is_word, break_at = False, 0
        else:
            words[-1] += character
            is_word = True
            if character in breaks:
                break_at = len(words[-1])
    return Line(tuple(words), quote, quote_at if quote else break_at)


def quoted(text: str, quote: str) -> str:
    """Write *text* so that sh reads it back, where *quote* ("" for none) is open."""
    match quote:
        case "'":
            return text.replace("'", "'\\''")
        case '"':
            return "".join(f"\\{c}" if c in '\\"$`' else c for c in text)
        case _:
            return "".join(
                c if c.isalnum() or c in PLAIN or not c.isascii() else f"\\{c}" for c in text
            )


class LineComplete(ShellComplete):
    """Answers by the line up to the cursor; the shell quotes. For fish."""

    name = "line"
    source_template: ClassVar[str] = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Give the words before the one being typed, and that one."""
        _program, *arguments = read_line(os.environ.get(LINE, "")).words
        return arguments[:-1], (arguments or [""])[-1]

    def format_completion(self, item: CompletionItem) -> str:
        """Give one line of what the script reads."""
        return f"{item.type},{item.value}"


class ReadlineComplete(LineComplete):
    """Quotes as well, and gives only the part of the word that readline replaces. For bash."""

    name = "readline"

    def format_completion(self, item: CompletionItem) -> str:
        """Give one line of what the script reads."""
        line = read_line(os.environ.get(LINE, ""), os.environ.get(BREAKS, ""))
        if item.type != "plain":
            return f"{item.type},"
        return f"plain,{quoted(item.value[line.done :], line.quote)}"


add_completion_class(LineComplete)
add_completion_class(ReadlineComplete)


def guest_names() -> list[str]:
    """Give the names of libvirt's guests that can be typed; [] where it does not tell in time."""
    if "+" in uri().partition(":")[0]:
        return []  # another host: ssh would ask for a password in the middle of the line
    libvirtconn.silence_stderr()
    found: list[str] = []

    def ask() -> None:
        try:
            connection = libvirtconn.open_connection(uri(), read_only=True)
            found.extend(libvirtconn.guest_names(connection))
        except LibvirtFailed:
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(LIBVIRT_SECONDS)
    # one with a leading "-" would be taken for an option
    return sorted(name for name in found if name.isprintable() and not name.startswith("-"))
