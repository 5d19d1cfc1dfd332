"""ONNX Runtime on the CPU: the backend that works anywhere."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from mavos_deploy.errors import BackendError, one_line
from mavos_deploy.runtime.backends.onnxruntime_library import (
    CPU,
    check_session,
    forget_content,
    open_library,
    session_options,
)
from mavos_deploy.runtime.backends.protocol import Array, Traits
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.quantisation import GraphKind
from mavos_deploy.runtime.contract import BANDS_NOTE, GraphName, GraphSpec
from mavos_deploy.runtime.system.machine import return_freed_memory
from mavos_deploy.runtime.system.processors import usable_processors

Shapes = dict[str, tuple[int, ...]]
Sessions = list[tuple[GraphSpec, Any]]  # one for each file that serves a graph, and its contract
IN_A_BAND = 3 * 4 + 3  # bytes of a pixel while a band of rows is labelled
WASTE = 8 << 20  # bytes of the arena that no tensor fits any more, up to which it keeps them


@dataclass
class Reach:
    """How large a part of frames the decoder has enlarged so far, and what that left in the arena.

    Earlier bundles enlarge a single group of objects where its objects are, in bands of rows.
    Whenever they reach further than ever before, the arena grows by blocks of a band's size, and
    smaller ones are of no use any more. Their small label maps are enlarged whole, which is counted
    in the same way: it is little.

    Attributes:
        bands: Number of bands; 1 in bundles that were made before there were bands, 0 where memory
            doesn't grow with the objects.
        largest: Bytes of a band of the largest part.
        waste: Bytes of bands of all parts that were the largest before.
    """

    bands: int
    largest: int = 0
    waste: int = 0

    @property
    def wasteful(self) -> bool:
        """Whether the arena is to be emptied."""
        return self.waste > WASTE

    def take(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Take the decoder's inputs and outputs of a frame."""
        small = outputs["input_labels"]
        if not self.bands or len(small) > 1:  # every frame takes the same memory
            return
        seen = small[0] > 0
        rows, columns = seen.any(axis=1).nonzero()[0], seen.any(axis=0).nonzero()[0]
        if not len(rows):
            return
        share = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) / seen.size
        # Without bands all channels' logits in float32 and the label in int64. Bands take one
        # channel after another: three maps in float32 and three of bytes.
        each = 4 * inputs["object_mask"].shape[1] + 8 if self.bands == 1 else IN_A_BAND
        size = int(share * outputs["labels"].size * each) // self.bands
        if size > self.largest:
            self.waste, self.largest = self.waste + self.largest, size


