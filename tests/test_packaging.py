"""What is installed says what the code does: units, catalog, man pages, configuration, package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import click
import pytest

import guardd
from guardd import __main__ as daemon
from guardd import files, hookfile, render, wire
from guardd.config import KEYS, Config, parse_config
from guardd.ctl import hook, report
from guardd.ctl.main import main as cpu_guardctl
from guardd.journal import Kind
from guardd.judge.finding import Code, Decision, Operation, Verdict
from tests.ctl.commands import subcommands

ROOT = Path(__file__).resolve().parents[1]
CATALOG = ROOT / "systemd/cpu-guardd.catalog"
SERVICE = ROOT / "systemd/cpu-guardd.service"
SOCKET = ROOT / "systemd/cpu-guardd.socket"
SYSUSERS = ROOT / "systemd/cpu-guardd.sysusers"
CONFIG = ROOT / "etc/cpu-guardd/guardd.toml"
HOOK, BUILT = ROOT / "hooks/qemu.c", ROOT / "build/hook"
MAN_PAGES = sorted((ROOT / "man").iterdir())
MAINTAINER_SCRIPTS = ("postinst", "prerm", "postrm")
EXPOSURE = 15  # tenths, of systemd-analyze security

VERDICT = Verdict(
    domain="web1", operation=Operation.PREPARE, decision=Decision.ALLOW, refused=False
)

# what is said of guests besides verdicts
OF_A_GUEST = {Kind.STAMP, Kind.DRIFT, Kind.ADVICE, Kind.DISAGREEMENT, Kind.UNASKED}


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run *command* to its end, whatever its exit status; its stderr is among its output."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def needs(program: str) -> pytest.MarkDecorator:
    """Skip a test where *program* is not installed; under GUARDD_CI=1 none is skipped."""
    lacks = shutil.which(program) is None and os.environ.get("GUARDD_CI") != "1"
    return pytest.mark.skipif(lacks, reason=f"{program} is not installed")


# -- journal


def catalog() -> Mapping[str, tuple[Sequence[str], str]]:
    """Give the catalog's pages by MESSAGE_ID: header lines and explanation."""
    text = "\n".join(line for line in CATALOG.read_text().splitlines() if line[:1] != "#")
    pages = {}
    for page in re.split(r"^-- ", text, flags=re.MULTILINE)[1:]:
        head, _, explanation = page.partition("\n\n")
        identifier, *headers = head.splitlines()
        pages[identifier] = (headers, explanation)
    return pages


def used_message_ids() -> set[str]:
    """Find what looks like a MESSAGE_ID in the program's own text."""
    sources = [HOOK, *(ROOT / "guardd").rglob("*.py")]
    return {
        found for path in sources for found in re.findall(r"\b[0-9a-f]{32}\b", path.read_text())
    }


def hook_fields() -> set[str]:
    """Name the fields of the one record that the hook writes by itself."""
    return set(re.findall(r'(?:"|\\n)([A-Z_]+)=', HOOK.read_text()))


def test_each_message_id_has_a_page() -> None:
    """A record without a page leaves `journalctl -x` silent; a page without a record is dead."""
    assert used_message_ids() == set(catalog())


@pytest.mark.parametrize("identifier", catalog())
def test_page_is_complete(identifier: str) -> None:
    """Each page has the headers of systemd's own, fits a terminal, and explains."""
    headers, explanation = catalog()[identifier]

    assert [line.partition(":")[0] for line in headers] == [
        "Subject",
        "Defined-By",
        "Support",
        "Documentation",
    ]
    assert headers[1] == "Defined-By: cpu-guardd"
    assert len(explanation) > 80
    assert [] == [line for line in explanation.splitlines() if len(line) > 77]


@pytest.mark.parametrize("identifier", catalog())
def test_page_names_only_fields_of_its_record(identifier: str) -> None:
    """A field that the record does not have would be shown as it is written here, with its @."""
    fields = {"MESSAGE"}
    if identifier in {*render.MESSAGE_ID.values(), render.FITS}:
        fields |= set(render.journal_fields(VERDICT, 0))
    elif identifier in OF_A_GUEST:
        fields |= {"GUARDD_DOMAIN", "GUARDD_DOMAIN_UUID", "GUARDD_REPORT"}
    elif identifier in HOOK.read_text():
        fields |= hook_fields()
    headers, explanation = catalog()[identifier]
    named = set(re.findall(r"@([A-Z_]+)@", "\n".join([*headers, explanation])))

    assert set() == named - fields


