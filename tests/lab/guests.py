"""Domain XML of small diskless guests, for every host of the lab."""

import uuid
from xml.sax.saxutils import escape, quoteattr

# Machine types that QEMU 7.2 and QEMU 10 both have: such a guest migrates from bookworm to trixie.
MACHINES = {"x86_64": "pc-q35-7.2", "ppc64le": "pseries-7.2"}

_NAMESPACE = uuid.UUID("8d0b8f6a-3b5e-4b7e-9f0f-52d0c4b1a7e3")
_TEMPLATE = """\
<domain type={virt}>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  {metadata}
  <memory unit='MiB'>{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os><type arch={arch} machine={machine}>hvm</type></os>
  {cpu}
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='null'/>
  </devices>
</domain>
"""


def guest_uuid(name: str) -> str:
    """Tell the UUID that the guest called *name* always has."""
    return str(uuid.uuid5(_NAMESPACE, name))


def domain_xml(  # noqa: PLR0913 - what tests vary, each by name
    name: str,
    *,
    virt: str = "qemu",
    arch: str = "x86_64",
    machine: str | None = None,
    emulator: str | None = None,
    cpu: str | None = None,
    metadata: str = "",
    memory: int | None = None,
    vcpus: int = 1,
) -> str:
    """Build a guest's XML; *cpu* is a whole <cpu> element, *metadata* what <metadata> holds.

    Without *machine* and *emulator* it is one that every host of the lab can run; *memory* is in
    MiB.
    """
    return _TEMPLATE.format(
        virt=quoteattr(virt),
        name=escape(name),
        uuid=guest_uuid(name),
        metadata=f"<metadata>{metadata}</metadata>" if metadata else "",
        # pseries firmware does not fit into 64 MiB
        memory=memory or (256 if arch.startswith("ppc") else 64),
        vcpus=vcpus,
        arch=quoteattr(arch),
        machine=quoteattr(machine or MACHINES[arch]),
        cpu=cpu or "",
        emulator=escape(emulator or f"/usr/bin/qemu-system-{arch}"),
    )
