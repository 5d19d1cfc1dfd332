"""Model configurations, as Triton's own protobuf messages."""

from dataclasses import dataclass, field
from importlib import import_module

from mavos_deploy.errors import MavosError
from mavos_deploy.runtime.bundles.manifest import Manifest
from mavos_deploy.runtime.contract import GraphSpec, TensorSpec, extents
from mavos_deploy.runtime.triton.served_graphs import graph_model
from mavos_deploy.runtime.triton.wire import (
    END,
    INPUTS,
    OUTPUTS,
    START,
    STREAM,
    TRACKER,
    StreamLimits,
    Untyped,
    WireTensor,
)
from mavos_deploy.words import Word

CONFIG = "config.pbtxt"

TYPES = {"float32": "FP32", "float16": "FP16", "uint8": "UINT8", "int32": "INT32"}

# Streams that Triton hands on to one instance of the tracker. The tracker refuses those beyond its
# own limit at once, with a reason; Triton would let them wait without one.
CANDIDATES = 4096
# Triton forgets a stream later than the tracker does, whose error says what happened.
IDLE_FACTOR = 2
WARM_GROUPS = 1


class Graphs(Word):
    """Models that run the graphs: the tracker itself, or graph models of a backend of Triton's."""

    TRACKER = "tracker"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


# Name of a graph's file, by the backend that runs it.
GRAPH_FILES: dict[str, str] = {Graphs.ONNXRUNTIME: "model.onnx", Graphs.TENSORRT: "model.plan"}


@dataclass(frozen=True)
class Options:
    """The form in which a repository serves a bundle.

    Attributes:
        name: Name of the tracker model; the graph models are called `<name>_<graph>`.
        limits: Limits of one instance of the tracker.
        instances: Instances of the tracker and of each graph model; with several GPUs, on each.
        gpus: GPUs to run on; empty for the CPU.
        threads: CPU threads of each instance; None shares out all that the server may use.
        graphs: Models that run the graphs.
        queue_limit: Requests that may wait for a graph model.
        queue_timeout: Seconds that a request may wait.
        priority: Priority of the tracker's instances among a server's models; 1 is served first.
    """

    name: str = TRACKER
    limits: StreamLimits = field(default_factory=StreamLimits)
    instances: int = 1
    gpus: tuple[int, ...] = ()
    threads: int | None = None
    graphs: Graphs = Graphs.TRACKER
    queue_limit: int = 64
    queue_timeout: float = 10.0
    priority: int = 1


def messages() -> Untyped:
    """The module with Triton's messages.

    Raises:
        MavosError: The module isn't installed.
    """
    try:
        return import_module("tritonclient.grpc.model_config_pb2")
    except (ImportError, TypeError) as error:  # a TypeError where protobuf is too new for it
        raise MavosError(
            f"Triton's client library can't be imported ({error}); install it with "
            "pip install 'mavos-deploy[triton]'"
        ) from error