@pytest.mark.parametrize("code", Code)
def test_each_finding_has_its_page(code: Code) -> None:
    """The page names the guest, what was decided and why, and a command to run."""
    headers, explanation = catalog()[render.MESSAGE_ID[code]]
    is_advice = code in {Code.NEVER_MIGRATES, Code.NO_CHECK, Code.DEFAULT_CPU}

    assert headers[0].startswith("Subject: Guest @GUARDD_DOMAIN@ ")
    assert "\n@GUARDD_REPORT@\n" in explanation
    assert is_advice or "@GUARDD_DECISION@" in explanation
    assert re.search(r"^    (virsh|cpu-guardctl|journalctl|grep) ", explanation, re.MULTILINE)


@needs("journalctl")
def test_journalctl_takes_the_catalog(tmp_path: Path) -> None:
    """Compiled by systemd, the catalog has all pages."""
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    shutil.copy(CATALOG, folder)

    updated = run("journalctl", f"--root={tmp_path}", "--update-catalog")
    listed = run("journalctl", f"--root={tmp_path}", "--list-catalog")

    assert (updated.returncode, updated.stdout) == (0, "")
    assert {line.split()[0] for line in listed.stdout.splitlines()} == set(catalog())


# -- man pages and configuration


def man_words(name: str) -> str:
    """Give a man page's source with what is only typesetting taken away."""
    text = (ROOT / "man" / name).read_text()
    return re.sub(r"\\f[A-Z]", "", text).replace(r"\-", "-").replace(r"\(aq", "'")


def entries(name: str) -> set[str]:
    """Name what has an entry of its own in a man page: the bold words after each .TP."""
    found = re.findall(r"^\.TP\n\.(?:B|BR|BI|I|IR) (.*)$", man_words(name), re.MULTILINE)
    return {word for line in found for word in re.split(r"[\s,\"|]+", line) if word}


@pytest.mark.parametrize("page", MAN_PAGES, ids=lambda page: page.name)
@needs("groff")
def test_man_page_is_clean(page: Path) -> None:
    """Groff has nothing to say about the page."""
    assert run("groff", "-man", "-Tutf8", "-ww", "-z", page).stdout == ""


@pytest.mark.parametrize("page", MAN_PAGES, ids=lambda page: page.name)
def test_man_page_is_of_this_version(page: Path) -> None:
    """The footer names the version that the page came with."""
    title = page.read_text().splitlines()[0]

    assert title.endswith(f'"cpu-guardd {guardd.__version__}"')


@pytest.mark.parametrize("code", Code)
def test_finding_is_explained(code: Code) -> None:
    """A code on a terminal leads to its entry in cpu-guardd(8); a rule also to guardd.toml(5)."""
    assert code in entries("cpu-guardd.8")
    assert (code in entries("guardd.toml.5")) is not code.is_doubt


@pytest.mark.parametrize("key", KEYS)
def test_key_is_documented(key: str) -> None:
    """Each key stands in the man page and in guardd.toml."""
    is_table = f"[{key}]" in CONFIG.read_text()
    header = rf"^\.SS \[{key}\]$" if is_table else rf"^\.TP\n\.B {key}$"

    assert re.search(header, man_words("guardd.toml.5"), re.MULTILINE)
    assert is_table or re.search(rf"^#{key} = ", CONFIG.read_text(), re.MULTILINE)


def uncommented() -> bytes:
    """Give guardd.toml with each key that it shows set to what it shows."""
    shown = re.sub(r'^#(?=["\w-]+ = )', "", CONFIG.read_text(), flags=re.MULTILINE)
    return shown.encode()


def test_configuration_as_shipped_sets_nothing() -> None:
    """Every key is commented out."""
    assert parse_config([("guardd.toml", CONFIG.read_bytes())]) == Config()


def test_configuration_shows_the_defaults() -> None:
    """With every key uncommented it parses, and but for the examples nothing is changed."""
    config = parse_config([("guardd.toml", uncommented())])

    assert config.policy.guests
    assert config.policy.ceilings
    without_examples = config.policy._replace(guests=MappingProxyType({}), ceilings=())
    assert config._replace(policy=without_examples) == Config()


