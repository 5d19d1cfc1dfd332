"""Runs graphs on recorded samples and collects the ranges of their inner tensors."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.calibration.quantise import Graph
from mavos_deploy.calibration.quantise_attention import (
    CHANGED,
    levels_between,
    memory_block,
    self_values,
)
from mavos_deploy.calibration.ranges import Extremes, Histogram
from mavos_deploy.calibration.recorder import Recordings
from mavos_deploy.errors import BackendError, InputError, one_line
from mavos_deploy.runtime.backends.onnxruntime_library import CPU, open_library, session_options
from mavos_deploy.runtime.backends.protocol import Array
from mavos_deploy.runtime.contract import BLOCKS
from mavos_deploy.runtime.quantisation import ATTENTIONS, Levels, Range
from mavos_deploy.runtime.system.processors import usable_processors

AT_ONCE = 32  # inner tensors that a run hands out; all of a step's would take half a GB at 480p


def observe(
    graph: Graph,
    recordings: Recordings,
    target: str,
    method: str,
    threads: int | None,
    on_sample: Callable[[], None] = lambda: None,
) -> dict[str, Range]:
    """Ranges of everything that quantising a graph may need.

    Memory is bounded: samples are read one by one, and of each tensor only a histogram is kept.

    Args:
        graph: Unquantised.
        recordings: With samples of it.
        target: `cpu` or `tensorrt`.
        method: See `Histogram.range`.
        threads: Of the CPU; None takes all that this process may use.
        on_sample: Called after each sample.

    Returns:
        Lowest and highest value by tensor.

    Raises:
        InputError: There are no samples of the graph, or they aren't finite.
        BackendError: The library failed.
    """
    names = graph.observed(target)
    given = {value.name for value in graph.model.graph.input}
    inner = [name for name in names if name not in given]
    run = _inner_values(graph, inner, threads)
    histograms = {name: Histogram() for name in names}

    def add(name: str, values: Array) -> None:
        histograms[name].add(_finite(values, name, graph.name))

    count = 0
    for sample in recordings.samples(graph.name):
        for name in names:
            if name in given:
                add(name, sample[name])
        for first in range(0, len(inner), AT_ONCE):
            for name, values in run(inner[first : first + AT_ONCE], sample).items():
                add(name, values)
        count += 1
        on_sample()
    if not count:
        raise _no_sample(recordings, graph.name)
    return {name: histogram.range(method) for name, histogram in histograms.items()}


def observe_values(
    graphs: Mapping[str, Graph],
    recordings: Recordings,
    threads: int | None,
    on_sample: Callable[[], None] = lambda: None,
) -> dict[str, tuple[Levels, ...]]:
    """Levels for what attention reads, from the whole range of each channel.

    Those of the memory come from everything that samples read from it or write to it, one set for
    all slots of a block.

    Args:
        graphs: Unquantised, by name.
        recordings: With samples of those that `CHANGED` names.
        threads: Of the CPU; None takes all that this process may use.
        on_sample: Called after each sample.

    Returns:
        Levels of each block for every one of `quantisation.ATTENTIONS`.

    Raises:
        InputError: There are no samples, or they aren't finite.
        BackendError: The library failed.
    """
    seen = {part: [Extremes() for _ in range(BLOCKS)] for part in ATTENTIONS}
    own = self_values(graphs["elstt_step"].model)
    for name in CHANGED["memory"]:
        wanted = own
        if name != "elstt_step":
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
    graph: Graph, tensors: list[str], threads: int | None
) -> Callable[[list[str], dict[str, Array]], dict[str, Array]]:
    """A function that gives some of these inner tensors for the inputs of a graph."""
    ort = open_library()
    options = session_options(ort, threads or usable_processors())
    try:
        session = ort.InferenceSession(graph.with_outputs(tensors), options, providers=[CPU])
    except Exception as error:  # the library's errors share no other base
        raise BackendError(f"onnxruntime refuses {graph.name}: {one_line(error)}") from error

    def run(wanted: list[str], sample: dict[str, Array]) -> dict[str, Array]:
        try:
            outputs = session.run(wanted, sample)
        except Exception as error:  # likewise
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
