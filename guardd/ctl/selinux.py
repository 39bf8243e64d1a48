"""SELinux, as far as installing the hook has to do with it; where it is off, nothing happens."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

SELINUXFS = Path("/sys/fs/selinux")
HOOK_TYPE = "cpu_guardd_hook_exec_t"  # selinux/cpu_guardd.te
RESTORECON_SECONDS = 20


def is_on(selinuxfs: Path = SELINUXFS) -> bool:
    """Whether the kernel has a policy, enforced or not."""
    return (selinuxfs / "enforce").exists()


def is_enforcing(selinuxfs: Path = SELINUXFS) -> bool:
    """Whether what the policy does not allow is refused, and not only logged."""
    try:
        return (selinuxfs / "enforce").read_text().strip() == "1"
    except OSError:
        return False


def restore_label(path: Path) -> None:
    """Give *path* the label that the policy has for its name; without the tool it keeps its own."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(  # noqa: S603 (the path is ours)
            ["restorecon", "-F", str(path)],  # noqa: S607 (found on root's PATH)
            capture_output=True,
            timeout=RESTORECON_SECONDS,
            check=False,
        )


def type_of(path: Path) -> str:
    """Give the type in the label of *path*, "" where it has none."""
    try:
        label = os.getxattr(path, "security.selinux").decode("ascii", "replace").rstrip("\0")
    except OSError:
        return ""
    return [*label.split(":"), "", "", ""][2]
