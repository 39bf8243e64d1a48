"""The PowerPC processor version register, by the instruction that libvirt uses too."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from guardd.errors import UnreadableHardware

# mfspr r3,287 (mfpvr) and blr: the register's value is what the function returns
_CODE = struct.pack("<II", 0x7C7F42A6, 0x4E800020)
_MAP_FAILED = ctypes.c_void_p(-1).value


def read_pvr() -> int:
    """Give the PVR of the core that this runs on; raises UnreadableHardware.

    The instruction is privileged, and Linux has always answered it for user space (Power ISA,
    mfspr; Linux, arch/powerpc/kernel/traps.c, emulate_instruction), in a partition too: in a
    compatibility mode it is still the real register that answers. The page that holds it is
    mapped from a file and is never writable, so hardening like systemd's MemoryDenyWriteExecute
    has nothing against it; SELinux may.
    """
    # The big-endian ABI calls through a descriptor and not at an address: a jump into nowhere.
    if os.uname().machine != "ppc64le" or sys.byteorder != "little":
        raise UnreadableHardware("the PVR cannot be read by its instruction here")
    try:
        with _mapped() as address:
            return int(ctypes.CFUNCTYPE(ctypes.c_uint64)(address)()) & 0xFFFFFFFF
    except (OSError, MemoryError) as exc:
        raise UnreadableHardware(f"cannot read the PVR: {exc}") from exc


@contextmanager
def _mapped() -> Iterator[int]:
    """Map the code to execute; writing it to a file leaves the caches' coherence to the kernel."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        *[ctypes.c_int] * 3,
        ctypes.c_long,
    ]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    descriptor = os.memfd_create("mfpvr")
    try:
        os.write(descriptor, _CODE.ljust(mmap.PAGESIZE, b"\0"))
        executable = mmap.PROT_READ | mmap.PROT_EXEC
        address = libc.mmap(None, mmap.PAGESIZE, executable, mmap.MAP_PRIVATE, descriptor, 0)
        if address in (None, _MAP_FAILED):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)
    try:
        yield address
    finally:
        libc.munmap(address, mmap.PAGESIZE)
