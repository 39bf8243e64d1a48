"""x86: features by CPUID and MSR bits."""
