"""Seven streams on a Triton server beside a hostile one: their masks and their latency.

    MAVOS_TRITON_PYTHON=PYTHON python -m benchmarks.hostile_stream BUNDLE --output FILE.json

First eight streams of videos share the server for --seconds, then seven of them and one that sends
what a server must refuse, as fast as it is answered: tensors of wrong shapes, types, values and
names, damaged and huge pictures, videos without a start, objects past the limit, starts and ends at
random, and now and then a sound frame. Every mask of the seven is compared with that of a run in
this process. Exits with 1 where a mask differs, a request of theirs is refused, or the server ends.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as grpc
from PIL import Image
from tritonclient.utils import InferenceServerException

from mavos_deploy.runtime import Bundle, RemoteSegmenter, Segmenter
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import machine
from mavos_deploy.runtime.triton.config import Options
from mavos_deploy.runtime.triton.repository import write_repository
from mavos_deploy.runtime.triton.wire import TRACKER
from tests.triton_server import TritonServer

STREAMS = 8
FRAMES = 24  # of each video, which is played again and again
HOSTILE = 1 << 40  # its stream's number; the others draw theirs
HUGE = 20_000  # pixels of a side, in a file of some kilobytes
TYPES = {"uint8": "UINT8", "int64": "INT64", "float32": "FP32", "object": "BYTES"}

Tensors = dict[str, np.ndarray]


@dataclass
class Phase:
    """What came of one phase.

    Attributes:
        milliseconds: Latency of every frame of the honest streams.
        masks: Number of masks that were compared.
        wrong: Number of them that differ, or that were refused.
        errors: Texts of what went wrong.
        sent: Number of hostile requests by kind.
        refused: Number of those that were refused.
    """

    milliseconds: list[float] = field(default_factory=list)
    masks: int = 0
    wrong: int = 0
    errors: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    refused: int = 0

    def add(self, other: "Phase") -> None:
        """Add what came of one honest stream."""
        self.milliseconds += other.milliseconds
        self.masks += other.masks
        self.wrong += other.wrong
        self.errors += other.errors

    def figures(self) -> dict[str, Any]:
        """The phase in a report."""
        figures: dict[str, Any] = {"masks": self.masks, "wrong": self.wrong}
        if self.milliseconds:
            p50, p99 = np.percentile(self.milliseconds, (50, 99)).round(2).tolist()
            figures |= {"p50_ms": p50, "p99_ms": p99}
        if self.sent:
            figures |= {"hostile_requests": dict(self.sent), "refused": self.refused}
        return figures


class Videos:
    """A made-up video for each stream, and its masks from a run in this process."""

    def __init__(self, bundle: Bundle) -> None:
        height, width = bundle.manifest.size
        noise = np.random.default_rng(0)
        self.size: Size = (height, width)
        self.frames = noise.integers(0, 256, (STREAMS, FRAMES, height, width, 3), np.uint8)
        self.first = np.zeros((STREAMS, height, width), np.uint8)
        for stream, labels in enumerate(self.first):
            labels[height // 4 : height // 2, stream : width // 2] = 1
            labels[height // 2 :, width // 2 : width - stream] = 2 + stream
        with Segmenter(bundle, open_backend(bundle, 1)) as segmenter:
            self.expected = [self._masks(segmenter, stream) for stream in range(STREAMS)]

    def _masks(self, segmenter: Segmenter, stream: int) -> list[np.ndarray]:
        state = segmenter.start(self.frames[stream, 0], self.first[stream])
        found = []
        for frame in self.frames[stream, 1:]:
            labels, state = segmenter.step(frame, state)
            found.append(labels)
        return found


def follow(address: str, videos: Videos, stream: int, until: float) -> Phase:
    """Send one stream's video again and again, and compare its masks."""
    phase = Phase()
    try:
        with RemoteSegmenter(address) as segmenter:
            while time.monotonic() < until:
                state = segmenter.start(videos.frames[stream, 0], videos.first[stream])
                for frame, expected in zip(
                    videos.frames[stream, 1:], videos.expected[stream], strict=True
                ):
                    before = time.perf_counter()
                    labels, state = segmenter.step(frame, state)
                    phase.milliseconds.append(1000 * (time.perf_counter() - before))
                    phase.masks += 1
                    phase.wrong += not np.array_equal(labels, expected)
                segmenter.end(state)
    except Exception as error:  # whatever it is, this stream paid for the hostile one
        phase.wrong += 1
        phase.errors.append(f"stream {stream}: {error!r}")
    return phase