class OnnxRuntimeCpu:
    """One session for each graph; tensors are NumPy arrays.

    Intermediate results of all backends of a process share one arena. Memory for other sizes of
    frames or numbers of objects is given back when the shapes change; the arena itself stays when a
    backend is closed. It is also given back when larger and larger objects have made it grow.

    Args:
        bundle: An opened bundle.
        threads: CPU threads of each graph; None takes all that this process may use.
        ahead: Open the encoder alone, and the other graphs while the first frame is read and
            encoded. The first run of another one waits for all of them, and raises what opening
            them raised. The bundle's files must stay until then.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None, *, ahead: bool = False) -> None:
        ort = open_library()
        self._library = ort
        self.traits = Traits(
            "onnxruntime-cpu", bundle.manifest.arithmetic, any_shape=True, concurrent=True
        )
        self._outputs = {
            name: [tensor.name for tensor in spec.outputs] for name, spec in bundle.specs.items()
        }
        quantisation = bundle.manifest.quantisation
        in_float = quantisation is not None and quantisation.kind != GraphKind.CPU
        self._options = session_options(ort, threads or usable_processors(), in_float)
        # The largest one first: while a graph is opened, it is in memory twice, beside the others.
        order = sorted(bundle.specs, key=bundle.bytes_of, reverse=True)
        first = [GraphName.ENCODER] if ahead else order
        self._sessions = self._open_graphs(bundle, first)
        self._lock = Lock()  # of what still opens
        self._rest: Future[dict[str, Sessions]] | None = None
        if ahead:
            opener = ThreadPoolExecutor(1, thread_name_prefix="mavos-opener")
            rest = [name for name in order if name not in first]
            self._rest = opener.submit(self._open_graphs, bundle, rest)
            opener.shutdown(wait=False)
        self._shapes: dict[str, Shapes] = {}  # shapes of the inputs in each graph's latest run
        self._reach = self._nothing_enlarged()

    def _open_graphs(self, bundle: Bundle, names: Iterable[str]) -> dict[str, Sessions]:
        return {
            name: [
                (spec, self._open_checked(bundle, path, spec)) for path, spec in bundle.files(name)
            ]
            for name in names
        }

    def _finish_opening(self) -> None:
        """Wait until all graphs are open, and raise what opening them raised."""
        with self._lock:
            if self._rest is None:
                return
            if error := self._rest.exception():  # a new one, whose traceback doesn't grow
                raise type(error)(*error.args)
            self._sessions = {**self._sessions, **self._rest.result()}
            self._reach, self._rest = self._nothing_enlarged(), None

    def _sessions_of(self, graph: str) -> Sessions:
        """The sessions of a graph.

        Raises:
            BackendError: The backend is closed, or the library refuses a graph.
            BundleError: A graph is not what the manifest says.
        """
        if graph != GraphName.ENCODER:
            self._finish_opening()
        if graph not in self._sessions:
            raise BackendError("the segmenter is closed; open it again")
        return self._sessions[graph]

    def with_graph(
        self,
        graph: str,
        path: Path,
        kind: GraphKind = GraphKind.CPU,
        spec: GraphSpec | None = None,
    ) -> "OnnxRuntimeCpu":
        """A backend with another file for one graph; it shares the other sessions with this one.

        Args:
            graph: Name of the graph.
            path: An ONNX file with inputs and outputs of the same names.
            kind: Kind of the file; one for another library is computed in float.
            spec: Contract of the file; None where it is the same as the graph's own.

        Raises:
            BackendError: The library refuses the file.
            BundleError: Its inputs or outputs are not those of its contract.
        """
        self._finish_opening()
        other = copy(self)
        threads = self._options.intra_op_num_threads
        other._options = session_options(self._library, threads, kind != GraphKind.CPU)
        spec = spec or self._sessions[graph][-1][0]
        other._sessions = {**self._sessions, graph: [(spec, other._open(path, spec))]}
        other._shapes, other._reach = {}, other._nothing_enlarged()
        return other

    def _nothing_enlarged(self) -> Reach:
        if GraphName.DECODER not in self._sessions:  # it still opens, so nothing is
            return Reach(1)
        _, decoder = self._sessions[GraphName.DECODER][-1]
        note = decoder.get_modelmeta().custom_metadata_map.get(BANDS_NOTE, "")
        told = note.isascii() and note.isdecimal() and len(note) < 5  # else it says nothing
        return Reach(int(note) if told else 1)

    def _open_checked(self, bundle: Bundle, path: Path, spec: GraphSpec) -> Any:  # noqa: ANN401  # the library is untyped
        with bundle.checked(path) as model:
            return self._open(path, spec, model)

    def _open(self, path: Path, spec: GraphSpec, model: str | bytes | None = None) -> Any:  # noqa: ANN401  # as above
        try:
            session = self._library.InferenceSession(
                model or str(path), self._options, providers=[CPU]
            )
        except Exception as error:  # the library's errors share no other base
            raise BackendError(
                f"onnxruntime {self._library.__version__} refuses {path}: {one_line(error)}"
            ) from error
        forget_content(session)
        return_freed_memory()  # reading the file took twice the weights
        check_session(session, spec, path)
        return session

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Backend.run`."""
        *special, (_, session) = self._sessions_of(graph)
        shapes = {name: array.shape for name, array in inputs.items()}
        session = next((own for spec, own in special if spec.takes(shapes)), session)
        options = None
        wasteful = graph == GraphName.DECODER and self._reach.wasteful
        if wasteful or self._shapes.setdefault(graph, shapes) != shapes:
            # The arena's blocks fit the old shapes, and those of new ones would come on top. After
            # this run it holds what an encoder in another thread still uses, and nothing else.
            self._shapes[graph], self._reach = shapes, self._nothing_enlarged()
            options = self._library.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            outputs = session.run(self._outputs[graph], dict(inputs), options)
        except Exception as error:  # the library's errors share no other base
            raise BackendError(f"onnxruntime failed in {graph}: {one_line(error)}") from error
        found = dict(zip(self._outputs[graph], outputs, strict=True))
        if graph == GraphName.DECODER and options is None:
            self._reach.take(inputs, found)
        return found

    def rest(self) -> None:
        """See `RestingBackend.rest`: the arena is emptied after a run, so one is made."""
        graph = GraphName.MEMORY_WRITE
        shapes = self._shapes.get(graph)
        if shapes and graph in self._sessions:
            spec, _ = self._sessions[graph][-1]
            inputs = {one.name: np.zeros(shapes[one.name], one.dtype) for one in spec.inputs}
            self._shapes[graph] = {}  # as if others had been there
            self.run(graph, inputs)

    def upload(self, array: Array) -> Array:
        """The array itself, contiguous."""
        return np.ascontiguousarray(array)

    def download(self, tensor: Array) -> Array:
        """The tensor itself."""
        return tensor

    def close(self) -> None:
        """Drop the sessions."""
        with self._lock:
            if self._rest is not None:
                wait([self._rest])
            self._rest, self._sessions = None, {}
