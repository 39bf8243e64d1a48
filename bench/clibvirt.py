"""libvirt's own CPU driver, called in this process: what libvirt.so exports for its daemons."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_uint, c_void_p

_AUTO = 2  # virCPUType: host or guest, as the document says


class CLibrary:
    """Definitions are kept until the process ends, but those that `parse_and_compare` makes.

    Raises OSError where there is no libvirt, AttributeError where it exports something else.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL("libvirt.so.0")

        def function(name: str, result: object, *arguments: object) -> Callable[..., int]:
            found: Callable[..., int] = getattr(library, name)
            found.restype, found.argtypes = result, arguments  # type: ignore[attr-defined]
            return found

        definition = POINTER(c_void_p)
        parse = (c_int, c_char_p, c_int, definition, c_bool)
        self._parse = function("virCPUDefParseXMLString", *parse)
        self._free = function("virCPUDefFree", None, c_void_p)
        self._compare = function("virCPUCompare", c_int, c_int, c_void_p, c_void_p, c_bool)
        baseline = (c_void_p, c_int, definition, c_uint, c_void_p, c_void_p, c_bool)
        self._baseline = function("virCPUBaseline", *baseline)
        function("virInitialize", c_int)()
        self._arch = function("virArchFromString", c_int, c_char_p)(b"x86_64")

    def parse(self, text: bytes) -> c_void_p:
        """Give the definition of a <cpu>; raises ValueError."""
        made = c_void_p()
        if self._parse(text, _AUTO, byref(made), False) < 0:
            raise ValueError("libvirt cannot read it")
        return made

    def compare(self, host: c_void_p, cpu: c_void_p) -> int:
        """Give virCPUCompareResult: 0 incompatible, 1 identical, 2 superset."""
        return self._compare(self._arch, host, cpu, False)

    def parse_and_compare(self, host: bytes, cpu: bytes) -> int:
        """Do both, and free what was parsed."""
        one, other = self.parse(host), self.parse(cpu)
        result = self.compare(one, other)
        self._free(one)
        self._free(other)
        return result

    def baseline(self, cpus: Sequence[c_void_p]) -> None:
        """Compute the baseline of *cpus*."""
        array = (c_void_p * len(cpus))(*cpus)
        self._free(self._baseline(self._arch, array, len(cpus), None, None, False))
