"""Digests that are kept for years: the same by every Python."""

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.digest import LENGTH, digest
from tests.recordings import ROOT


@given(st.binary())
def test_it_is_sha256(text: bytes) -> None:
    """Whichever module it is from."""
    assert hashlib.sha256(text).hexdigest()[:LENGTH] == digest(text)


@pytest.mark.parametrize("missing", ["hashlib", "_sha2 _sha256"])
def test_a_python_that_was_built_otherwise(missing: str) -> None:
    """Fedora's has hashlib only; one without OpenSSL has no use for it."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys({missing!r}.split()))
from guardd.digest import digest
print(digest(b"web1"))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)  # noqa: PLW1510

    assert (digest(b"web1"), "") == (ran.stdout.strip(), ran.stderr)
