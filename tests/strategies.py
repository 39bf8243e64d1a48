"""What property tests draw from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

Value = TypeVar("Value")


def values(
    kind: Callable[..., Value], **fields: st.SearchStrategy[Any]
) -> st.SearchStrategy[Value]:
    """Draw values of *kind* with *fields*; what is not named has its default.

    `st.builds` would draw the other fields of a named tuple as well, by their types.
    """
    return st.fixed_dictionaries(fields).map(lambda drawn: kind(**drawn))
