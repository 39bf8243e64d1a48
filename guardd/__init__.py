"""cpu-guardd: a guest whose CPU this host cannot honour does not start here."""

__version__ = "0.1.0"
