"""Records verdicts; nobody hears of a refusal that is written nowhere."""

from __future__ import annotations

import logging
from collections.abc import Callable

from guardd import wire
from guardd.journal.owed import Owed
from guardd.journal.writer import JournalWriter
from guardd.judge.finding import Verdict
from guardd.render import journal_fields

logger = logging.getLogger(__name__)


class Recorder:
    """Writes with *journal*; lives in one thread. *owed* None: there is no place for such a file.

    The process may end any time. A refusal is noted as owed before its reply is sent, and recorded
    after it; where it cannot be noted, it is journald's before the reply.
    """

    def __init__(self, journal: JournalWriter, owed: Owed | None) -> None:
        self._journal = journal
        self._owed = owed

    def record(
        self, verdict: Verdict, elapsed_usec: int, reply: bytes, later: Callable[..., object]
    ) -> None:
        """Record *verdict*, of which *reply* tells; what can wait for that is given to *later*."""
        if not verdict.refused:
            later(self._write, verdict, elapsed_usec)
        elif self._owed is not None and self._owed.note(b"%d %b" % (elapsed_usec, reply)):
            later(self._pay, self._owed, verdict, elapsed_usec)
        else:
            self._journal.write_at_once(journal_fields(verdict, elapsed_usec))

    def _write(self, verdict: Verdict, elapsed_usec: int) -> None:
        self._journal.write(journal_fields(verdict, elapsed_usec))

    def _pay(self, owed: Owed, verdict: Verdict, elapsed_usec: int) -> None:
        self._journal.write_at_once(journal_fields(verdict, elapsed_usec))
        owed.pay()
        self.settle()

    def settle(self) -> None:
        """Forget what the journal was owed, if it has got it all by now."""
        if self._owed is not None and self._journal.has_written_all:
            self._owed.clear()

    def take_over(self) -> None:
        """Record the refusals that the journal is owed by a process that was killed.

        One that it recorded, and had no time to forget, is recorded twice.
        """
        for entry in () if self._owed is None else self._owed.left():
            elapsed_usec, _, reply = entry.partition(b" ")
            try:
                verdict = wire.verdict_from_dict(wire.parse_reply(reply)["verdict"])
                fields = journal_fields(verdict, int(elapsed_usec))
            except Exception:
                # another version's, or a bug of ours, with which the daemon would never start again
                logger.exception("a refusal that was left to be recorded cannot be read")
            else:
                self._journal.write_at_once(fields)
        self.settle()
