"""Runs cpu-guardctl, and ends it at once when all is said and written."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys

EX_IOERR = 74  # sysexits.h
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # for what is printed
GARBAGE = 100_000  # objects made and not gone, before garbage is looked for: a short command's all


def run() -> None:
    """Be the program.

    To take the interpreter apart in the end would take a short command longer than its verdict,
    and to look for garbage while modules are loaded as long as the command's own work.
    """
    gc.set_threshold(GARBAGE)
    from guardd.ctl.main import main

    try:
        main(prog_name="cpu-guardctl")
    except OSError as exc:
        if exc.errno not in NO_ROOM:
            raise
        # another status could be taken for the answer
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"error: cannot write the answer: {exc.strerror}\n")
            sys.stderr.flush()
        os._exit(EX_IOERR)
    except SystemExit as end:
        # Python has its own words and status for a stream that nothing can be written to
        with contextlib.suppress(OSError, ValueError):
            for stream in (sys.stdout, sys.stderr):
                print(end="", file=stream, flush=True)  # a closed one is None, which it takes
            if isinstance(end.code, int):
                os._exit(end.code)
        raise


if __name__ == "__main__":
    run()