def to_text(config: Untyped) -> str:
    """A configuration as the text of a `config.pbtxt`."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(config))


def from_text(text: str) -> Untyped:
    """Read the text of a `config.pbtxt`.

    Raises:
        ValueError: The text is no configuration; the message has the line and the column.
    """
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, messages().ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(" ".join(str(error).split())) from None


def tracker_config(manifest: Manifest, options: Options) -> Untyped:
    """The model that users call: frames in, label maps out, a state for each sequence.

    Args:
        manifest: Manifest of the bundle.
        options: Options of the repository.
    """
    pb = messages()
    limits = options.limits
    config = pb.ModelConfig(name=options.name, backend="python", max_batch_size=0)
    for tensor in INPUTS:
        config.input.append(
            pb.ModelInput(
                name=tensor.name, data_type=_wire_type(tensor), dims=tensor.shape, optional=True
            )
        )
    for tensor in OUTPUTS:
        config.output.append(
            pb.ModelOutput(name=tensor.name, data_type=_wire_type(tensor), dims=tensor.shape)
        )
    batching = config.sequence_batching
    batching.max_sequence_idle_microseconds = round(IDLE_FACTOR * limits.idle_seconds * 1e6)
    control = pb.ModelSequenceBatching.Control
    for name, kind in (
        (START, control.CONTROL_SEQUENCE_START),
        (END, control.CONTROL_SEQUENCE_END),
    ):
        batching.control_input.add(name=name, control=[control(kind=kind, int32_false_true=[0, 1])])
    batching.control_input.add(
        name=STREAM,
        control=[control(kind=control.CONTROL_SEQUENCE_CORRID, data_type=pb.TYPE_UINT64)],
    )
    batching.oldest.max_candidate_sequences = CANDIDATES
    group = _instances(config, options)
    # Of effect where the server is started with --rate-limit=execution_count.
    group.rate_limiter.priority = options.priority
    parameters = {
        **limits.parameters(),
        "variant": manifest.variant,
        "trained": "yes" if manifest.trained else "no",
        "height": str(manifest.height),
        "width": str(manifest.width),
        "identity": manifest.identity,
        "device": "gpu" if options.gpus else "cpu",
        **({"threads": str(options.threads)} if options.threads else {}),
        **({"graph_models": options.name} if options.graphs is not Graphs.TRACKER else {}),
    }
    for name, value in parameters.items():
        config.parameters[name].string_value = value
    return config


def graph_config(spec: GraphSpec, manifest: Manifest, options: Options) -> Untyped:
    """A model that runs one graph.

    Groups of objects are an ordinary axis of it, not Triton's batch axis: inputs that all groups
    share have one row, so Triton must not join requests.

    Args:
        spec: The graph's tensors, by the bundle's contract.
        manifest: Manifest of the bundle.
        options: Options of the repository, with graph models.
    """
    pb = messages()
    config = pb.ModelConfig(
        name=graph_model(options.name, spec.name), backend=options.graphs.value, max_batch_size=0
    )
    for tensor in spec.inputs:
        config.input.append(
            pb.ModelInput(name=tensor.name, data_type=graph_type(tensor), dims=graph_shape(tensor))
        )
    for tensor in spec.outputs:
        config.output.append(
            pb.ModelOutput(name=tensor.name, data_type=graph_type(tensor), dims=graph_shape(tensor))
        )
    _instances(config, options)
    queue = config.dynamic_batching
    queue.priority_levels = 2
    queue.default_priority_level = 1  # the tracker's calls; others may pass 2 to give way to them
    queue.default_queue_policy.max_queue_size = options.queue_limit
    queue.default_queue_policy.default_timeout_microseconds = round(options.queue_timeout * 1e6)
    queue.default_queue_policy.timeout_action = pb.ModelQueuePolicy.REJECT
    queue.default_queue_policy.allow_timeout_override = True
    # One group, in a video of the network's size.
    shapes = extents(WARM_GROUPS, (manifest.height, manifest.width))
    warmup = config.model_warmup.add(name="one group", batch_size=0, count=1)
    for tensor in spec.inputs:
        entry = warmup.inputs[tensor.name]
        entry.data_type, entry.zero_data = graph_type(tensor), True
        entry.dims.extend(tensor.shape_at(**shapes))
    if options.graphs is Graphs.ONNXRUNTIME:
        # The package's sessions share one arena; a server's models can't, and each would keep its
        # own peak.
        threads = {"intra_op_thread_count": str(options.threads)} if options.threads else {}
        for name, value in {"enable_mem_arena": "0", **threads}.items():
            config.parameters[name].string_value = value
    return config


def graph_type(tensor: TensorSpec) -> int:
    """Triton's number of a tensor's type."""
    number: int = messages().DataType.Value(f"TYPE_{TYPES[tensor.dtype]}")
    return number


def graph_shape(tensor: TensorSpec) -> list[int]:
    """A tensor's shape as Triton writes it: -1 where it may vary."""
    return [extent if isinstance(extent, int) else -1 for extent in tensor.shape]


def parameters_of(config: Untyped) -> dict[str, str]:
    """The parameters of a configuration."""
    return {name: str(value.string_value) for name, value in config.parameters.items()}


def _wire_type(tensor: WireTensor) -> int:
    number: int = messages().DataType.Value(f"TYPE_{tensor.dtype}")
    return number


def _instances(config: Untyped, options: Options) -> Untyped:
    pb = messages()
    group = config.instance_group.add(count=options.instances)
    group.kind = pb.ModelInstanceGroup.KIND_GPU if options.gpus else pb.ModelInstanceGroup.KIND_CPU
    group.gpus.extend(options.gpus)
    return group
