"""Writes the graphs as ONNX files."""

import ast
import contextlib
import gc
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from onnxscript.optimizer import fold_constants
from torch import Tensor

from mavos_deploy.export import attention, labels
from mavos_deploy.export.graphs import form_of
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.runtime.bundles.manifest import Target
from mavos_deploy.runtime.contract import (
    CHANNELS,
    FEWEST_USED,
    USED,
    GraphSpec,
    TensorSpec,
    extents,
)
from mavos_deploy.runtime.geometry import STRIDE

OPSET = 18  # the exporter's own, so nothing is converted; TensorRT reads it since 8.6
LARGEST_FOLDED = 1 << 24  # elements of a constant; every weight is smaller
LARGEST_SHARED = 1 << 18  # elements of a constant; every table of a tile's keys is smaller
NAME_SCOPES = "pkg.torch.onnx.name_scopes"  # under which the exporter notes a node's modules
# Extents of named dimensions while tracing. All differ, and none is 0 or 1, which would be fixed.
TRACED = extents(2, (37, 53), channels=5)
TRACED_TOKENS = {"height": 7, "width": 11}  # the same, in graphs for frames of any size


def export_graph(network: Mavos, spec: GraphSpec, path: Path, target: str = Target.CPU) -> None:
    """Write one graph as a self-contained ONNX file.

    Args:
        network: Network in evaluation mode, on the CPU.
        spec: Specification of the graph.
        path: File to write; its folder exists.
        target: Device that the graph is written for.
    """
    graph = form_of(spec, target)(network).eval()
    dims, traced = _dimensions(network.variant.align_corners)
    dynamic = [
        {axis: dims[extent] for axis, extent in enumerate(tensor.shape) if isinstance(extent, str)}
        for tensor in spec.inputs
    ]
    arguments = [_example(tensor, index, traced) for index, tensor in enumerate(spec.inputs)]
    with _quiet(), _uncollected(), torch.inference_mode():
        program = torch.onnx.export(
            graph,
            tuple(arguments),
            dynamo=True,
            opset_version=OPSET,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_shapes=_by_parameter(graph, dynamic),
            custom_translation_table=attention.TRANSLATIONS | labels.TRANSLATIONS,
            external_data=False,
            optimize=False,  # the exporter's own is quadratic: 100 s for the tiled step
            verbose=False,
        )
    assert program is not None
    _tidy(program.model)
    model = program.model_proto
    _name_layers(model)
    _strip(model)
    onnx.helper.set_model_props(model, graph.notes)
    _name_dimensions(model, spec)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Collect no garbage: with so many objects as tracing makes, that takes a tenth of the time.

    What a graph leaves is collected at its end, without a look at the million objects of the
    modules that were there before.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()
        gc.unfreeze()


def _dimensions(align_corners: bool) -> tuple[dict[str, torch.export.Dim], dict[str, int]]:
    """Named dimensions and their extents while tracing.

    Sides of frames and maps derive from the tokens, so that the exporter proves that maps of all
    strides fit each other, whatever the size.
    """
    dims = {name: torch.export.Dim(name) for name in TRACED}
    dims[USED] = torch.export.Dim(USED, min=FEWEST_USED, max=CHANNELS)
    traced = dict(TRACED)
    for axis, count in TRACED_TOKENS.items():
        tokens = torch.export.Dim(f"{axis}_{STRIDE}", min=2)
        dims[f"{axis}_{STRIDE}"], traced[f"{axis}_{STRIDE}"] = tokens, count
        for name, times in ((f"{axis}_8", 2), (f"{axis}_4", 4), (axis, STRIDE)):
            less = times - 1 if align_corners else 0
            dims[name] = times * tokens - less if less else times * tokens
            traced[name] = times * count - less
    return dims, traced


def _example(spec: TensorSpec, seed: int, traced: Mapping[str, int]) -> Tensor:
    """An example of an input; torch.export would wire inputs with one tensor together."""
    shape = spec.shape_at(**traced)
    generator = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, spec.dtype)
    if dtype.is_floating_point:
        return torch.rand(shape, generator=generator, dtype=dtype)
    return torch.randint(0, 2, shape, generator=generator, dtype=dtype)


def _by_parameter(
    graph: torch.nn.Module, dynamic: list[dict[int, torch.export.Dim]]
) -> dict[str, object]:
    """Dynamic axes by the names of forward's parameters, the rest under its *parameter."""
    shapes: dict[str, object] = {}
    taken = 0
    for name, parameter in inspect.signature(graph.forward).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            shapes[name] = tuple(dynamic[taken:])
        else:
            shapes[name] = dynamic[taken]
            taken += 1
    return shapes


def _tidy(model: ir.Model) -> None:
    """Fold constants, layouts of weights among them, and drop unused and repeated parts."""
    fold_constants(
        model,
        onnx_shape_inference=True,
        input_size_limit=LARGEST_FOLDED,
        output_size_limit=LARGEST_FOLDED,
        should_fold=_may_be_folded,
    )
    for tidy in (
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(size_limit=LARGEST_SHARED),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        tidy(model)


def _may_be_folded(node: ir.Node) -> bool | None:
    """Keep some casts; None: as usual.

    Casts of float16 weights ask TensorRT for sums in float32, and bytes take less of the file than
    the integers they become.
    """
    if node.op_type != "Cast" or (given := node.inputs[0]) is None:
        return None
    return False if given.dtype in (ir.DataType.FLOAT16, ir.DataType.UINT8) else None


def _name_layers(model: onnx.ModelProto) -> None:
    """Put a node's module before its name: `LSTT.layers.0.linear_U/node_conv2d`.

    Quantisation groups the layers by it.
    """
    for node in model.graph.node:
        noted = {entry.key: entry.value for entry in node.metadata_props}
        # The exporter's list of nested modules, the node's own name last.
        scopes = ast.literal_eval(noted.get(NAME_SCOPES, "[]"))[:-1]
        module = scopes[-1].removeprefix("network.") if scopes else ""
        node.name = f"{module}/{node.name}"


def _strip(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes about the tracing machine: stack traces and file names."""
    model.doc_string = ""
    del model.metadata_props[:]
    _strip_graph(model.graph)


def _strip_graph(graph: onnx.GraphProto) -> None:
    graph.doc_string = ""
    del graph.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            if attribute.HasField("g"):  # a branch
                _strip_graph(attribute.g)
    for group in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in group:
            value.doc_string = ""
            del value.metadata_props[:]


def _name_dimensions(model: onnx.ModelProto, spec: GraphSpec) -> None:
    """Give inputs and outputs the contract's shapes; a difference in rank or type is a bug."""
    for values, tensors in ((model.graph.input, spec.inputs), (model.graph.output, spec.outputs)):
        assert [value.name for value in values] == [tensor.name for tensor in tensors]
        for value, tensor in zip(values, tensors, strict=True):
            dims = value.type.tensor_type.shape.dim
            assert len(dims) == len(tensor.shape), f"{value.name}: {dims} is not {tensor.shape}"
            for dim, extent in zip(dims, tensor.shape, strict=True):
                if isinstance(extent, str):
                    dim.dim_param = extent
                else:
                    assert not dim.dim_value or dim.dim_value == extent, f"{value.name}: {dims}"
                    dim.dim_value = extent


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and advice to its own developers off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
