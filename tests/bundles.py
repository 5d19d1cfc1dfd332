"""A bundle that is whole by every check of its manifest, but whose graphs are no graphs."""

import hashlib
from pathlib import Path

from mavos_deploy.runtime.contract import Dimensions, Precision, graph_specs
from mavos_deploy.runtime.manifest import GraphFile, Manifest, Target, write_manifest


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