def test_examples_of_the_man_page_parse() -> None:
    """What an administrator copies from guardd.toml(5) is good configuration."""
    text = man_words("guardd.toml.5").partition(".SH EXAMPLES")[2]
    examples = re.findall(r"^\.EX\n(.*?)^\.EE$", text, re.MULTILINE | re.DOTALL)

    assert [
        example for example in examples if parse_config([("", example.encode())]) == Config()
    ] == []


def commands(group: click.Group, name: str) -> list[tuple[str, click.Command]]:
    """List all commands below *group* with their names in full."""
    found = []
    for word, command in subcommands(group).items():
        if isinstance(command, click.Group):
            found += commands(command, f"{name}{word} ")
        else:
            found.append((name + word, command))
    return found


@pytest.mark.parametrize(("name", "command"), commands(cpu_guardctl, ""))
def test_command_is_documented(name: str, command: click.Command) -> None:
    """Each command stands in the synopsis and has an entry, and so has each of its options."""
    page = man_words("cpu-guardctl.1")

    assert re.search(rf"^\.B cpu-guardctl {name}$", page, re.MULTILINE)
    assert re.search(rf"^\.TP\n\.(B|BR|BI) {name}\b", page, re.MULTILINE)
    assert set() == options(command) - entries("cpu-guardctl.1")


def options(command: click.Command) -> set[str]:
    """Name the options of one command."""
    found = (parameter.opts for parameter in command.params if isinstance(parameter, click.Option))
    return {option for names in found for option in names}


def test_daemon_options_are_documented() -> None:
    """Each option of the daemon has its entry."""
    assert set() == options(daemon.main) - entries("cpu-guardd.8")


def test_journal_fields_are_documented() -> None:
    """Scripts go by the fields: each of ours has its entry."""
    fields = hook_fields() | set(render.journal_fields(VERDICT, 0))

    assert {name for name in fields if name.startswith("GUARDD_")} <= entries("cpu-guardd.8")


# -- units


def settings(unit: Path) -> Mapping[str, str]:
    """Give the settings of a unit file; of those that stand twice, the last."""
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))


def test_units_say_what_the_code_says() -> None:
    """Names that stand in a unit and in a module are the same."""
    service, socket = settings(SERVICE), settings(SOCKET)

    assert socket["ListenStream"] == wire.SOCKET_PATH
    assert f'"{wire.SOCKET_PATH}"' in HOOK.read_text()
    assert Path("/var/lib", service["StateDirectory"]) == files.STATE_DIRECTORY
    # what a killed daemon leaves there the next one finds, and nobody else
    assert "0700" == service["RuntimeDirectoryMode"]
    assert "yes" == service["RuntimeDirectoryPreserve"]
    assert f"/run/{service['RuntimeDirectory']}/{daemon.OWED}" in man_words("cpu-guardd.8")
    assert Path("/etc", service["ConfigurationDirectory"]) == files.CONFIG_DIRECTORY
    assert service["RestartPreventExitStatus"] == str(daemon.EX_CONFIG)
    assert service["ConfigurationDirectoryMode"] == service["StateDirectoryMode"] == "0755"


