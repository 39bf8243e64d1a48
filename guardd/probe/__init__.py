"""What the host itself says, read from its files and devices."""