class Hostile:
    """Requests that a server must refuse, drawn at random."""

    def __init__(self, size: Size, seed: int) -> None:
        self._chance = random.Random(seed)
        height, width = size
        frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        self._first = np.ones(size, np.uint8)
        self._sound = self._file(frame, "PNG")
        self._huge = self._file(np.zeros((HUGE, HUGE), np.uint8), "PNG")
        kinds: dict[str, Callable[[], Tensors]] = {
            "sound": lambda: {"frame": frame},
            "no tensor": lambda: {"frame_index": np.array([3])},
            "another rank": lambda: {"frame": np.zeros((height, width), np.uint8)},
            "another type": lambda: {"frame": np.zeros((height, width, 3), np.float32)},
            "another name": lambda: {"picture": frame},
            "no pixels": lambda: {"frame": np.zeros((0, 0, 3), np.uint8)},
            "another size": lambda: {"frame": np.zeros((height + 3, width, 3), np.uint8)},
            "large": lambda: {"frame": np.zeros((3000, 4000, 3), np.uint8)},
            "huge file": lambda: {"frame_file": self._text(self._huge)},
            "damaged file": lambda: {"frame_file": self._text(self._damaged())},
            "noise": lambda: {"frame_file": self._text(self._chance.randbytes(5000))},
            "two frames": lambda: {
                "frame": frame,
                "frame_file": self._text(self._sound),
            },
            "many objects": lambda: {
                "frame": frame,
                "labels": (np.arange(height * width) % 256).astype(np.uint8).reshape(size),
            },
            "labels of another size": lambda: {
                "frame": frame,
                "labels": np.ones((5, 5), np.uint8),
            },
            "unknown objects removed": lambda: {
                "frame": frame,
                "remove": np.arange(200, 250, dtype=np.uint8),
            },
            "index of elsewhere": lambda: {
                "frame": frame,
                "frame_index": np.array([self._chance.choice((-5, 1 << 40, 77))]),
            },
        }
        self._kinds = kinds

    @staticmethod
    def _file(picture: np.ndarray, kind: str) -> bytes:
        file = BytesIO()
        Image.fromarray(picture).save(file, format=kind)
        return file.getvalue()

    @staticmethod
    def _text(content: bytes) -> np.ndarray:
        return np.array([content], np.object_)

    def _damaged(self) -> bytes:
        held = bytearray(self._sound)
        for _ in range(self._chance.randrange(1, 6)):
            held[self._chance.randrange(len(held))] = self._chance.randrange(256)
        return bytes(held[: self._chance.randrange(1, len(held) + 1)])

    def send(self, address: str, seconds: float) -> tuple[Counter[str], int]:
        """Send requests for a time.

        Returns:
            Number of requests by kind, and of those that were refused.
        """
        sent, refused, until = Counter[str](), 0, time.monotonic() + seconds
        with grpc.InferenceServerClient(address) as client:
            while time.monotonic() < until:
                kind = self._chance.choice(list(self._kinds))
                tensors = self._kinds[kind]()
                start = self._chance.random() < 0.4
                if start and kind == "sound":
                    tensors["labels"] = self._first
                sent[kind] += 1
                refused += not self._request(client, tensors, start)
        return sent, refused

    def _request(self, client: Any, tensors: Tensors, start: bool) -> bool:  # noqa: ANN401
        inputs = []
        for name, tensor in tensors.items():
            inputs.append(grpc.InferInput(name, tensor.shape, TYPES[tensor.dtype.name]))
            inputs[-1].set_data_from_numpy(tensor)
        try:
            client.infer(
                TRACKER,
                inputs,
                sequence_id=HOSTILE,
                sequence_start=start,
                sequence_end=self._chance.random() < 0.1,
                client_timeout=60,
            )
        except InferenceServerException:
            return False
        return True


def attack(address: str, size: Size, seed: int, seconds: float) -> tuple[Counter[str], int]:
    """Be hostile; runs in a process of its own, so that it takes no time of the other clients."""
    return Hostile(size, seed).send(address, seconds)


def run(address: str, videos: Videos, seconds: float, seed: int | None) -> Phase:
    """One phase: eight honest streams, or seven beside a hostile one where a seed is given."""
    until = time.monotonic() + seconds
    honest = range(STREAMS if seed is None else STREAMS - 1)
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as attacker,
        ThreadPoolExecutor(len(honest)) as clients,
    ):
        attacked = seed is not None and attacker.submit(attack, address, videos.size, seed, seconds)
        own = [clients.submit(follow, address, videos, stream, until) for stream in honest]
        phase = Phase()
        for stream, found in enumerate(future.result() for future in own):
            phase.add(found)
            if not found.masks:
                phase.wrong += 1
                phase.errors.append(f"stream {stream}: no mask came")
        if attacked:
            phase.sent, phase.refused = attacked.result()
    return phase


def main() -> int:
    """Run both phases; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=600, help="of each phase (default: 600)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    given = parser.parse_args()
    bundle = Bundle.open(given.bundle)
    videos = Videos(bundle)
    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch) / "repository"
        repository.mkdir()
        write_repository(bundle, repository, Options(threads=1))
        with TritonServer(repository, Path(scratch)) as server:
            phases = {
                "eight streams": run(server.address, videos, given.seconds, None),
                "seven and a hostile one": run(server.address, videos, given.seconds, given.seed),
            }
            ended = server.process.poll() is not None
            megabytes = round(server.memory() / 1e6)
    report = {
        "bundle": {"variant": bundle.manifest.variant, "size": list(bundle.manifest.size)},
        "seconds": given.seconds,
        "phases": {name: phase.figures() for name, phase in phases.items()},
        "server_ended": ended,
        "server_mb_at_the_end": megabytes,
        "machine": machine(),
    }
    text = json.dumps(report, indent=2) + "\n"
    print(text, end="")
    for phase in phases.values():
        print("\n".join(phase.errors), file=sys.stderr)
    if given.output:
        with replacing(given.output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return 1 if ended or any(phase.wrong for phase in phases.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
