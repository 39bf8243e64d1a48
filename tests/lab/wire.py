"""The private wire: a bridge and the hosts' ends of it, each in a network namespace of its own.

The namespaces are bound to files in the state folder, so that labs with different state folders
share no name, and nothing shows up among the machine's own named namespaces.
"""

from collections.abc import Iterable
from pathlib import Path

from tests.lab.mounts import is_mounted
from tests.lab.nodes import PREFIX_LENGTH, Node, state_dir
from tests.lab.process import execute

_BRIDGE = "wire"


def namespace(name: str) -> Path:
    """The file that holds the network namespace of host *name*, or of the wire itself."""
    return state_dir() / "netns" / name


def connect(nodes: Iterable[Node]) -> None:
    """Make what is missing of the wire and of the *nodes*' links; idempotent."""
    if _made(_BRIDGE):
        _ip(_BRIDGE, f"link add {_BRIDGE} type bridge", f"link set {_BRIDGE} up")
    links = execute([*_inside(_BRIDGE), "ip", "-brief", "link"]).stdout
    present = {line.split("@")[0].split()[0] for line in links.splitlines()}
    for node in nodes:
        _made(node.name)
        if node.name not in present:
            _connect(node)


def _connect(node: Node) -> None:
    _ip(
        _BRIDGE,
        f"link add {node.name} type veth peer name eth0 netns {namespace(node.name)}",
        f"link set {node.name} master {_BRIDGE} up",
    )
    _ip(
        node.name,
        "link set lo up",
        f"addr add {node.address}/{PREFIX_LENGTH} dev eth0",
        "link set eth0 up",
    )


def _made(name: str) -> bool:
    path = namespace(name)
    if is_mounted(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    execute(["unshare", f"--net={path}", "true"])
    return True


def _inside(name: str) -> list[str]:
    return ["nsenter", f"--net={namespace(name)}"]


def _ip(name: str, *commands: str) -> None:
    execute([*_inside(name), "ip", "-batch", "-"], stdin="\n".join(commands))


def disconnect() -> None:
    """Take the whole wire down: a namespace that nothing runs in takes its links with it."""
    folder = namespace(_BRIDGE).parent
    for path in sorted(folder.glob("*")):
        if is_mounted(path):
            execute(["umount", str(path)])
        path.unlink()
