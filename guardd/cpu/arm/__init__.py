"""Arm: QEMU decides, but for what two hosts are called."""
