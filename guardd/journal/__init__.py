"""The journal: what kinds of records there are; who writes them, and who reads them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

VERDICT = "verdict"


class Kind(StrEnum):
    """MESSAGE_ID of what is not a verdict; each has its page in the message catalog."""

    UNAVAILABLE = "f23a40b8a40542eb86fb0952638f40d2"
    CONFIG = "6a7d4d3f6caa4c6e8bd9655b84bd0ab6"
    SNAPSHOT = "676cdf36c47e4895bc08149161f0bd5c"
    LIBVIRT = "44630cbc7cb84a9eb8606a61807ae866"
    STARTED = "cae813731add45d882d9bc68ca0859b7"
    STAMP = "49e852cc587542be8e6ce02de7fee60a"
    DRIFT = "694dfac3f45c418eb4e1c8e046aa9273"
    ADVICE = "b2975dd144e94bafa0ed0e237572259f"
    DISAGREEMENT = "13289cd68c7b40048e4eac0d6072d0af"
    UNASKED = "415fca22811843628b25cceb61bbffaf"
    SOCKET = "aa690f13b19b4a908701dc3e57aaeffb"
    INTERNAL = "aa97db03b44045349fac5ccc84431282"


class Priority(StrEnum):
    """syslog(3) levels."""

    ERROR = "3"
    WARNING = "4"
    NOTICE = "5"
    INFO = "6"


def kind_of(fields: Mapping[str, str]) -> str:
    """Call a record by what it is: "verdict", or the name of its Kind in small letters."""
    kind = fields.get("MESSAGE_ID", "")
    return Kind(kind).name.lower() if kind in list(Kind) else VERDICT
