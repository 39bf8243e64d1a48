"""The RPM spec: what `make install` installs is in the package, and the package can be built.

On Debian the macros of Fedora's packages are stand-ins (tests/rpm/macros): the build is real, the
scriptlets of systemd's and SELinux' macros are not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import guardd
from guardd import hookfile

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "rpm/cpu-guardd.spec"
POLICY = ROOT / "selinux/cpu_guardd.te"
MACROS = ROOT / "tests/rpm/macros"
SCRIPTLETS = ("pre", "preun", "post", "postun", "posttrans")
SECTION = re.compile(
    r"^%(package|description|prep|build|install|check|files|changelog|pre|preun|post|postun"
    r"|posttrans)\b ?(.*)$"
)


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program is not installed; under GUARDD_CI=1 none is skipped."""
    absent = [program for program in programs if shutil.which(program) is None]
    lacks = bool(absent) and os.environ.get("GUARDD_CI") != "1"
    return pytest.mark.skipif(lacks, reason=f"not installed: {', '.join(absent)}")


def run(*command: str | Path) -> str:
    """Run *command* in the tree, which must succeed; give its stdout."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stand_ins() -> list[str]:
    """Give rpm's options for a machine without Fedora's macros."""
    has_macros = "%" not in run("rpm", "--eval", "%{_unitdir}%{python3_sitelib}")
    return [] if has_macros else ["--load", str(MACROS)]


@pytest.fixture(scope="module")
def sections() -> dict[str, list[str]]:
    """Give the spec's sections by "name package", expanded as rpm expands them."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in run("rpmspec", *stand_ins(), "-P", SPEC).splitlines():
        if section := SECTION.match(line):
            name = " ".join(section.groups()).strip()
        found.setdefault(name, []).append(line)
    return found


def listed(lines: list[str]) -> list[str]:
    """Give the patterns of a list of files; one of a folder with all that is in it has a "/*"."""
    patterns = []
    for line in filter(None, lines[1:]):
        *marks, path = line.split()
        if path.startswith("/") and marks != ["%dir"]:
            patterns.append(path)
            patterns.append(f"{path.rstrip('/')}/*")
    return patterns


@needs("rpmspec", "make")
def test_every_file_is_packaged(sections: dict[str, list[str]], tmp_path: Path) -> None:
    """What `make install` puts there is listed, and what is listed is put there."""
    run("make", "install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    installed = [
        str(Path("/", path.relative_to(tmp_path))) for path in tmp_path.rglob("*") if path.is_file()
    ]
    patterns = listed(sections["files"])

    assert installed
    assert [] == [path for path in installed if not any(fnmatchcase(path, p) for p in patterns)]
    assert [] == [p for p in patterns[::2] if not list(tmp_path.glob(p.strip("/")))]


@needs("rpmspec")
def test_package_is_of_this_version() -> None:
    """The spec and the policy module are released with the rest."""
    query = run("rpmspec", *stand_ins(), "-q", "--qf", "%{name} %{version}\n", SPEC)

    assert [f"{name} {guardd.__version__}" for name in ("cpu-guardd", "cpu-guardd-selinux")] == (
        query.splitlines()
    )
    assert f"policy_module(cpu_guardd, {guardd.__version__})" in POLICY.read_text()
    assert re.search(rf"^\* .* - {guardd.__version__}-", SPEC.read_text(), re.MULTILINE)


@needs("rpmspec")
def test_scriptlets_are_shell(sections: dict[str, list[str]], tmp_path: Path) -> None:
    """Each of them parses."""
    scriptlets = [name for name in sections if name.partition(" ")[0] in SCRIPTLETS]

    assert {"preun", "post", "postun", "posttrans"} <= set(scriptlets)
    assert {"pre selinux", "post selinux", "postun selinux"} <= set(scriptlets)
    for name in scriptlets:
        script = tmp_path / "script"
        script.write_text("\n".join(sections[name][1:]) + "\n")
        run("sh", "-n", script)


@needs("rpmspec")
@pytest.mark.parametrize("scriptlet", ["preun", "posttrans"])
def test_hook_is_known_without_its_program(sections: dict[str, list[str]], scriptlet: str) -> None:
    """The scriptlets know the hook by the words and at the places that cpu-guardctl knows it by."""
    text = "\n".join(sections[scriptlet])

    assert f'"{hookfile.MARK.decode()}"' in text
    assert all(str(hookfile.HOOKS / name) in text for name in (hookfile.MAIN, hookfile.DROP_IN))


@pytest.mark.slow
@needs("rpmbuild", "rpm", "make", "checkmodule", "bzip2")
def test_build(tmp_path: Path) -> None:
    """Both packages come out, from a tarball, with the policy compiled."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "dist", "__pycache__"))
    flags = " ".join(["--nodeps", *stand_ins()])
    run("make", "-C", tree, "rpm", f"RPMBUILD_FLAGS={flags}")
    (package,) = (tree / "dist").glob(f"cpu-guardd-{guardd.__version__}-*.[!s]*.rpm")
    (policy,) = (tree / "dist").glob("cpu-guardd-selinux-*.noarch.rpm")
    ours, selinux = (run("rpm", "-qpl", path).splitlines() for path in (package, policy))
    requires = run("rpm", "-qp", "--requires", package)

    assert ["/etc/cpu-guardd/guardd.toml"] == run("rpm", "-qpc", package).split()
    assert "/usr/libexec/cpu-guardd/hook" in ours
    assert "/usr/share/selinux/packages/targeted/cpu_guardd.pp.bz2" in selinux
    assert "if selinux-policy-targeted)" in requires
