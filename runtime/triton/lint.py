"""Compares a model repository with its graphs and its bundle, before a server loads it.

Triton itself finds some of these faults, at start-up and one at a time; others, such as swapped
states, only show in masks or in the middle of a stream.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.hashing import file_sha256
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import GraphSpec
from mavos_deploy.runtime.triton.config import (
    CONFIG,
    GRAPH_FILES,
    TYPES,
    Graphs,
    from_text,
    graph_shape,
    messages,
    parameters_of,
)
from mavos_deploy.runtime.triton.served_graphs import graph_model
from mavos_deploy.runtime.triton.wire import (
    BUNDLE,
    END,
    INPUTS,
    LATER,
    OUTPUTS,
    START,
    STREAM,
    VERSION,
    StreamLimits,
    Untyped,
)

BACKENDS = ("python", *GRAPH_FILES)
Tensors = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Fault:
    """A fault that would make a server refuse a model, or answer wrongly.

    Attributes:
        model: Folder of the model; empty for the repository.
        found: The fault, as it stands in the repository.
        expected: The right thing in its place.
    """

    model: str
    found: str
    expected: str

    def __str__(self) -> str:
        where = f"{self.model}: " if self.model else ""
        return f"{where}{self.found}; expected {self.expected}"


def check_repository(folder: Path) -> list[Fault]:
    """Look for faults in a repository.

    Args:
        folder: A repository that `mavos-triton` wrote, perhaps edited since.

    Returns:
        All faults that were found.

    Raises:
        InputError: There is no such folder.
        MavosError: Triton's client library is missing.
    """
    messages()
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give a model repository")
    faults: list[Fault] = []
    configs: dict[str, Untyped] = {}
    for model in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            configs[model.name] = from_text((model / CONFIG).read_text(encoding="utf-8"))
        except OSError:
            faults.append(Fault(model.name, f"no {CONFIG}", "a configuration"))
        except ValueError as error:  # with line and column
            faults.append(Fault(model.name, f"{CONFIG} can't be parsed ({error})", "Triton's form"))
    trackers = {name: c for name, c in configs.items() if c.backend == "python"}
    if not trackers and not faults:
        faults.append(Fault("", "no tracker model", "one with the backend python"))
    for name, config in configs.items():
        faults += _general(folder, name, config)
    for name, config in trackers.items():
        faults += _tracker(folder, name, config, configs)
    return faults


def _general(folder: Path, name: str, config: Untyped) -> Iterator[Fault]:
    """Faults that any model may have."""
    if config.name not in ("", name):
        yield Fault(name, f"name: {config.name!r}", "the folder's name, or none")
    if config.backend not in BACKENDS:
        yield Fault(name, f"backend: {config.backend!r}", f"one of {', '.join(BACKENDS)}")
    if config.max_batch_size != 0:
        yield Fault(
            name,
            f"max_batch_size: {config.max_batch_size}",
            "0: groups of objects are an ordinary axis, and Triton must not join requests",
        )
    if not (folder / name / VERSION).is_dir():
        yield Fault(name, f"no folder {VERSION}", "the model's version 1")
    for group in config.instance_group:
        gpu = group.kind == messages().ModelInstanceGroup.KIND_GPU
        if group.gpus and not gpu:
            yield Fault(name, "gpus in a group that is not KIND_GPU", "KIND_GPU, or no gpus")
    yield from _state_order(name, config)


def _state_order(name: str, config: Untyped) -> Iterator[Fault]:
    """Implicit state, which somebody may have added to chain the graphs in Triton itself."""
    states = list(config.sequence_batching.state)
    if not states:
        return
    if config.backend == "python":
        yield Fault(
            name,
            "sequence_batching.state under the Python backend, which never stores it",
            "none; the tracker keeps its own",
        )
    paired = sorted((state.input_name, state.output_name) for state in states)
    if [output for _, output in paired] != sorted(output for _, output in paired):
        yield Fault(
            name,
            "states whose input names and output names sort differently",
            "names that differ in one fixed token: Triton pairs them by order, and would swap them",
        )


def _tracker(
    folder: Path, name: str, config: Untyped, configs: Mapping[str, Untyped]
) -> Iterator[Fault]:
    version = folder / name / VERSION
    if not (version / "model.py").is_file():
        yield Fault(name, f"no {VERSION}/model.py", "the file that mavos-triton writes")
    for side, given, expected in (
        ("input", config.input, INPUTS),
        ("output", config.output, OUTPUTS),
    ):
        found = _config_tensors(given)
        wire = {
            t.name: (t.dtype, t.shape) for t in expected if t.name in found or t.name not in LATER
        }
        yield from _compare(name, side, found, wire)
    if required := [tensor.name for tensor in config.input if not tensor.optional]:
        yield Fault(name, f"input {required[0]} is required", "optional: true for every input")
    yield from _controls(name, config)
    yield from _limits(name, config)
    parameters = parameters_of(config)
    try:
        bundle = Bundle.open(version / BUNDLE)
    except MavosError as error:
        yield Fault(name, f"the bundle can't be opened ({error})", "a whole bundle")
        return
    manifest = bundle.manifest
    for key, value in (
        ("identity", manifest.identity),
        ("height", str(manifest.height)),
        ("width", str(manifest.width)),
        ("trained", "yes" if manifest.trained else "no"),
    ):
        if parameters.get(key) != value:
            yield Fault(name, f"parameter {key} {parameters.get(key)!r:.40}", f"{value!r:.40}")
    models = parameters.get("graph_models")
    on_gpu = any(
        group.kind == messages().ModelInstanceGroup.KIND_GPU for group in config.instance_group
    )
    if on_gpu and not models:
        yield Fault(
            name, "KIND_GPU in a tracker that runs the graphs itself, on the CPU", "graph models"
        )
    if not models:
        return
    for graph, spec in bundle.specs.items():
        model = graph_model(models, graph)
        if model not in configs:
            yield Fault(name, f"no model {model}, which it calls", "a model of every graph")
        else:
            yield from _graph(folder, model, configs[model], bundle, spec)


def _controls(name: str, config: Untyped) -> Iterator[Fault]:
    pb = messages()
    kinds = pb.ModelSequenceBatching.Control
    if not config.HasField("sequence_batching"):
        yield Fault(name, "no sequence_batching", "one, or every frame may go to another instance")
        return
    batching = config.sequence_batching
    if not batching.HasField("oldest"):
        yield Fault(
            name,
            "sequence_batching without `oldest`",
            "`oldest`: with `direct` a stream waits until an earlier one goes idle",
        )
    controls = {control.name: control.control[:1] for control in batching.control_input}
    for control, kind in ((START, kinds.CONTROL_SEQUENCE_START), (END, kinds.CONTROL_SEQUENCE_END)):
        entry = controls.get(control)
        if not entry or entry[0].kind != kind:
            yield Fault(name, f"no control input {control}", f"{kinds.Kind.Name(kind)}")
        elif list(entry[0].int32_false_true) != [0, 1]:
            yield Fault(
                name,
                f"{control} with int32_false_true {list(entry[0].int32_false_true)}",
                "[0, 1]",
            )
    entry = controls.get(STREAM)
    if not entry or entry[0].kind != kinds.CONTROL_SEQUENCE_CORRID:
        yield Fault(name, f"no control input {STREAM}", "CONTROL_SEQUENCE_CORRID")
    elif entry[0].data_type != pb.TYPE_UINT64:
        yield Fault(name, f"{STREAM} of {pb.DataType.Name(entry[0].data_type)}", "TYPE_UINT64")


def _limits(name: str, config: Untyped) -> Iterator[Fault]:
    try:
        limits = StreamLimits.from_parameters(parameters_of(config))
    except InputError as error:
        yield Fault(name, str(error), "the limits that mavos-triton writes")
        return
    batching = config.sequence_batching
    if batching.max_sequence_idle_microseconds <= limits.idle_seconds * 1e6:
        yield Fault(
            name,
            f"max_sequence_idle_microseconds {batching.max_sequence_idle_microseconds}",
            f"more than the tracker's {limits.idle_seconds:g} s, so that its error says what "
            "happened",
        )
    candidates = batching.oldest.max_candidate_sequences
    if batching.HasField("oldest") and candidates < limits.max_streams:
        yield Fault(
            name, f"max_candidate_sequences {candidates}", f"{limits.max_streams} streams or more"
        )


def _graph(
    folder: Path, model: str, config: Untyped, bundle: Bundle, spec: GraphSpec
) -> Iterator[Fault]:
    """A graph model against its file and the bundle's contract."""
    if config.backend not in GRAPH_FILES:
        return  # said already
    file = folder / model / VERSION / GRAPH_FILES[config.backend]
    if not file.is_file():
        yield Fault(model, f"no {VERSION}/{file.name}", f"the graph for {config.backend}")
        return
    for side, tensors, given in (
        ("input", spec.inputs, config.input),
        ("output", spec.outputs, config.output),
    ):
        contract = {t.name: (TYPES[t.dtype], tuple(graph_shape(t))) for t in tensors}
        yield from _compare(model, side, _config_tensors(given), contract)
    if config.backend == Graphs.TENSORRT:
        yield from _plan(model, file)
    elif file_sha256(file) != bundle.manifest.graphs[spec.name].sha256:
        yield Fault(model, f"{file.name} is not the bundle's {spec.name}", "that graph")


