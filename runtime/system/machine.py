"""Facts for reports of measurements: the machine, memory of this process, load by other work.

Most of them come from Linux's procfs; None stands for those that are unknown elsewhere.
"""

import ctypes
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mavos_deploy.runtime.system.processors import usable_processors

# Timings are not to be trusted if other work took a larger share of the processors' time: PyTorch
# slows 3 to 5 times more than ONNX Runtime on a machine that has other work.
BUSY_SHARE = 0.05
# Instructions that decide how fast these graphs run, by the names that Linux gives.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "asimd")
# Models of AMD's family 25 that are Zen 4, from the first to before the last; others are Zen 3.
ZEN_4 = ((0x10, 0x20), (0x60, 0x80), (0xA0, 0xB0))


def machine() -> str:
    """The processor's name as the system gives it, and how many there are."""
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} processors"


def describe_machine() -> dict[str, object]:
    """The machine as a report has it: processor, instructions, memory, system."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features") or "").split()
    return {
        "processor": machine(),
        "generation": generation(
            *(_cpuinfo(key) for key in ("vendor_id", "cpu family", "model\t"))
        ),
        "usable_processors": usable_processors(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
    }


def generation(vendor: str | None, family: str | None, model: str | None) -> str | None:
    """The generation of an AMD processor, by which speeds differ more than by its name.

    Args:
        vendor: As in Linux's cpuinfo.
        family: Number of the family, as there.
        model: Number of the model, as there.

    Returns:
        A name such as `Zen 4`; None for other processors.
    """
    if vendor != "AuthenticAMD" or not (family or "").isdigit() or not (model or "").isdigit():
        return None
    number = int(model or 0)
    if family == "25":
        fourth = any(first <= number < last for first, last in ZEN_4)
        return "Zen 4" if fourth else "Zen 3"
    return {"23": "Zen 2" if number >= 0x30 else "Zen", "26": "Zen 5"}.get(family or "")


def resident_bytes() -> int:
    """Memory of this process that is in RAM. Linux only."""
    return _statm(1)


def peak_bytes(process: int | None = None) -> int | None:
    """The most memory that a process ever had in RAM, between frames or within one.

    `ru_maxrss` won't do: a process that was just started finds the peak of its parent there.

    Args:
        process: Its number; None for this one.

    Returns:
        Bytes; None where the system doesn't say, or the process has ended.
    """
    try:
        lines = Path(f"/proc/{process or 'self'}/status").read_text().splitlines()
    except OSError:
        return None
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return peaks[0] if peaks else None


def address_space_left() -> int | None:
    """Bytes of addresses that this process may still take; None where no limit is known."""
    if sys.platform != "linux":
        return None
    import resource  # which Windows lacks

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        return max(0, limit - _statm(0))
    except OSError:
        return None


def _statm(field: int) -> int:
    """Bytes that a field of procfs tells of this process: 0 its addresses, 1 what is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[field]) * os.sysconf("SC_PAGE_SIZE")


def return_freed_memory() -> None:
    """Return freed memory to the system, which glibc keeps otherwise. Elsewhere nothing happens."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


@dataclass(frozen=True)
class Load:
    """Shares of the processors' time that other work took during a measurement.

    Attributes:
        others: Share of all processors' time that other processes took, 0 to 1.
        stolen: Share that the host of a virtual machine gave to others.
    """

    others: float
    stolen: float

    @property
    def busy(self) -> bool:
        """Whether timings are not to be trusted."""
        return self.others + self.stolen > BUSY_SHARE


class LoadMeter:
    """Measures the load from its making to each reading."""

    def __init__(self) -> None:
        self._stat, self._own = _processor_times(), time.process_time()

    def read(self) -> Load | None:
        """Load since the meter was made; None where the system doesn't tell."""
        before, now = self._stat, _processor_times()
        if before is None or now is None or sum(now) == sum(before):
            return None
        ticks = [b - a for a, b in zip(before, now, strict=True)]
        total = sum(ticks)
        idle, stolen = ticks[3] + ticks[4], ticks[7]
        own = (time.process_time() - self._own) * os.sysconf("SC_CLK_TCK")
        others = max(0.0, total - idle - stolen - own)
        return Load(round(others / total, 4), round(stolen / total, 4))


def _processor_times() -> list[int] | None:
    """Ticks of user, nice, system, idle, iowait, irq, softirq and steal, over all processors."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return None
    return [int(ticks) for ticks in line.split()[1:9]]


def _cpuinfo(key: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(values, None)


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None
