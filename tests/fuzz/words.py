"""What is put where something else stands: libvirt's own words, and values that break programs."""

# of the domain, its <cpu>, capabilities and the CPU map; mutations exchange one for another
XML_WORDS = (
    *("domain", "name", "uuid", "os", "type", "arch", "machine", "devices", "emulator", "metadata"),
    *("cpu", "mode", "match", "check", "migratable", "model", "fallback", "vendor", "vendor_id"),
    *("topology", "sockets", "dies", "clusters", "cores", "threads", "cache", "level", "feature"),
    *("policy", "maxphysaddr", "bits", "limit", "counter", "frequency", "scaling", "signature"),
    *("family", "stepping", "microcode", "version", "clock", "timer", "custom", "host-model"),
    *("host-passthrough", "maximum", "exact", "minimum", "strict", "none", "partial", "full"),
    *("force", "require", "optional", "disable", "forbid", "kvm", "qemu", "x86_64", "i686"),
    *("ppc64", "ppc64le", "aarch64", "s390x", "riscv64", "loongarch64", "armv7l", "emulate"),
    *("passthrough", "usable", "blockers", "supported", "yes", "no", "on", "off", "allow"),
    *("stamp", "guest", "taken", "host", "virt", "compat", "physbits", "tsc", "pagesize"),
    *("features", "digest", "cpuid", "eax_in", "ecx_in", "eax", "ebx", "ecx", "edx", "msr"),
    *("index", "pvr", "value", "mask", "include", "filename", "group", "alias", "decode"),
    *("Haswell", "Skylake-Server", "EPYC", "POWER9", "power8", "Intel", "AMD", "IBM", "avx512f"),
    *("invtsc", "vmx", "svm", "arch-capabilities", "POWER9_v2.0", "default", "id", "removed"),
)

# numbers at and beyond every edge, and what only looks like one to some languages
NUMBERS = (
    *("", "0", "-0", "-1", "1", "255", "256", "2147483648", "4294967296", "18446744073709551616"),
    *("99999999999999999999", "9" * 300, "9" * 5000, "0x", "0x1f", "0xffffffffffffffff", "1e400"),
    *("NaN", "Infinity", "1_0", "+1", " 1", "1 ", "\u0661\u0662", "\u00b2", "\uff11", "1.5"),
)

# names that forge lines, paint terminals, or mean something to a shell, a format or a page
NAMES = (
    *("a\nb", "a\r\nb", "\t", "\u0085", "\u2028", "\u009b31m", "\u009d0;x\u009c", "\u202egnp"),
    *("\u200b", "\ufeff", "\U0001f427", "e\u0301", "\ud7ff", "\ue000", "\uffff", "\U0010ffff"),
    *("[red]x[/red]", "[link=file:///]x", "<script>alert(1)</script>", "&lt;", "\"'><", "]]>"),
    *("$(id)", "`id`", ";id", "|id", "-rf", "--", "../../etc/passwd", "%s%n", "{guest}", "{0}"),
    *(" ", "", "x" * 5000, "GUARDD_REFUSED=no", "a\nGUARDD_REFUSED=no", "web1:x y", ",", "/"),
)

# what XML 1.0 cannot hold, JSON can
JSON_NAMES = ("\x00", "\x1b[31m", "\x1b]0;x\x07", "\x7f", "\udcff", "\ud800", "a\x00b")
