"""Files, processors, signals and the machine."""
