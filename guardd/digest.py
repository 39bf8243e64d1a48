"""A short digest of a text: it tells whether one is what it was, and is no signature."""

from __future__ import annotations

# hashlib loads OpenSSL, which takes longer than to judge a guest; CPython's own random goes around
# it likewise. A Python may be built without what stands in for it, as Fedora's is.
try:
    from _sha256 import sha256  # type: ignore[import-not-found]  # Python 3.11
except ImportError:
    try:
        from _sha2 import sha256  # type: ignore[import-not-found]  # Python 3.12 and later
    except ImportError:
        from hashlib import sha256

LENGTH = 16  # hexadecimal digits of it that are kept


def digest(text: bytes) -> str:
    """Give the first LENGTH hexadecimal digits of the SHA-256 of *text*."""
    return str(sha256(text).hexdigest())[:LENGTH]
