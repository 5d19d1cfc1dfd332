"""What the measurements of this folder say about the machine and the process. Linux only."""

import os
import platform
import resource
from pathlib import Path


def machine() -> str:
    """The processor's name as the system gives it, and how many there are."""
    name = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    return f"{name}, {os.cpu_count()} processors"


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most memory that this process ever had in RAM, between frames or within one."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
