"""Breaks what cpu-guardd stands on, over and over, under load, and looks whether it held."""