@pytest.fixture
def staged_units(tmp_path: Path) -> list[Path]:
    """Both units, the service with a program that exists on every host."""
    service, socket = tmp_path / SERVICE.name, tmp_path / SOCKET.name
    text = SERVICE.read_text()
    service.write_text(re.sub("^ExecStart=.*", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    shutil.copy(SOCKET, socket)
    return [service, socket]


@needs("systemd-analyze")
def test_units_verify(staged_units: list[Path]) -> None:
    """Systemd knows all settings; it only warns of what it does not know."""
    verified = run("systemd-analyze", "verify", "--man=no", *staged_units)

    assert (verified.returncode, verified.stdout) == (0, "")


@needs("systemd-analyze")
def test_service_is_confined(staged_units: list[Path]) -> None:
    """The service's exposure stays low, by systemd's own measure."""
    measured = run(
        "systemd-analyze",
        "security",
        "--no-pager",
        "--offline=yes",
        f"--threshold={EXPOSURE}",
        staged_units[0],
    )

    assert measured.returncode == 0, measured.stdout


@needs("systemd-sysusers")
def test_users_of_the_units_are_made(tmp_path: Path) -> None:
    """The user is a member of each group that the units name, on a host that has none of them."""
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}", SYSUSERS)
    text = (tmp_path / "etc/group").read_text()
    groups = {line.split(":")[0]: line.split(":")[3].split(",") for line in text.splitlines()}
    service, socket = settings(SERVICE), settings(SOCKET)
    named = {*service["SupplementaryGroups"].split(), socket["SocketGroup"]}

    assert made.returncode == 0, made.stdout
    assert service["User"] in (tmp_path / "etc/passwd").read_text()
    assert service["Group"] in groups
    assert {name: [service["User"]] for name in named} == {name: groups[name] for name in named}


# -- make install


def make(target: str, destination: Path, prefix: str) -> None:
    """Run one target of the Makefile, staged."""
    done = run("make", target, f"DESTDIR={destination}", f"PREFIX={prefix}")
    assert done.returncode == 0, done.stdout


def leaves(folder: Path) -> set[str]:
    """Name what is below *folder*, empty folders of ours too."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.is_dir() or path.name in ("guardd", "cpu-guardd")
    }


@pytest.mark.parametrize("prefix", ["/usr", "/usr/local"])
@needs("make")
def test_install_and_uninstall(tmp_path: Path, prefix: str) -> None:
    """What is installed finds its other parts, a second install is the same, and all of it goes."""
    make("install", tmp_path, prefix)
    installed = leaves(tmp_path)
    make("install", tmp_path, prefix)

    below = tmp_path / prefix.lstrip("/")
    unit = below / "lib/systemd/system/cpu-guardd.service"
    program = tmp_path / settings(unit)["ExecStart"].lstrip("/")
    assert installed == leaves(tmp_path)
    assert program.stat().st_mode & 0o777 == 0o755
    assert program.read_text().startswith("#!/usr/bin/python3 -I\n")
    assert (below / "libexec/cpu-guardd/hook").read_bytes() == BUILT.read_bytes()
    assert (below / "libexec/cpu-guardd/hook").stat().st_mode & 0o777 == hook.MODE
    assert (tmp_path / "etc/cpu-guardd/guardd.toml").read_bytes() == CONFIG.read_bytes()
    assert {path.name for path in MAN_PAGES} <= {Path(name).name for name in installed}
    assert report.TEMPLATE in {Path(name).name for name in installed}
    docs = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*") if path.is_file()}
    assert {f"{prefix[1:]}/share/doc/cpu-guardd/{name}" for name in docs} <= installed

    make("uninstall", tmp_path, prefix)
    assert set() == leaves(tmp_path)


@needs("make")
def test_changed_configuration_is_kept(tmp_path: Path) -> None:
    """Neither install nor uninstall touches what an administrator wrote."""
    config = tmp_path / "etc/cpu-guardd/guardd.toml"
    config.parent.mkdir(parents=True)
    config.write_text('mode = "warn"\n')

    make("install", tmp_path, "/usr")
    make("uninstall", tmp_path, "/usr")

    assert {"etc/cpu-guardd", "etc/cpu-guardd/guardd.toml"} == leaves(tmp_path)
    assert config.read_text() == 'mode = "warn"\n'


@needs("make")
def test_prefix_that_python_does_not_know_is_refused() -> None:
    """Modules there would not be found by the hook."""
    assert run("make", "-n", "install", "PREFIX=/opt/cpu-guardd").returncode != 0


# -- the Debian package


def test_package_is_of_this_version() -> None:
    """`make deb` names its result by the module's version."""
    first = (ROOT / "debian/changelog").read_text().splitlines()[0]

    assert first.startswith(f"cpu-guardd ({guardd.__version__}) ")


@pytest.mark.parametrize("name", ["service", "socket", "sysusers"])
def test_package_has_the_units_of_systemd_folder(name: str) -> None:
    """They exist once; debhelper takes them from where it looks for them."""
    link = ROOT / f"debian/cpu-guardd.{name}"

    assert link.resolve() == ROOT / f"systemd/cpu-guardd.{name}"


@pytest.mark.parametrize("name", MAINTAINER_SCRIPTS)
def test_maintainer_script_is_shell(name: str) -> None:
    """The scripts parse, and have debhelper's part."""
    script = ROOT / f"debian/cpu-guardd.{name}"

    assert run("sh", "-n", script).returncode == 0
    assert "\n#DEBHELPER#\n" in script.read_text()


@pytest.mark.parametrize("name", ["postinst", "prerm"])
def test_hook_is_known_without_its_program(name: str) -> None:
    """The scripts know the hook by the words and at the places that cpu-guardctl knows it by."""
    script = (ROOT / f"debian/cpu-guardd.{name}").read_text()

    assert hookfile.MARK in BUILT.read_bytes()
    assert f'"{hookfile.MARK.decode()}"' in script
    names = (hookfile.MAIN, hookfile.DROP_IN)
    assert all(str(hookfile.HOOKS / name) in script for name in names)


def test_tools_are_pinned() -> None:
    """Each tool of `make check` has one version, so that its verdict is the same everywhere."""
    text = (ROOT / "requirements-dev.txt").read_text()
    lines = [line for line in text.splitlines() if line[:1] != "#"]

    assert [line for line in lines if not re.fullmatch(r"[\w-]+==[\d.]+", line)] == []


# -- metrics

METRICS_SOCKET = ROOT / "systemd/cpu-guardd-metrics.socket"
METRICS_UNITS = sorted(
    path for path in (ROOT / "systemd").iterdir() if re.match(r"cpu-guardd-\w+\.", path.name)
)
METRICS_PAGE = ROOT / "docs/metrics.md"
ALERTS = ROOT / "docs/prometheus-alerts.yml"


@pytest.mark.parametrize("unit", METRICS_UNITS, ids=lambda unit: unit.name)
def test_package_has_the_units_of_metrics(unit: Path) -> None:
    """They are named after the package and after themselves, as debhelper wants it."""
    link = ROOT / f"debian/cpu-guardd.{unit.name}"

    assert link.resolve() == unit
    assert f"{unit.stem}" in (ROOT / "debian/rules").read_text()


@needs("systemd-analyze")
def test_units_of_metrics_are_good_and_confined(tmp_path: Path) -> None:
    """Systemd knows all their settings; those that serve are confined as the daemon is."""
    for unit in METRICS_UNITS:
        text = re.sub("^ExecStart=.*", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
    staged = sorted(tmp_path.iterdir())
    verified = run("systemd-analyze", "verify", "--man=no", *staged)
    measured = [
        run(
            *("systemd-analyze", "security", "--no-pager", "--offline=yes"),
            *(f"--threshold={EXPOSURE}", unit),
        )
        for unit in staged
        if unit.suffix == ".service"
    ]

    assert (verified.returncode, verified.stdout) == (0, "")
    assert [0, 0] == [one.returncode for one in measured]


def test_metrics_are_for_this_host_only() -> None:
    """One address, everywhere the same."""
    address = settings(METRICS_SOCKET)["ListenStream"]

    assert address.startswith("127.0.0.1:")
    assert f"http://{address}/metrics" in METRICS_PAGE.read_text()
    assert f'targets: ["{address}"]' in METRICS_PAGE.read_text()
    assert f"http://{address}/metrics" in man_words("cpu-guardd.8")


def metric_names(text: str) -> set[str]:
    """Find names of metrics in *text*; those of a histogram's series as the histogram's."""
    found = re.findall(r"\bcpu_guardd_[a-z_]+\b", text)
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}


def test_metrics_are_documented() -> None:
    """Each family has its row, and neither the page nor an alert names one that there is not."""
    pytest.importorskip("prometheus_client")
    from guardd.metrics import exposition  # noqa: PLC0415 (it needs that package)
    from tests.test_metrics import numbers  # noqa: PLC0415 (it needs that package)

    there = metric_names(exposition(numbers()).decode())
    rows = set(re.findall(r"^\| `(cpu_guardd_\w+)`", METRICS_PAGE.read_text(), re.MULTILINE))

    assert there == rows
    assert metric_names(METRICS_PAGE.read_text()) <= there
    assert metric_names(ALERTS.read_text()) <= there


def test_events_are_documented() -> None:
    """Each event that has a series from the start is explained."""
    pytest.importorskip("prometheus_client")
    from guardd.metrics import EVENTS  # noqa: PLC0415 (it needs that package)

    text = METRICS_PAGE.read_text().partition("| event | |")[2].partition("\n\n")[0]

    assert set(EVENTS) == set(re.findall(r"`(\w+)`", text))
    assert set(re.findall(r'event="(\w+)"', ALERTS.read_text())) <= set(EVENTS)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_alerts_are_good() -> None:
    """Prometheus takes the rules, and they say what they should."""
    cases = ROOT / "tests/data/prometheus-alerts-test.yml"

    checked = run("promtool", "check", "rules", ALERTS)
    tested = run("promtool", "test", "rules", cases)

    assert checked.returncode == 0, checked.stdout
    assert tested.returncode == 0, tested.stdout
