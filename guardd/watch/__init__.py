"""All that is done with libvirt's help: off the verdict path, in a thread that may block."""