def _plan(model: str, file: Path) -> Iterator[Fault]:
    with file.open("rb") as plan:
        header = plan.read(28)
    # The second to fourth bytes say TensorRT, the first which kind. Read off plans of
    # TensorRT-RTX 1.7.1, whose header has 28 bytes.
    if len(header) < 28 or header[1:4] != b"trt" or header[:1] == b"v":
        what = "a plan of TensorRT-RTX" if header[:4] == b"vtrt" else "no TensorRT plan"
        yield Fault(model, f"{file.name} is {what}", "a plan of TensorRT; Triton loads no other")


def _config_tensors(tensors: Untyped) -> Tensors:
    names = messages().DataType
    return {t.name: (names.Name(t.data_type).removeprefix("TYPE_"), tuple(t.dims)) for t in tensors}


def _compare(model: str, side: str, given: Tensors, expected: Tensors) -> Iterator[Fault]:
    for name in sorted(given.keys() - expected.keys()):
        yield Fault(model, f"{side} {name}", f"one of {', '.join(expected)}")
    for name in sorted(expected.keys() - given.keys()):
        yield Fault(model, f"no {side} {name}", "all tensors of the graph")
    for name in given.keys() & expected.keys():
        (dtype, shape), (other_dtype, other_shape) = given[name], expected[name]
        if dtype != other_dtype:
            yield Fault(model, f"{side} {name} of {dtype}", other_dtype)
        if shape != other_shape:
            yield Fault(model, f"{side} {name} with dims {list(shape)}", f"{list(other_shape)}")
