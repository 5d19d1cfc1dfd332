"""Runs graphs on recorded samples and collects the ranges of their inner tensors."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mavos_deploy.calibration.ranges import Histogram
from mavos_deploy.calibration.recorder import Recordings
from mavos_deploy.errors import BackendError, InputError
from mavos_deploy.runtime.backend import Array, one_line
from mavos_deploy.runtime.onnxruntime_cpu import PROVIDER, OnnxRuntimeCpu, open_library
from mavos_deploy.runtime.processors import usable_processors
from mavos_deploy.runtime.quantisation import Range

if TYPE_CHECKING:
    from mavos_deploy.calibration.quantise import Graph

AT_ONCE = 32  # inner tensors that a run hands out; all of a step's would take half a GB at 480p


def observe(
    graph: "Graph",
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
    ort = open_library()
    options = OnnxRuntimeCpu.session_options(ort, threads or usable_processors())
    try:
        session = ort.InferenceSession(graph.with_outputs(inner), options, providers=[PROVIDER])
    except Exception as error:  # the library's errors share no other base
        raise BackendError(f"onnxruntime refuses {graph.name}: {one_line(error)}") from error
    histograms = {name: Histogram() for name in names}

    def add(name: str, values: Array) -> None:
        real = np.asarray(values, np.float32)
        if not np.isfinite(real).all():
            raise InputError(
                f"recordings: {name} of {graph.name} holds values that aren't finite; record again"
            )
        histograms[name].add(real)

    count = 0
    for sample in recordings.samples(graph.name):
        for name in names:
            if name in given:
                add(name, sample[name])
        for first in range(0, len(inner), AT_ONCE):
            wanted = inner[first : first + AT_ONCE]
            try:
                outputs = session.run(wanted, sample)
            except Exception as error:  # likewise
                raise BackendError(
                    f"onnxruntime failed in {graph.name}: {one_line(error)}"
                ) from error
            for name, values in zip(wanted, outputs, strict=True):
                add(name, values)
        count += 1
        on_sample()
    if not count:
        raise InputError(f"{recordings.path} holds no sample of {graph.name}; record longer clips")
    return {name: histogram.range(method) for name, histogram in histograms.items()}
