"""cpu-guardctl doctor: proves that guests are guarded here, by doing."""
