"""Checks of what is around: the journal, its catalog, SELinux, AppArmor."""

from __future__ import annotations

from collections.abc import Sequence

from guardd import render
from guardd.ctl import selinux
from guardd.ctl.bounded import run_program
from guardd.ctl.doctor.checked import Checked, broken, ok, skipped, unknown, warning
from guardd.ctl.doctor.hook import INSTALL, NEEDS_ROOT, reinstall
from guardd.ctl.doctor.scene import Scene
from guardd.hookfile import places
from guardd.journal import reader
from guardd.watch.unasked import BY_HAND

JOURNAL_SECONDS = 3.0  # for a record to get there
PAGES = "usr/lib/systemd/catalog/cpu-guardd.catalog"
READ_MORE = "less /usr/share/doc/cpu-guardd/docs/security-modules.md"
DENIED = 'avc: *denied|apparmor="DENIED"'
OURS = ("cpu_guardd", "cpu-guardd", "guard.sock", "libvirt/hooks")

_KEEP = (
    "mkdir -p /var/log/journal && systemd-tmpfiles --create --prefix /var/log/journal"
    " && journalctl --flush"
)


def check_journal(scene: Scene) -> Checked:
    """Look for the record of the guest that was judged by hand."""
    name = "journal"
    if not scene.is_root:
        return unknown(name, f"whether verdicts reach the journal: {NEEDS_ROOT}")
    if scene.status is None:
        return skipped(name, "there is no daemon that could write")
    record = reader.await_verdict(BY_HAND, scene.begun, JOURNAL_SECONDS)
    if record is None:
        found = f"no record of a verdict came within {JOURNAL_SECONDS:.0f} s"
        return broken(name, found, "systemctl restart systemd-journald.service")
    if not any((scene.site.root / "var/log/journal").glob("*/*.journal")):
        return warning(name, "verdicts reach it; it is gone after a reboot", _KEEP)
    return ok(name, "verdicts reach it, and it is kept on disk")


def check_catalog(scene: Scene) -> Checked:
    """Look whether `journalctl -x` has the page of a refusal."""
    name = "catalog"
    listed = run_program(["journalctl", "--quiet", "--list-catalog", render.FITS])
    if listed.status == 0 and listed.out.strip():
        return ok(name, "journalctl -x explains verdicts")
    found = "journalctl -x has no page of cpu-guardd"
    if (scene.site.root / PAGES).exists():
        return warning(name, found, "journalctl --update-catalog")
    return warning(name, f"{found}: /{PAGES} is missing", reinstall(scene.site.root))


def check_selinux(scene: Scene) -> Checked:
    """Look whether SELinux lets libvirt run the hook."""
    name = "selinux"
    if not selinux.is_on(scene.site.selinuxfs):
        return ok(name, "off")
    ours = next((place.path for place in places(scene.site.hooks) if place.is_ours), None)
    if ours is None:
        return skipped(name, "there is no hook")
    label = selinux.type_of(ours)
    if label != selinux.HOOK_TYPE:
        found = f"{ours} is labelled {label or 'nothing'}, not {selinux.HOOK_TYPE}"
        if not selinux.is_enforcing(scene.site.selinuxfs):
            return warning(name, f"{found}; the policy is not enforced", INSTALL)
        mend = f"dnf install cpu-guardd-selinux && {INSTALL}"
        return broken(name, f"{found}: libvirt may not run it, and no guest starts", mend)
    if denied := _denied("avc:"):
        return broken(name, f"denied in the last day: {denied[-1]}", READ_MORE)
    enforced = "enforced" if selinux.is_enforcing(scene.site.selinuxfs) else "not enforced"
    return ok(name, f"{enforced}; the hook has its label")


def check_apparmor(scene: Scene) -> Checked:
    """Look whether AppArmor kept the hook from anything."""
    name = "apparmor"
    try:
        switch = (scene.site.root / "sys/module/apparmor/parameters/enabled").read_text()
    except OSError:
        switch = "N"
    if switch.strip() != "Y":
        return ok(name, "off")
    if not scene.is_root:
        return unknown(name, f"what it denied: {NEEDS_ROOT}")
    if denied := _denied("apparmor="):
        return broken(name, f"denied in the last day: {denied[-1]}", READ_MORE)
    try:
        profiles = (scene.site.root / "sys/kernel/security/apparmor/profiles").read_text()
    except OSError:
        profiles = ""
    daemons = ("libvirtd", "virtqemud", "/usr/sbin/libvirtd", "/usr/sbin/virtqemud")
    enforced = [line for line in profiles.splitlines() if line.split(" ")[0] in daemons]
    return ok(
        name, f"nothing of ours was denied; {', '.join(enforced) or 'libvirtd is unconfined'}"
    )


def _denied(kind: str) -> Sequence[str]:
    """Give what the kernel denied of ours in the last day, by the journal, oldest first."""
    asked = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--since=-24h"]
    answer = run_program([*asked, f"--grep={DENIED}", "_TRANSPORT=audit", "+", "_TRANSPORT=kernel"])
    lines = answer.out.splitlines()
    return [line for line in lines if kind in line and any(word in line for word in OURS)]
