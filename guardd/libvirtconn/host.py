"""What libvirt says of its host and its hypervisors."""

from __future__ import annotations

import libvirt

from guardd.libvirtconn.connection import Connection, translated

_COMPARED = {
    libvirt.VIR_CPU_COMPARE_INCOMPATIBLE: "incompatible",
    libvirt.VIR_CPU_COMPARE_IDENTICAL: "identical",
    libvirt.VIR_CPU_COMPARE_SUPERSET: "superset",
}


def version(connection: Connection) -> str:
    """Give libvirtd's version, as in "9.0.0"."""
    with translated("read libvirt's version"):
        return _dotted(connection.getLibVersion())


def qemu_version(connection: Connection) -> str:
    """Give the version of libvirt's default emulator, "" where it has none."""
    try:
        return _dotted(connection.getVersion())
    except libvirt.libvirtError:
        return ""


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def hostname(connection: Connection) -> str:
    """Give the name of the host that libvirtd runs on."""
    with translated("read the host's name"):
        return str(connection.getHostname())


def capabilities(connection: Connection) -> str:
    """Give the capabilities XML."""
    with translated("read capabilities"):
        return str(connection.getCapabilities())


def domain_capabilities(
    connection: Connection,
    virt_type: str,
    arch: str,
    machine: str | None = None,
    emulator: str | None = None,
) -> str:
    """Give the domain capabilities XML; None asks for the default of libvirt."""
    with translated(f"read domain capabilities of {virt_type} {arch} {machine or ''}".rstrip()):
        return str(connection.getDomainCapabilities(emulator, arch, machine, virt_type))


def compare_hypervisor_cpu(
    connection: Connection,
    virt_type: str,
    arch: str,
    machine: str | None,
    emulator: str | None,
    cpu: str,
) -> str:
    """Ask how the CPU that a hypervisor gives stands to the <cpu> element *cpu*.

    Give "incompatible", "identical" or "superset". Raises LibvirtFailed where libvirt has no
    answer: this architecture or emulator is not compared, or it does not understand *cpu*.
    """
    with translated(f"compare a CPU with that of {virt_type} {arch} {machine or ''}".rstrip()):
        found = connection.compareHypervisorCPU(emulator, arch, machine, virt_type, cpu)
    return _COMPARED[found]
