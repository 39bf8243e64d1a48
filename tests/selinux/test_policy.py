"""The SELinux module compiled, linked into Debian's policy, and asked what it allows.

Debian's policy stands in for Fedora's, which Debian does not package: what Fedora's has besides, as
far as the module speaks of it, is declared in fedora_stub.te. So these tests show that the rules
get into a policy and break no neverallow of it; they do not show a Fedora that enforces them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEVEL = Path("/usr/share/selinux/devel/Makefile")
TOOLS = ("checkmodule", "semodule", "sesearch", "matchpathcon", "make", "gawk", "apt-get", "dpkg")
POLICY = "default"  # the name of Debian's policy that is no MLS policy


def is_missing() -> str:
    """Say what this machine lacks to build a policy, "" for nothing."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return ", ".join([*absent, *([] if DEVEL.exists() else ["selinux-policy-dev"])])


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(is_missing()) and os.environ.get("GUARDD_CI") != "1",
        reason=f"not installed: {is_missing()}",
    ),
]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run *command*, which must succeed; give its output."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy that is compiled, and its file contexts; neither is loaded."""

    binary: Path
    contexts: Path

    def rules(self, *arguments: str) -> list[str]:
        """Give the rules that sesearch finds."""
        return run("sesearch", *arguments, self.binary).splitlines()

    def allows(self, source: str, target: str, permission: str) -> bool:
        """Whether *source* has "class:permission" on *target*."""
        kind, _, name = permission.partition(":")
        return bool(self.rules("-A", "-s", source, "-t", target, "-c", kind, "-p", name))

    def label(self, path: str) -> str:
        """Give the type that a regular file of that name gets."""
        found = run("matchpathcon", "-n", "-m", "file", "-f", self.contexts, path)
        return found.split(":")[2]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the module, and what stands in for Fedora's policy."""
    folder = tmp_path_factory.mktemp("modules")
    for source in [*(ROOT / "selinux").iterdir(), *Path(__file__).parent.glob("fedora_stub.*")]:
        shutil.copy(source, folder)
    run("make", "-f", DEVEL, "NAME=devel", "cpu_guardd.pp", "fedora_stub.pp", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def policy(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """Link the module into Debian's policy, in a folder of its own, with neverallows checked."""
    folder = tmp_path_factory.mktemp("policy")
    run("apt-get", "download", f"selinux-policy-{POLICY}", cwd=folder)
    run("dpkg", "-x", next(folder.glob("*.deb")), folder)
    (folder / f"var/lib/selinux/{POLICY}").mkdir(parents=True, exist_ok=True)
    (folder / f"etc/selinux/{POLICY}/policy").mkdir(parents=True, exist_ok=True)
    (folder / "etc/selinux/semanage.conf").write_text("module-store = direct\nexpand-check=1\n")
    debian = sorted((folder / f"usr/share/selinux/{POLICY}").glob("*.pp.bz2"))
    store = ("semodule", "-p", folder, "-s", POLICY, "-n")
    run(*store, "-X", "100", *(word for path in debian for word in ("-i", path)))
    ours = (modules / "fedora_stub.pp", modules / "cpu_guardd.pp")
    run(*store, "-X", "200", *(word for path in ours for word in ("-i", path)))
    below = folder / "etc/selinux" / POLICY
    return Policy(
        binary=next(below.glob("policy/policy.*")), contexts=below / "contexts/files/file_contexts"
    )


@pytest.mark.parametrize(
    ("source", "entry", "target"),
    [
        ("virtqemud_t", "cpu_guardd_hook_exec_t", "cpu_guardd_hook_t"),
        ("virtd_t", "cpu_guardd_hook_exec_t", "cpu_guardd_hook_t"),
        ("init_t", "cpu_guardd_exec_t", "cpu_guardd_t"),
    ],
)
def test_domain_is_entered(policy: Policy, source: str, entry: str, target: str) -> None:
    """By executing the program; nobody has to ask for it."""
    found = policy.rules("-T", "-s", source, "-t", entry, "-c", "process")

    assert [f"type_transition {source} {entry}:process {target};"] == found
    assert policy.allows(source, target, "process:transition")
    assert policy.allows(source, entry, "file:execute")
    assert policy.allows(target, entry, "file:entrypoint")


@pytest.mark.parametrize(
    ("source", "target", "permission"),
    [
        # the verdict path
        ("cpu_guardd_hook_t", "virtqemud_t", "fifo_file:read"),
        ("cpu_guardd_hook_t", "virtqemud_t", "fifo_file:write"),
        ("cpu_guardd_hook_t", "cpu_guardd_var_run_t", "sock_file:write"),
        ("cpu_guardd_hook_t", "cpu_guardd_t", "unix_stream_socket:connectto"),
        ("cpu_guardd_t", "cpu_guardd_t", "unix_stream_socket:accept"),
        # judging alone
        ("cpu_guardd_hook_t", "bin_t", "file:execute_no_trans"),
        ("cpu_guardd_hook_t", "lib_t", "file:execute"),
        ("cpu_guardd_hook_t", "cpu_guardd_var_lib_t", "file:read"),
        ("cpu_guardd_hook_t", "cpu_guardd_hook_t", "capability:dac_read_search"),
        ("cpu_guardd_hook_t", "etc_t", "file:read"),
        ("cpu_guardd_hook_t", "usr_t", "file:read"),
        ("cpu_guardd_hook_t", "proc_t", "file:read"),
        ("cpu_guardd_hook_t", "qemu_exec_t", "file:getattr"),
        ("cpu_guardd_hook_t", "syslogd_t", "unix_dgram_socket:sendto"),
        ("cpu_guardd_hook_t", "cpu_guardd_hook_t", "process:sigkill"),
        # the way to the hook's own file
        ("cpu_guardd_hook_t", "virt_etc_t", "dir:search"),
        ("cpu_guardd_hook_t", "virt_hook_t", "dir:search"),
        ("virtqemud_t", "virt_hook_t", "dir:read"),
        # the daemon
        ("init_t", "cpu_guardd_t", "process2:nnp_transition"),
        ("init_t", "cpu_guardd_t", "unix_stream_socket:listen"),
        ("init_t", "cpu_guardd_var_run_t", "sock_file:create"),
        ("cpu_guardd_t", "cpu_guardd_var_lib_t", "file:rename"),
        ("cpu_guardd_t", "kvm_device_t", "chr_file:ioctl"),
        ("cpu_guardd_t", "virtd_t", "unix_stream_socket:connectto"),
        ("cpu_guardd_t", "virt_etc_t", "file:read"),
        ("cpu_guardd_t", "qemu_exec_t", "file:getattr"),
        ("cpu_guardd_t", "syslogd_t", "unix_dgram_socket:sendto"),
        ("cpu_guardd_t", "init_t", "unix_dgram_socket:sendto"),
        ("virtqemud_t", "cpu_guardd_t", "file:read"),
    ],
)
def test_allowed(policy: Policy, source: str, target: str, permission: str) -> None:
    """What the hook and the daemon need is allowed."""
    assert policy.allows(source, target, permission)


@pytest.mark.parametrize(
    ("source", "target", "permission"),
    [
        ("cpu_guardd_hook_t", "cpu_guardd_var_lib_t", "file:write"),
        ("cpu_guardd_hook_t", "etc_t", "file:write"),
        ("cpu_guardd_hook_t", "virt_etc_rw_t", "file:read"),  # guests' secrets
        ("cpu_guardd_hook_t", "virtd_t", "unix_stream_socket:connectto"),  # it would deadlock
        ("cpu_guardd_hook_t", "kvm_device_t", "chr_file:write"),
        ("cpu_guardd_hook_t", "cpu_guardd_hook_t", "capability:dac_override"),
        ("cpu_guardd_t", "virt_etc_rw_t", "file:read"),
        ("cpu_guardd_t", "etc_t", "file:write"),
        ("cpu_guardd_t", "cpu_guardd_t", "process:execmem"),
        ("cpu_guardd_t", "cpu_guardd_t", "capability:dac_override"),
        ("virtqemud_t", "virt_hook_t", "file:execute"),  # others' hooks are as they were
    ],
)
def test_not_allowed(policy: Policy, source: str, target: str, permission: str) -> None:
    """What they have no business with stays forbidden."""
    assert not policy.allows(source, target, permission)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/etc/libvirt/hooks/qemu", "virt_hook_t"),  # may be anybody's
        ("/etc/libvirt/hooks/qemu.d/10-other", "virt_hook_t"),
        ("/etc/libvirt/hooks/qemu.d/50-cpu-guardd", "cpu_guardd_hook_exec_t"),
        ("/etc/libvirt/hooks/qemu.d/.cpu-guardd-a1b2", "cpu_guardd_hook_exec_t"),
        ("/usr/libexec/cpu-guardd/hook", "cpu_guardd_hook_exec_t"),
        ("/usr/sbin/cpu-guardd", "cpu_guardd_exec_t"),
        ("/usr/bin/cpu-guardd", "cpu_guardd_exec_t"),
        ("/usr/bin/cpu-guardctl", "bin_t"),
        ("/var/lib/cpu-guardd/snapshot.json", "cpu_guardd_var_lib_t"),
        ("/run/cpu-guardd/guard.sock", "cpu_guardd_var_run_t"),
        ("/var/run/cpu-guardd/guard.sock", "cpu_guardd_var_run_t"),
        ("/etc/cpu-guardd/guardd.toml", "etc_t"),
    ],
)
def test_labels(policy: Policy, path: str, label: str) -> None:
    """Files get their labels by name, and a relabelled system keeps them."""
    assert label == policy.label(path)
