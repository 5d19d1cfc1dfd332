"""Bundles to change, and a bundle whose files are right by its manifest but hold no graphs."""

import hashlib
import os
from pathlib import Path
from shutil import copytree

from mavos_deploy.runtime.bundles.manifest import (
    MANIFEST,
    GraphFile,
    Manifest,
    Target,
    write_manifest,
)
from mavos_deploy.runtime.contract import Dimensions, Precision, graph_specs


def copy_to_change(bundle: Path, folder: Path) -> Path:
    """Make a missing folder a copy of a bundle, and return it.

    The manifest is the copy's own. The other files are links to those of the bundle: a test may
    replace them, but must not write into them.
    """
    copytree(bundle, folder, copy_function=os.link)
    manifest = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).write_bytes(manifest)
    return folder


def hollow_bundle(folder: Path) -> Path:
    """Make an empty folder a float16 bundle for 97x97 frames; its graph files hold their names."""
    dimensions = Dimensions((24, 32, 96), 256, 128, 512)
    (folder / "graphs").mkdir()
    graphs = {}
    for name, spec in graph_specs(dimensions, (97, 97), "fp16").items():
        file = f"graphs/{name}.onnx"
        (folder / file).write_bytes(name.encode())
        digest = hashlib.sha256(name.encode()).hexdigest()
        graphs[name] = GraphFile(file, digest, spec.inputs, spec.outputs)
    manifest = Manifest(
        variant="mobilenet",
        weights_source="synthetic",
        weights_sha256="0",
        trained=False,
        height=97,
        width=97,
        align_corners=True,
        dimensions=dimensions,
        memory_gap=3,
        precision=Precision.FP16,
        target=Target.GPU,
        graphs=graphs,
        tools={},
    )
    write_manifest(folder, manifest)
    return folder
