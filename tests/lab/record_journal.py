"""Records tests/data/journal/verdicts.journal.gz on a host of the lab: a journal of its own.

    python3 tests/lab/record_journal.py hosta

The verdicts are a judge's; one record is of a later version, one is forged by another user, one is
no verdict.
"""

import base64
import gzip
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.lab.host import HOSTS, Host  # noqa: E402

TARGET = Path(__file__).parents[1] / "data" / "journal" / "verdicts.journal.gz"
NAMESPACE = "recorded"
FOLDER = f"/var/log/journal/*.{NAMESPACE}"

# by the judge's own words, so that the fields are those of the daemon
_PROGRAM = """
import time
from guardd.journal import Kind
from guardd.journal.writer import send_record
from guardd.judge.finding import *
from guardd.render import journal_fields

E, W = Enforcement.ENFORCE, Enforcement.WARN
missing = [Finding(Code.MISSING_FEATURE, n, n, "", E) for n in ("avx512f", "avx512bw")]
dropped = [Finding(Code.SILENT_DOWNGRADE, n, n, "", W) for n in ("hle", "rtm")]
doubt = [Finding(Code.UNKNOWN_HOST, "old1", "nothing is known of this host")]

def say(name, decision, findings, operation="prepare", refused=False, **more):
    uuid = f"00000000-0000-4000-8000-{len(name):012}"
    fields = journal_fields(Verdict(
        domain=name, uuid=uuid, operation=Operation(operation), decision=Decision(decision),
        refused=refused, findings=tuple(findings), guest_cpu="Skylake-Server",
        host_cpu="Haswell-noTSX, KVM", source="libvirt at 2026-11-22T21:00:00Z",
    ), 900)
    send_record({**fields, **more})
    time.sleep(0.01)

say("web1", "deny", missing, refused=True)
say("web1", "warn", [Finding(f.code, f.subject, f.sentence, "", W) for f in missing], "migrate")
say("database1", "warn", dropped)
say("database1", "allow", [])
say("old1", "cannot-tell", doubt)
say("later12", "deny", missing, refused=True, GUARDD_FINDINGS="colder-than-ice:x")
send_record({"MESSAGE": "web1 would now be refused", "MESSAGE_ID": Kind.DRIFT,
             "GUARDD_DOMAIN": "web1", "GUARDD_REPORT": "drift"})
"""
_FORGED = """
from systemd import journal
journal.send("forged", MESSAGE_ID="9f6d4d0cbbcc46ab8e3c4a42fdc0dcd8", GUARDD_DOMAIN="web1",
             GUARDD_DECISION="deny", GUARDD_REFUSED="yes", GUARDD_REPORT="forged",
             GUARDD_FINDINGS="missing-feature:forged")
"""


def record(host: Host) -> bytes:
    """Write the records into a journal of their own on *host*, and give that."""
    host.shell(f"rm -rf {FOLDER}")
    for user, program in (("root", _PROGRAM), ("nobody", _FORGED)):
        host.run(
            *("systemd-run", "--wait", "--quiet", f"--property=LogNamespace={NAMESPACE}"),
            *(f"--property=User={user}", "python3", "-c", program),
        )
    host.run("journalctl", f"--namespace={NAMESPACE}", "--rotate")
    [path] = host.shell(f"ls {FOLDER}/system@*.journal").stdout.split()
    return base64.b64decode(host.run("base64", path).stdout)


if __name__ == "__main__":
    TARGET.write_bytes(gzip.compress(record(HOSTS[sys.argv[1]]), 9, mtime=0))
