"""Latency of streams on a Triton server, beside the same steps in this process.

    MAVOS_TRITON_PYTHON=PYTHON python -m benchmarks.serving BUNDLE --frames 100 --output FILE.json

Streams send their next frame as soon as the answer to the last one is there, so with several of
them a frame waits for those of the others. The server's own part is told apart by its statistics.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as grpc

from mavos_deploy.runtime import Bundle, RemoteSegmenter, Segmenter
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.triton.config import Options
from mavos_deploy.runtime.triton.repository import write_repository
from tests.triton_server import TritonServer

STREAMS = (1, 4, 8)
WARM_UP = 3  # frames of each stream that aren't counted


def pictures(bundle: Bundle, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames and first labels at the bundle's size."""
    height, width = bundle.manifest.size
    frames = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    labels = np.zeros((height, width), np.uint8)
    labels[height // 4 : height // 2, width // 4 : width // 2] = 1
    labels[height // 2 :, width // 2 : 3 * width // 4] = 2
    return frames, labels


def times(
    segmenter: Segmenter | RemoteSegmenter, frames: np.ndarray, labels: np.ndarray
) -> list[float]:
    """Milliseconds of every step of a video."""
    state: Any = segmenter.start(frames[0], labels)
    taken = []
    for frame in frames[1:]:
        before = time.perf_counter()
        _, state = segmenter.step(frame, state)
        taken.append(1000 * (time.perf_counter() - before))
    segmenter.end(state)
    return taken[WARM_UP:]


def summary(taken: list[float]) -> dict[str, float]:
    """Percentiles and mean of milliseconds."""
    percentiles = {f"p{p}_ms": round(float(np.percentile(taken, p)), 2) for p in (50, 99)}
    return percentiles | {"mean_ms": round(float(np.mean(taken)), 2)}


def server_part(client: grpc.InferenceServerClient) -> dict[str, float]:
    """Nanoseconds and requests so far, by the server's own count."""
    found = client.get_inference_statistics("mavos").model_stats[0].inference_stats
    return {
        "requests": found.success.count,
        "queue": found.queue.ns,
        "compute": found.compute_infer.ns,
        "all": found.success.ns,
    }


def measure(address: str, count: int, frames: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Run streams side by side, one client each."""
    taken: list[float] = []

    def run() -> None:
        with RemoteSegmenter(address) as segmenter:
            taken.extend(times(segmenter, frames, labels))

    with grpc.InferenceServerClient(address) as client:
        before = server_part(client)
        threads = [threading.Thread(target=run) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = server_part(client)
    spent = {name: after[name] - before[name] for name in after}
    per = 1e6 * spent["requests"]
    return {
        "streams": count,
        **summary(taken),
        "server_queue_ms": round(spent["queue"] / per, 2),
        "server_tracker_ms": round(spent["compute"] / per, 2),
        "server_rest_ms": round((spent["all"] - spent["queue"] - spent["compute"]) / per, 2),
    }


def main() -> None:
    """Measure and print, and write if wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=100, help="of each stream (default: 100)")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads of the graphs")
    parser.add_argument("--output", type=Path, help="write the report here as JSON")
    given = parser.parse_args()
    bundle = Bundle.open(given.bundle)
    frames, labels = pictures(bundle, given.frames + WARM_UP + 1)
    with Segmenter(bundle, open_backend(bundle, given.threads)) as segmenter:
        local = summary(times(segmenter, frames, labels))
    report: dict[str, Any] = {
        "variant": bundle.manifest.variant,
        "size": list(bundle.manifest.size),
        "frames": given.frames,
        "threads": given.threads,
        "local": local,
        "served": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch) / "repository"
        repository.mkdir()
        write_repository(bundle, repository, Options(threads=given.threads))
        with TritonServer(repository, Path(scratch)) as server:
            for count in STREAMS:
                report["served"].append(measure(server.address, count, frames, labels))
    text = json.dumps(report, indent=2) + "\n"
    print(text, end="")
    if given.output:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
