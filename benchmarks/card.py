"""The ceilings of a GPU: memory, products and the bus, against which graphs are judged.

    python -m benchmarks.card --output card.json

Memory: a copy on the device, bytes read and written. Products: square matrices in float32, TF32,
float16 and bfloat16. The bus: copies of 8 MB to and from pinned memory. Medians of single runs
between two CUDA events, on random data.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mavos_deploy.runtime.system.files import replacing

RUNS = 20
QUERY = "name,driver_version,power.limit,clocks.sm,clocks.mem,temperature.gpu,pstate"


def main() -> int:
    """Measure, write the file, and print it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    given = parser.parse_args()
    report = ceilings(given.device)
    with replacing(given.output) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    return 0


def ceilings(device: str) -> dict[str, Any]:
    """All figures of a device; on a CPU small ones, to try the script."""
    side, size = (8192, 1 << 31) if device == "cuda" else (512, 1 << 24)
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    report: dict[str, Any] = {
        "settings": settings() if device == "cuda" else None,
        "torch": torch.__version__,
        "copy_gb_s": rate(2 * size, partial(target.copy_, source), device),
        "product_tflop_s": {},
    }
    del source, target
    for name, dtype, tf32 in (
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("fp16", torch.float16, False),
        ("bf16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        product = partial(torch.mm, one, other, out=torch.empty_like(one))
        report["product_tflop_s"][name] = round(rate(2 * side**3, product, device) / 1e3, 3)
    torch.backends.cuda.matmul.allow_tf32 = False
    if device == "cuda":
        pinned = torch.empty(8 << 20, dtype=torch.uint8, pin_memory=True)
        block = torch.empty_like(pinned, device=device)
        report["to_device_gb_s"] = rate(
            pinned.numel(), partial(block.copy_, pinned, non_blocking=True), device
        )
        report["to_host_gb_s"] = rate(
            pinned.numel(), partial(pinned.copy_, block, non_blocking=True), device
        )
    return report


def rate(amount: int, work: Callable[[], object], device: str) -> float:
    """Amounts a second, in billions, by the median of the runs."""
    return round(amount / milliseconds(work, device) / 1e6, 1)


def milliseconds(work: Callable[[], object], device: str, runs: int = RUNS) -> float:
    """Median time of a piece of work on the device's current stream, after three runs."""
    for _ in range(3):
        work()
    if device == "cpu":
        times = []
        for _ in range(runs):
            started = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - started))
        return statistics.median(times)
    events = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(runs)
    ]
    for begin, end in events:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return float(statistics.median(begin.elapsed_time(end) for begin, end in events))


def settings() -> dict[str, str]:
    """The card as nvidia-smi shows it."""
    shown = subprocess.run(
        ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=True,
    )
    values = shown.stdout.strip().splitlines()[0].split(", ")
    return dict(zip(QUERY.split(","), values, strict=True))


if __name__ == "__main__":
    sys.exit(main())
