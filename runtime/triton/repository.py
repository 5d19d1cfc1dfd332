"""Writes a bundle as a Triton model repository."""

import shutil
from pathlib import Path

from mavos_deploy.errors import BundleError, InputError
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.manifest import MANIFEST, Manifest
from mavos_deploy.runtime.bundles.quantisation import GraphKind
from mavos_deploy.runtime.triton.config import (
    CONFIG,
    GRAPH_FILES,
    Graphs,
    Options,
    graph_config,
    to_text,
    tracker_config,
)
from mavos_deploy.runtime.triton.served_graphs import graph_model
from mavos_deploy.runtime.triton.wire import BUNDLE, VERSION

MODEL_PY = '''\
"""The tracker. The server's Python needs the package mavos-deploy, which has its code."""

from mavos_deploy.runtime.triton.tracker import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def write_repository(
    bundle: Bundle, folder: Path, options: Options, plans: Path | None = None
) -> None:
    """Write the models of a bundle.

    Args:
        bundle: The opened bundle.
        folder: Folder to write to; it exists and is empty.
        options: The form in which the bundle is served.
        plans: Folder of `<graph>.plan`, for the backend `tensorrt`.

    Raises:
        BundleError: A graph or the manifest was changed since the bundle was opened.
        InputError: A plan is missing, a file can't be written, the bundle takes any size, for
            which a server's limits can't be stated, or graph models can't run it.
    """
    if bundle.manifest.dynamic:
        raise InputError(
            f"{bundle.path} takes frames of any size, and a server needs to know how much memory a "
            "stream may take; export one for your videos' size with mavos-export --size-for WxH"
        )
    quantisation = bundle.manifest.quantisation
    if (
        quantisation is not None
        and quantisation.kind == GraphKind.OPENVINO
        and options.graphs is not Graphs.TRACKER
    ):
        raise InputError(
            f"{bundle.path} was quantised for OpenVINO, which runs in the tracker model alone; "
            "take --graphs tracker, or a bundle that was quantised for another library"
        )
    found = {} if options.graphs is not Graphs.TENSORRT else _plans(bundle, plans)
    if options.graphs is not Graphs.TRACKER:
        for graph, spec in bundle.specs.items():
            model = folder / graph_model(options.name, graph)
            target = model / VERSION / GRAPH_FILES[options.graphs]
            target.parent.mkdir(parents=True)
            if graph in found:
                shutil.copyfile(found[graph], target)
            else:
                target.write_bytes(bundle.graph(graph))
            _write(model / CONFIG, to_text(graph_config(spec, bundle.manifest, options)))
    model = folder / options.name
    (model / VERSION).mkdir(parents=True)
    _write(model / VERSION / "model.py", MODEL_PY)
    _write(model / CONFIG, to_text(tracker_config(bundle.manifest, options)))
    own = model / VERSION / BUNDLE
    own.mkdir()
    for held in bundle.manifest.files:
        (own / held.file).parent.mkdir(parents=True, exist_ok=True)
        (own / held.file).write_bytes(bundle.content(bundle.path / held.file))
    shutil.copyfile(bundle.path / MANIFEST, own / MANIFEST)
    if Manifest.read(own / MANIFEST) != bundle.manifest:
        raise BundleError(f"{bundle.path} was changed while it was copied; run the command again")


def _plans(bundle: Bundle, folder: Path | None) -> dict[str, Path]:
    if folder is None:
        raise InputError("--graphs tensorrt needs --plans, a folder of <graph>.plan")
    found = {graph: folder / f"{graph}.plan" for graph in bundle.specs}
    if missing := [path.name for path in found.values() if not path.is_file()]:
        raise InputError(f"{folder} lacks {', '.join(missing)}; expected a plan for each graph")
    return found


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
