"""Labels of two bundles' decoders in turns: processor time, and whether they are the same.

    python -m benchmarks.labels BEFORE NOW --output labels.json

Both bundles are of one variant and size. ONNX Runtime runs their decoders with one thread on the
same random features, so objects are everywhere, and labels are made in bands: with three, ten,
thirteen and fifty objects.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.backends.protocol import Array
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import CHANNELS, IDENTITIES, UNUSED_OBJECT, GraphName, extents
from mavos_deploy.runtime.geometry import Size, parse_size
from mavos_deploy.runtime.resize import interpolation
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import machine

OBJECTS = {3: (1, 4), 10: (1, CHANNELS), 13: (2, CHANNELS), 50: (5, CHANNELS)}  # groups, channels
ROUNDS = 9


def made_up(bundle: Bundle, video: Size, objects: int) -> dict[str, Array]:
    """Random inputs of a decoder, by name.

    Args:
        bundle: Opened bundle.
        video: Height and width of the labels.
        objects: Number of them, a key of `OBJECTS`.
    """
    groups, channels = OBJECTS[objects]
    draw = np.random.default_rng(objects)
    inputs: dict[str, Array] = {
        tensor.name: draw.standard_normal(
            tensor.shape_at(**extents(groups, video, channels))
        ).astype(tensor.dtype)
        for tensor in bundle.specs[GraphName.DECODER].inputs
    }
    in_last = objects - IDENTITIES * (groups - 1)
    inputs["object_mask"] = np.zeros((groups, channels), np.float32)
    inputs["object_mask"][-1, 1 + in_last :] = UNUSED_OBJECT
    return {**inputs, **interpolation(video, bundle.manifest.size, bundle.manifest.align_corners)}


def main() -> int:
    """Measure, print and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("now", type=Path)
    parser.add_argument("--video", default="1080x1920", help="size of the labels")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    try:
        bundles = {"before": Bundle.open(given.before), "now": Bundle.open(given.now)}
        kinds = [(b.manifest.variant, b.manifest.size) for b in bundles.values()]
        if kinds[0] != kinds[1]:
            raise InputError(f"{given.before} is {kinds[0]}, {given.now} is {kinds[1]}; give twins")
        backends = {name: OnnxRuntimeCpu(bundle, 1) for name, bundle in bundles.items()}
        video = parse_size(given.video)
        rows: dict[str, Any] = {}
        for objects in OBJECTS:
            inputs = made_up(bundles["now"], video, objects)
            spent: dict[str, list[float]] = {name: [] for name in backends}
            found = {
                name: backend.run(GraphName.DECODER, inputs)["labels"]
                for name, backend in backends.items()
            }
            for _ in range(ROUNDS):
                for name, backend in backends.items():
                    started = time.process_time()
                    backend.run(GraphName.DECODER, inputs)
                    spent[name].append(1000 * (time.process_time() - started))
            rows[str(objects)] = {
                **{f"{name}_ms": round(median(times), 1) for name, times in spent.items()},
                "pixels_that_differ": int((found["before"] != found["now"]).sum()),
            }
            print(f"{objects} objects: {rows[str(objects)]}", flush=True)
        manifest = bundles["now"].manifest
        report = {
            "variant": manifest.variant,
            "size": "x".join(map(str, manifest.size)),
            "video": given.video,
            "machine": machine(),
            "threads": 1,
            "rounds": ROUNDS,
            "objects": rows,
        }
        with replacing(given.output) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except MavosError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
