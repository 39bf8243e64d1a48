"""One tree of errors: a stable code, a message that names the thing, a hint what to do."""


class GuardError(Exception):
    """The root of what cpu-guardd raises on purpose; anything else is a bug."""

    code = "internal"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class MalformedXML(GuardError):
    """The text is not well-formed XML, not UTF-8, has a DTD, or is too large."""

    code = "malformed-xml"


class InvalidCPU(GuardError):
    """Well-formed XML that libvirt refuses as a CPU definition."""

    code = "invalid-cpu"


class InvalidDomain(GuardError):
    """Well-formed XML that is not a domain."""

    code = "invalid-domain"


class InvalidCapabilities(GuardError):
    """Well-formed XML that is not the capabilities document that was asked for."""

    code = "invalid-capabilities"


class UnknownModel(GuardError):
    """A CPU model that the CPU map does not have."""

    code = "unknown-model"


class UnknownFeature(GuardError):
    """A CPU feature that the CPU map does not have."""

    code = "unknown-feature"


class NoModel(GuardError):
    """A CPU definition without a model where the operation needs one."""

    code = "no-model"


class UnknownCompat(GuardError):
    """A PowerPC compatibility mode that does not exist, or that the host cannot have."""

    code = "unknown-compat"


class BrokenMap(GuardError):
    """The CPU map is missing or not usable; every operation that needs it fails alike."""

    code = "broken-map"


class UnsupportedArch(GuardError):
    """No CPU driver serves this architecture, or its driver lacks the operation."""

    code = "unsupported-arch"


class BadRequest(GuardError):
    """A message on the socket that breaks the protocol or one of its limits."""

    code = "bad-request"


class BadConfig(GuardError):
    """A configuration file with a mistake; the message names file, line and key."""

    code = "bad-config"


class BadSnapshot(GuardError):
    """A kept snapshot that cannot be read back."""

    code = "bad-snapshot"


class LibvirtFailed(GuardError):
    """libvirt refused a call or went away; the message says what was being done."""

    code = "libvirt-failed"


class DaemonUnreachable(GuardError):
    """Nobody answers on the daemon's socket, or not in time."""

    code = "no-daemon"
