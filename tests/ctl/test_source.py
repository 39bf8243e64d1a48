"""Hosts as the command line names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardd.ctl.source import SSH, Far, Source, far_host, labels


@pytest.mark.parametrize(
    ("uri", "host", "ssh"),
    [
        ("qemu+tcp://hostb/system", "hostb", None),
        ("qemu+tls://hostb:16514/system", "hostb", None),
        ("qemu:///system", "", None),
        ("test:///default", "", None),
        ("qemu+libssh2://hostb/system", "hostb", None),
        ("qemu+ssh://hostb/system", "hostb", SSH(host="hostb")),
        ("qemu+ssh://[fe80::1]:22/system", "fe80::1", SSH(host="fe80::1", port=22)),
        ("qemu+ssh://a%40b@hostb/system", "hostb", SSH(host="hostb", user="a@b")),
        (
            "qemu+ssh://hostb/system?keyfile=/a+b%20c&socket=/s&no_verify=1&command=/bin/s",
            "hostb",
            SSH(host="hostb", keyfile="/a+b c", command="/bin/s", verifies=False),
        ),
        ("qemu+ssh://hostb/system?no_verify=0", "hostb", SSH(host="hostb")),
    ],
)
def test_far_host(uri: str, host: str, ssh: SSH | None) -> None:
    """What libvirt would read from it."""
    assert Far(uri=uri, host=host, ssh=ssh) == far_host(uri)


@pytest.mark.parametrize("uri", ["://hostb", "qemu+ssh://hostb:port/", "qemu+ssh://[hostb/"])
def test_no_uri(uri: str) -> None:
    """Mistakes."""
    with pytest.raises(ValueError, match=r"port|scheme|driver|Invalid"):
        far_host(uri)


def test_labels() -> None:
    """As short as tells them apart."""
    sources: list[Source] = [
        far_host("qemu+tcp://hosta/system"),
        far_host("qemu+ssh://hostb/system?keyfile=/k"),
        far_host("qemu+tcp://hostb/system"),
        far_host("qemu+ssh://hostc/system?keyfile=/k"),
        far_host("qemu+ssh://hostc/system?keyfile=/l"),
        far_host("test:///default"),
        Path("/a/snapshot.json"),
    ]

    assert [
        "hosta",
        "qemu+ssh://hostb/system",
        "qemu+tcp://hostb/system",
        "qemu+ssh://hostc/system?keyfile=/k",
        "qemu+ssh://hostc/system?keyfile=/l",
        "test:///default",
        "/a/snapshot.json",
    ] == labels(sources)
