"""What is measured with: CPUs and a guest as they are on hosts, written here."""

from __future__ import annotations

_HOST_FEATURES = (
    "ds acpi ss ht tm pbe dtes64 monitor ds_cpl vmx smx est tm2 xtpr pdcm osxsave tsc_adjust"
    " clflushopt intel-pt md-clear stibp arch-capabilities ssbd xsaves pdpe1gb invtsc rdctl-no"
    " ibrs-all skip-l1dfl-vmentry mds-no tsx-ctrl"
)

# as capabilities tell of a host
SKYLAKE_HOST = f"""\
<cpu>
  <arch>x86_64</arch>
  <model>Skylake-Client-IBRS</model>
  <vendor>Intel</vendor>
  <microcode version='226'/>
  <signature family='6' model='94' stepping='3'/>
  <counter name='tsc' frequency='2592000000' scaling='yes'/>
  <topology sockets='1' dies='1' cores='4' threads='2'/>
  <maxphysaddr mode='emulate' bits='39'/>
  {"".join(f"<feature name='{name}'/>" for name in _HOST_FEATURES.split())}
</cpu>
"""

_REQUIRED = "vme ds acpi ss ht tm pbe dtes64 ds_cpl vmx est tm2 xtpr pdcm tsc_adjust pdpe1gb invtsc"
_OTHERS = ("disable svm", "disable rtm", "optional md-clear", "optional xsaves", "force hypervisor")
_POLICIES = [f"require {name}".split() for name in _REQUIRED.split()]
_POLICIES += [words.split() for words in _OTHERS]

# as a guest has it that was defined by `virsh domcapabilities` of an older host
HASWELL_GUEST = f"""\
<cpu mode='custom' match='exact' check='partial'>
  <model fallback='allow'>Haswell</model>
  <vendor>Intel</vendor>
  <topology sockets='1' dies='1' cores='2' threads='2'/>
  {"".join(f"<feature policy='{policy}' name='{name}'/>" for policy, name in _POLICIES)}
</cpu>
"""

_DISK = """
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' io='native' discard='unmap'/>
      <source file='/var/lib/libvirt/images/web1-{n}.qcow2' index='{n}'/>
      <backingStore/>
      <target dev='vd{letter}' bus='virtio'/>
      <alias name='virtio-disk{n}'/>
      <address type='pci' domain='0x0000' bus='0x{n:02x}' slot='0x00' function='0x0'/>
    </disk>"""
_INTERFACE = """
    <interface type='bridge'>
      <mac address='52:54:00:00:00:{n:02x}'/>
      <source bridge='br{n}'/>
      <target dev='vnet{n}'/>
      <model type='virtio'/>
      <alias name='net{n}'/>
      <address type='pci' domain='0x0000' bus='0x1{n:x}' slot='0x00' function='0x0'/>
    </interface>"""
_CONTROLLER = """
    <controller type='pci' index='{n}' model='pcie-root-port'>
      <model name='pcie-root-port'/>
      <target chassis='{n}' port='0x{n:x}'/>
      <alias name='pci.{n}'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x{n:x}'/>
    </controller>"""


def domain(cpu: str, *, virt_type: str, machine: str, emulator: str, name: str = "web1") -> str:
    """Write a domain of some 12 kB around *cpu*, as the hook gets it of a guest of some size."""
    devices = "".join(_DISK.format(n=n, letter=chr(ord("a") + n)) for n in range(10))
    devices += "".join(_INTERFACE.format(n=n) for n in range(8))
    devices += "".join(_CONTROLLER.format(n=n) for n in range(1, 13))
    return f"""\
<domain type='{virt_type}' id='3'>
  <name>{name}</name>
  <uuid>7d0a5d4e-30d5-4a4b-9a5f-9d3c8f6c2f0e</uuid>
  <memory unit='KiB'>4194304</memory>
  <currentMemory unit='KiB'>4194304</currentMemory>
  <vcpu placement='static'>4</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  {cpu}
  <clock offset='utc'>
    <timer name='rtc' tickpolicy='catchup'/>
    <timer name='hpet' present='no'/>
  </clock>
  <devices>
    <emulator>{emulator}</emulator>{devices}
  </devices>
</domain>
"""


def hosts(number: int, *, kinds: int) -> list[str]:
    """Give the CPUs of *number* hosts of so many *kinds*, told apart by features they lack."""
    names = [name for name in _HOST_FEATURES.split() if name not in ("vmx", "ss")]
    texts = []
    for n in range(number):
        kind = n % kinds
        lacking = {names[bit] for bit in range(10) if kind >> bit & 1}
        text = SKYLAKE_HOST
        for name in lacking:
            text = text.replace(f"<feature name='{name}'/>", "")
        texts.append(text)
    return texts
