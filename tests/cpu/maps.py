"""A CPU map of a few models, of our own making, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Mapping

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.map import ReadFile
from guardd.cpu.x86.driver import DRIVER
from guardd.cpu.x86.map import X86Map

INDEX = """
<cpus>
  <arch name='x86'>
    <include filename='x86_vendors.xml'/>
    <include filename='x86_features.xml'/>
    <group name='models'><include filename='x86_models.xml'/></group>
    <group><include filename='not_read.xml'/></group>
  </arch>
  <arch name='ppc64'><include filename='ppc64.xml'/></arch>
  <arch name='arm'><include filename='arm.xml'/></arch>
</cpus>"""

X86_VENDORS = """
<cpus>
  <vendor name='Intel' string='GenuineIntel'/>
  <vendor name='AMD' string='AuthenticAMD'/>
</cpus>"""

X86_FEATURES = """
<cpus>
  <feature name='fpu'><cpuid eax_in='0x01' edx='0x00000001'/></feature>
  <feature name='tsc'><cpuid eax_in='1' edx='16'/></feature>
  <feature name='mmx'><cpuid eax_in='0x01' ecx_in='0x00' edx='0x00800000'/></feature>
  <feature name='sse'><cpuid eax_in='0x01' edx='0x02000000'/></feature>
  <feature name='sse2'><cpuid eax_in='0x01' edx='0x04000000'/></feature>
  <feature name='vmx'><cpuid eax_in='0x01' ecx='0x00000020'/></feature>
  <feature name='x2apic'><cpuid eax_in='0x01' ecx='010000000'/></feature>
  <feature name='hle'><cpuid eax_in='0x07' ebx='0x00000010'/></feature>
  <feature name='avx2'>
    <alias name='AVX-2' source='qemu'/>
    <cpuid eax_in='0x07' ebx='0x00000020'/>
  </feature>
  <feature name='rtm'><cpuid eax_in='0x07' ebx='0x00000800'/></feature>
  <feature name='xsaves' migratable='no'>
    <cpuid eax_in='0x0d' ecx_in='0x01' eax='0x00000008'/>
  </feature>
  <feature name='svm'><cpuid eax_in='0x80000001' ecx='0x00000004'/></feature>
  <feature name='invtsc' migratable='no'>
    <cpuid eax_in='0x80000007' edx='0x00000100'/>
  </feature>
  <feature name='rdctl-no'><msr index='0x10a' eax='0x00000001' edx='0x00000000'/></feature>
</cpus>"""

X86_MODELS = """
<cpus>
  <model name='plain'>
    <check partial='compat'/>
    <decode host='on' guest='on'/>
    <feature name='fpu'/><feature name='tsc'/><feature name='mmx'/>
  </model>
  <model name='hidden'>
    <decode host='off' guest='off'/>
    <model name='plain'/>
    <feature name='x2apic'/>
  </model>
  <model name='Old'>
    <check partial='compat'/>
    <decode host='on' guest='on'/>
    <model name='plain'/>
    <signature family='6' model='15'/>
    <vendor name='Intel'/>
    <feature name='sse'/>
  </model>
  <model name='Mid'>
    <check partial='compat'/>
    <decode host='on' guest='on'/>
    <model name='Old'/>
    <signature family='6' model='60'/>
    <feature name='sse2'/><feature name='avx2'/><feature name='hle'/><feature name='rtm'/>
  </model>
  <model name='Mid-noTSX'>
    <check partial='compat'/>
    <decode host='on' guest='on'/>
    <model name='Old'/>
    <signature family='6' model='60'/><signature family='6' model='63'/>
    <feature name='sse2'/><feature name='avx2'/>
  </model>
  <model name='New'>
    <check partial='compat'/>
    <decode host='on' guest='on'/>
    <model name='Mid'/>
    <signature family='6' model='85' stepping='5-7,^6'/>
    <feature name='x2apic'/><feature name='rdctl-no'/>
    <feature name='vmx' removed='yes'/><feature name='xsaves' added='yes'/>
  </model>
  <model name='New-v1'>
    <decode host='on' guest='off'/>
    <model name='New'/>
  </model>
  <model name='K'>
    <check partial='compat'/>
    <decode host='on' guest='on'/>
    <signature family='23' model='1'/>
    <vendor name='AMD'/>
    <feature name='fpu'/><feature name='tsc'/><feature name='mmx'/>
    <feature name='sse'/><feature name='sse2'/><feature name='svm'/>
  </model>
</cpus>"""

PPC64 = """
<cpus>
  <vendor name='IBM'/>
  <vendor name='Freescale'/>
  <model name='POWER7'>
    <vendor name='IBM'/>
    <pvr value='0x003f0000' mask='0xffff0000'/><pvr value='004a0000' mask='ffff0000'/>
  </model>
  <model name='POWER8'>
    <vendor name='IBM'/>
    <pvr value='0x004b0000' mask='0xffff0000'/>
    <pvr value='0x004c0000' mask='0xffff0000'/>
    <pvr value='0x004d0000' mask='0xffff0000'/>
  </model>
  <model name='POWER9'>
    <vendor name='IBM'/>
    <pvr value='0x004e0000' mask='0xffff0000'/>
  </model>
  <model name='POWER10'>
    <vendor name='IBM'/>
    <pvr value='0x00800000' mask='0xffff0000'/>
  </model>
  <model name='POWERPC_e5500'>
    <vendor name='Freescale'/>
    <pvr value='0x80240000' mask='0xffff0000'/>
  </model>
  <model name='nobody'><pvr value='0x12340000' mask='0xffff0000'/></model>
</cpus>"""

ARM = """
<cpus>
  <vendor name='ARM' value='0x41'/>
  <vendor name='Cavium' value='0x43'/>
  <feature name='sve'/>
  <feature name='sve256'/>
  <model name='cortex-a72'><vendor name='ARM'/><pvr value='0xd08'/></model>
  <model name='Neoverse-N1'><vendor name='ARM'/><pvr value='0xd0c'/></model>
</cpus>"""

FILES: Mapping[str, str] = {
    "index.xml": INDEX,
    "x86_vendors.xml": X86_VENDORS,
    "x86_features.xml": X86_FEATURES,
    "x86_models.xml": X86_MODELS,
    "ppc64.xml": PPC64,
    "arm.xml": ARM,
}


def reader(files: Mapping[str, str] = FILES) -> ReadFile:
    """Give a function that reads *files*, as `CPUMap` wants it."""

    def read(name: str) -> bytes:
        try:
            return files[name].encode()
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", name) from None

    return read


def spoiled(name: str, old: str, new: str) -> ReadFile:
    """Give a reader of the map with one piece of one file replaced."""
    assert old in FILES[name]
    return reader({**FILES, name: FILES[name].replace(old, new, 1)})


MAP: CPUMap = cpu.CPUMap(reader()).load()
EXACT: CPUMap = cpu.match_pvr(MAP, cpu.PVRMatch.EXACT)
X86: X86Map = MAP.part(DRIVER)
