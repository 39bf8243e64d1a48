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


class InvalidCPUData(GuardError):
    """CPU data that cannot be read, or that contradicts itself."""

    code = "invalid-cpu-data"


class UnknownHost(GuardError):
    """A guest CPU that depends on the host's, and the host's CPU is not known."""

    code = "unknown-host-cpu"


class UnknownHypervisor(UnknownHost):
    """A guest of a hypervisor of which libvirt has told nothing yet."""


class UnknownVendor(GuardError):
    """A CPU vendor that the CPU map does not have."""

    code = "unknown-vendor"


class UnsupportedModel(GuardError):
    """A CPU model that the hypervisor does not offer, and that must not be replaced."""

    code = "unsupported-model"


class UnsupportedPolicy(GuardError):
    """A match or a feature policy that the guest's architecture cannot do."""

    code = "unsupported-policy"


class NoSuitableModel(GuardError):
    """CPU data or a PVR that is no model of the CPU map, or of the hypervisor."""

    code = "no-suitable-model"


class IncompatibleCPUs(GuardError):
    """CPUs that have no baseline."""

    code = "incompatible-cpus"


class SpecificationMismatch(GuardError):
    """A guest that QEMU gave another CPU than its definition insists on (check='full').

    `extra` and `missing` name the features, in map order.
    """

    code = "specification-mismatch"

    def __init__(self, extra: tuple[str, ...] = (), missing: tuple[str, ...] = ()) -> None:
        lists = [
            f"{label} features: {','.join(names)}"
            for label, names in (("extra", extra), ("missing", missing))
            if names
        ]
        message = "guest CPU doesn't match specification"
        super().__init__(f"{message}: {', '.join(lists)}" if lists else message)
        self.extra = extra
        self.missing = missing


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


class BadStamp(GuardError):
    """A stamp that was cut short, changed, put elsewhere, or made by a newer version."""

    code = "bad-stamp"


class NoFix(GuardError):
    """A guest that no change of its <cpu> would make fit."""

    code = "no-fix"


class LibvirtFailed(GuardError):
    """libvirt refused a call or went away; the message says what was being done."""

    code = "libvirt-failed"


class LibvirtRefused(LibvirtFailed):
    """libvirt does not let this user do it: by polkit, or on a read-only connection."""

    code = "libvirt-refused"


class DaemonUnreachable(GuardError):
    """Nobody answers on the daemon's socket, or not in time."""

    code = "no-daemon"


class UnreadableHardware(GuardError):
    """A register, device or file of the host that cannot be read; the hint says what helps."""

    code = "unreadable-hardware"


class MissingPackage(GuardError):
    """Software that only some of cpu-guardd's work needs is not installed; the hint names it."""

    code = "missing-package"


class CannotWrite(GuardError):
    """A file that was asked for cannot be written."""

    code = "cannot-write"


class Unreachable(GuardError):
    """Another host that cannot be asked, or that does not answer in time."""

    code = "unreachable"
