"""Writes a quantised bundle: an fp32 bundle with chosen layers and attention in 8 bits."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from mavos_deploy.calibration.quantise import FloatGraph
from mavos_deploy.calibration.sensitivity import ATTENTION
from mavos_deploy.calibration.trial import changed_graphs
from mavos_deploy.errors import BundleError
from mavos_deploy.hashing import file_sha256
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.manifest import GraphFile, Manifest, write_manifest
from mavos_deploy.runtime.bundles.quantisation import SCORES, Quantisation
from mavos_deploy.runtime.contract import GraphName

SPECIAL = (GraphName.DECODER_ONE, GraphName.STEP_ONE)
TOOLS = ("mavos-deploy", "onnx", "onnxruntime", "numpy")


def check_source(bundle: Bundle) -> None:
    """Refuse a bundle that can't be quantised.

    Raises:
        BundleError: The bundle is quantised already, not in fp32, or for frames of any size.
    """
    manifest = bundle.manifest
    if manifest.quantisation is not None:
        raise BundleError(
            f"{bundle.path} is quantised already ({manifest.arithmetic}); give the fp32 bundle "
            "that it was made from"
        )
    if manifest.precision != "fp32":
        raise BundleError(
            f"{bundle.path} is {manifest.precision}; quantising starts from fp32 (mavos-export "
            "without --precision)"
        )
    if manifest.dynamic:
        raise BundleError(
            f"{bundle.path} takes frames of any size, and ranges are those of one; quantise a "
            "bundle for your videos' size (mavos-export --size-for WxH)"
        )


def in_general(bundle: Bundle) -> Bundle:
    """The bundle with those graphs alone that serve every video.

    A special one, which some videos take in place of another, would have to be quantised like it.
    """
    graphs = {n: g for n, g in bundle.manifest.graphs.items() if n not in SPECIAL}
    return replace(bundle, manifest=replace(bundle.manifest, graphs=graphs))


def write_quantised(bundle: Bundle, entry: Quantisation, folder: Path) -> Manifest:
    """Write the bundle that an entry of a manifest describes.

    The same bundle and the same entry give the same graphs, byte for byte, with the same release
    of onnx.

    Args:
        bundle: Bundle in fp32, not quantised.
        entry: Groups and parts of attention to quantise, with their ranges and levels.
        folder: Existing and empty folder that becomes the bundle.

    Returns:
        The manifest as written, without parity and engines.

    Raises:
        BundleError: The entry was made from other graphs, or the bundle can't be quantised.
    """
    check_source(bundle)
    own = in_general(bundle).manifest.graphs
    changed = changed_graphs(own, {**entry.groups, ATTENTION: tuple(entry.attention)})
    for name in {**entry.sources, **dict.fromkeys(changed)}:
        if name not in own or own[name].sha256 != entry.sources.get(name):
            raise BundleError(
                f"{bundle.path}: {name} is not the graph that was quantised; give the fp32 bundle "
                "that the choice was made for"
            )
    specs = Bundle(bundle.path, replace(bundle.manifest, quantisation=entry)).specs
    (folder / "graphs").mkdir()
    files = {}
    for name in own:
        path = folder / "graphs" / f"{name}.onnx"
        if name in changed:
            graph = FloatGraph(name, bundle.graph(name))
            _check_entry(entry, graph)
            path.write_bytes(graph.quantised(entry))
        else:
            path.write_bytes(bundle.graph(name))
        spec = specs[name]
        files[name] = GraphFile(f"graphs/{name}.onnx", file_sha256(path), spec.inputs, spec.outputs)
    manifest = replace(
        bundle.manifest,
        graphs=files,
        parity=None,
        engines=(),
        quantisation=entry,
        tools={**bundle.manifest.tools, **{name: version(name) for name in TOOLS}},
    )
    write_manifest(folder, manifest)
    return manifest


def _check_entry(entry: Quantisation, graph: FloatGraph) -> None:
    groups = entry.groups.get(graph.name, ())
    unknown = sorted(set(groups) - set(graph.groups))
    ranges = entry.ranges.get(graph.name, {})
    needed = graph.needed(groups, entry.kind)
    if SCORES in entry.attention:
        needed += graph.factors(entry.kind)
    missing = [name for name in needed if name not in ranges]
    if unknown or missing:
        raise BundleError(
            f"the recorded choice doesn't fit {graph.name} (at {(unknown + missing)[0]}); "
            "calibrate again"
        )
