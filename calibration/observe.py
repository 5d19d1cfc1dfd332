"""Runs single graphs on recorded samples and collects the ranges of their tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.calibration.quantise import FloatGraph
from mavos_deploy.calibration.quantise_attention import levels_between
from mavos_deploy.calibration.quantise_products import CHANGED, memory_block, self_values
from mavos_deploy.calibration.recorder import Recordings
from mavos_deploy.errors import BackendError, InputError, one_line
from mavos_deploy.runtime.backends.onnxruntime_library import CPU, open_library, session_options
from mavos_deploy.runtime.backends.protocol import Array
from mavos_deploy.runtime.bundles.quantisation import ATTENTIONS, GraphKind, Levels, Range
from mavos_deploy.runtime.contract import GraphName
from mavos_deploy.runtime.system.processors import usable_processors

AT_ONCE = 32  # inner tensors that a run hands out; all of a step's would take half a GB at 480p


@dataclass
class Extremes:
    """The lowest and the highest value of each channel of a tensor.

    Attributes:
        low: Lowest values, float32 [channels]; empty before the first sample.
        high: Highest values, float32 [channels]; empty before the first sample.
    """

    low: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    high: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def add(self, values: NDArray[np.float32]) -> None:
        """Take the values of another sample, [groups, channels, ...], all finite."""
        others = (0, *range(2, values.ndim))
        low, high = values.min(axis=others), values.max(axis=others)
        known = self.low.size > 0
        self.low = np.minimum(self.low, low) if known else low
        self.high = np.maximum(self.high, high) if known else high


def widened(limits: Range, values: NDArray[np.float32]) -> Range:
    """The range that also holds these values, all finite."""
    if not values.size:
        return limits
    return min(limits[0], float(values.min())), max(limits[1], float(values.max()))


def observe(
    graph: FloatGraph,
    recordings: Recordings,
    kind: GraphKind,
    threads: int | None,
    on_sample: Callable[[], None] = lambda: None,
) -> dict[str, Range]:
    """Find the range of every tensor that quantising a graph may need.

    Samples are read one by one, so memory is bounded.

    Args:
        graph: The unquantised graph.
        recordings: Recordings with samples of the graph.
        kind: Kind of the quantised graphs.
        threads: CPU threads; None takes all that this process may use.
        on_sample: Called after each sample.

    Returns:
        Lowest and highest value by tensor. A range holds 0, which must be exact for padding and
        for ReLU.

    Raises:
        InputError: There are no samples of the graph, or they aren't finite.
        BackendError: The library failed.
    """
    wanted = (*graph.needed(graph.groups, kind), *graph.factors(kind))
    ranges = dict.fromkeys(wanted, (0.0, 0.0))
    given = {value.name for value in graph.model.graph.input}
    inner = [name for name in ranges if name not in given]
    run = _inner_values(graph, inner, threads)

    def add(tensors: Mapping[str, Array]) -> None:
        for name, values in tensors.items():
            ranges[name] = widened(ranges[name], _finite(values, name, graph.name))

    count = 0
    for sample in recordings.samples(graph.name):
        add({name: sample[name] for name in ranges if name in given})
        for first in range(0, len(inner), AT_ONCE):
            add(run(inner[first : first + AT_ONCE], sample))
        count += 1
        on_sample()
    if not count:
        raise _no_sample(recordings, graph.name)
    return ranges


def observe_values(
    graphs: Mapping[str, FloatGraph],
    recordings: Recordings,
    threads: int | None,
    on_sample: Callable[[], None] = lambda: None,
) -> dict[str, tuple[Levels, ...]]:
    """Find levels for the values that attention reads, from the whole range of each channel.

    Levels of the memory come from everything that samples read from it or write to it, one set for
    all slots of a block.

    Args:
        graphs: Unquantised graphs by name.
        recordings: Recordings with samples of the graphs that `CHANGED` names.
        threads: CPU threads; None takes all that this process may use.
        on_sample: Called after each sample.

    Returns:
        Levels of each block for every part of attention in `quantisation.ATTENTIONS`.

    Raises:
        InputError: There are no samples, or they aren't finite.
        BackendError: The library failed.
    """
    own = self_values(graphs[GraphName.STEP].model)
    seen = {part: [Extremes() for _ in own] for part in ATTENTIONS}
    for name in [name for name in CHANGED["memory"] if name in graphs]:
        wanted = own
        if name != GraphName.STEP:
            wanted = [value.name for value in graphs[name].model.graph.output]
        run = _inner_values(graphs[name], wanted, threads)
        count = 0
        for sample in recordings.samples(name):
            for tensor, values in {**sample, **run(wanted, sample)}.items():
                part = "self" if tensor in own else "memory"
                block = own.index(tensor) if tensor in own else memory_block(tensor)
                if block is not None:
                    seen[part][block].add(_finite(values, tensor, name))
            count += 1
            on_sample()
        if not count:
            raise _no_sample(recordings, name)
    return {
        part: tuple(levels_between(each.low, each.high) for each in blocks)
        for part, blocks in seen.items()
    }


def _inner_values(
    graph: FloatGraph, tensors: list[str], threads: int | None
) -> Callable[[list[str], dict[str, Array]], dict[str, Array]]:
    """Make a function that gives some of these inner tensors for the inputs of a graph."""
    ort = open_library()
    options = session_options(ort, threads or usable_processors())
    try:
        session = ort.InferenceSession(graph.with_outputs(tensors), options, providers=[CPU])
    except Exception as error:  # the library's errors share no other base
        raise BackendError(f"onnxruntime refuses {graph.name}: {one_line(error)}") from error

    def run(wanted: list[str], sample: dict[str, Array]) -> dict[str, Array]:
        try:
            outputs = session.run(wanted, sample)
        except Exception as error:  # as above
            raise BackendError(f"onnxruntime failed in {graph.name}: {one_line(error)}") from error
        return dict(zip(wanted, outputs, strict=True))

    return run


def _finite(values: Array, name: str, graph: str) -> NDArray[np.float32]:
    real = np.asarray(values, np.float32)
    if not np.isfinite(real).all():
        raise InputError(
            f"recordings: {name} of {graph} holds values that aren't finite; record again"
        )
    return real


def _no_sample(recordings: Recordings, graph: str) -> InputError:
    return InputError(f"{recordings.path} holds no sample of {graph}; record longer clips")
