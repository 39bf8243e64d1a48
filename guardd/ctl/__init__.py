"""cpu-guardctl: the same questions asked by hand."""
