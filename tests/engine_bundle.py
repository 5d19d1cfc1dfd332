"""A bundle with engines for the stand-in for TensorRT, and frames and labels to run it on."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.bundles.engines import Engine, Flags, Library, Profile
from mavos_deploy.runtime.bundles.manifest import write_manifest
from mavos_deploy.runtime.contract import GROUPS
from tests.tensorrt_stand_in import CAPABILITY, VERSION

SIZE = 97  # pixels on each side, and the memory gap, of the fixture `tiny_bundle`
GAP = 2
MOST_GROUPS = 3


def add_engines(folder: Path) -> None:
    """Add engines for the stand-in to a bundle: each graph's ONNX file is its plan."""
    bundle = Bundle.open(folder)
    engines = []
    for graph, spec in bundle.specs.items():
        content = bundle.graph_path(graph).read_bytes()
        profile: Profile = {}
        for tensor in spec.inputs:
            if any(isinstance(extent, str) for extent in tensor.shape):
                low = tuple(e if isinstance(e, int) else 1 for e in tensor.shape)
                high = tuple(
                    e if isinstance(e, int) else MOST_GROUPS if e == GROUPS else 200
                    for e in tensor.shape
                )
                profile[tensor.name] = low, low, high
        for library in Library:
            file = f"engines/{library}-{graph}.plan"
            (folder / "engines").mkdir(exist_ok=True)
            (folder / file).write_bytes(content)
            engines.append(
                Engine(
                    graph=graph,
                    file=file,
                    sha256=hashlib.sha256(content).hexdigest(),
                    graph_sha256=bundle.manifest.graphs[graph].sha256,
                    library=library,
                    version=VERSION,
                    capability=CAPABILITY,
                    gpu=None,
                    driver=None,
                    flags=Flags(),
                    profiles=(profile,) if profile else (),
                )
            )
    write_manifest(folder, replace(bundle.manifest, engines=tuple(engines)))


def picture(index: int, seed: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
    """A frame in which squares move."""
    frame = np.random.default_rng(seed).integers(0, 120, (size, size, 3)).astype(np.uint8)
    for number in range(3):
        top, left = 10 + 25 * number, 10 + (3 * index + 17 * number) % 60
        frame[top : top + 18, left : left + 18] += np.uint8(40 * (number + 1))
    return frame


def squares(count: int = 2, size: int = SIZE) -> NDArray[np.uint8]:
    """Labels 1..count in a grid."""
    labels = np.zeros((size, size), np.uint8)
    for number in range(count):
        top, left = 16 * (number // 5), 16 * (number % 5)
        labels[top + 2 : top + 15, left + 2 : left + 15] = number + 1
    return labels
