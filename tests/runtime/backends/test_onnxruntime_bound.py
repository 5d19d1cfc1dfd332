"""The state stays on the device, and nothing runs elsewhere in silence.

Without a GPU the device is the CPU: the same class, bindings and tensors.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Segmenter, State
from mavos_deploy.runtime.backends.onnxruntime_bound import OnnxRuntimeBound
from mavos_deploy.runtime.backends.onnxruntime_library import CPU
from mavos_deploy.runtime.backends.protocol import Transfers
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import memory_specs
from tests import golden
from tests.bundles import hollow_bundle

GetSegmenter = Callable[[str], Segmenter]
OBJECT_MASK = 11 * 4  # bytes, for each group


def on_cpu(bundle: Bundle, **given: Any) -> OnnxRuntimeBound:  # noqa: ANN401
    def open_session(graph: str, options: Any) -> Any:  # noqa: ANN401
        path = str(bundle.graph_path(graph))
        return onnxruntime.InferenceSession(path, options, providers=[CPU], enable_fallback=0)

    settings: dict[str, Any] = {"provider": CPU, "open_session": open_session} | given
    return OnnxRuntimeBound(bundle, "bound", "fp32", device="cpu", **settings)


@pytest.fixture(scope="module")
def bound(segmenter: GetSegmenter) -> Iterator[Segmenter]:
    bundle = segmenter("mobilenet").bundle
    with Segmenter(bundle, on_cpu(bundle)) as opened:
        yield opened


def counted(bound: Segmenter) -> Transfers:
    backend = bound.backend
    assert isinstance(backend, OnnxRuntimeBound)
    backend.transfers = Transfers()
    return backend.transfers


@pytest.mark.parametrize("case", ["base", "newobj"])
def test_labels_are_those_of_the_cpu_backend_bit_for_bit(
    case: str, bound: Segmenter, segmenter: GetSegmenter
) -> None:
    run, other = golden.load(case, "mobilenet"), segmenter("mobilenet")
    states = [s.start(golden.frame(0), run.annotations[0]) for s in (bound, other)]
    for index in range(1, 8):  # past a memory update and, in one case, an object that joins
        labels = []
        for place, one in enumerate((bound, other)):
            annotation = run.annotations.get(index)
            own, states[place] = one.step(golden.frame(index), states[place], annotation)
            labels.append(own)
        np.testing.assert_array_equal(labels[0], labels[1])
    for name, tensor in states[0].memory.items():
        np.testing.assert_array_equal(tensor.numpy(), states[1].memory[name])


def test_only_the_picture_goes_up_and_labels_and_logits_come_down(bound: Segmenter) -> None:
    height, width = bound.bundle.manifest.size
    frame, labels = height * width * 3 * 4, golden.SIZE[0] * golden.SIZE[1]
    logits = 11 * -(-height // 4) * -(-width // 4) * 4
    state = bound.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    _, state = bound.step(golden.frame(1), state)  # brings what depends on the video's size
    for index in range(2, 2 + 2 * golden.MEMORY_GAP):
        moved, updates = counted(bound), state.since_update + 1 == golden.MEMORY_GAP
        merges = updates and any(state.updated)
        _, state = bound.step(golden.frame(index), state)
        assert (moved.down, moved.bytes_down) == (2, labels + logits)
        # And which groups the memory update merges, a number for each.
        up = [frame, OBJECT_MASK, *([4] if merges else [])]
        assert (moved.up, moved.bytes_up) == (len(up), sum(up))


def test_states_are_values(bound: Segmenter) -> None:
    one, many = (golden.load(case, "mobilenet").annotations[0] for case in ("base", "many"))
    state = bound.start(golden.frame(0), one)
    kept = {name: tensor.numpy().copy() for name, tensor in state.memory.items()}
    first, after = bound.step(golden.frame(1), state)
    between = bound.start(golden.frame(0), many)  # of another video, in two groups
    alone, _ = bound.step(golden.frame(1), between)
    second, _ = bound.step(golden.frame(2), after)
    again, _ = bound.step(golden.frame(1), state)
    np.testing.assert_array_equal(first, again)
    for name, array in kept.items():
        np.testing.assert_array_equal(array, state.memory[name].numpy())
    np.testing.assert_array_equal(alone, bound.step(golden.frame(1), between)[0])
    np.testing.assert_array_equal(second, bound.step(golden.frame(2), after)[0])


def test_a_state_moves_to_another_backend(
    bound: Segmenter, segmenter: GetSegmenter, tmp_path: Path
) -> None:
    other = segmenter("mobilenet")
    state: State = bound.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    bound.save(state, tmp_path / "state.safetensors")
    moved = other.load(tmp_path / "state.safetensors")
    here, there = bound.step(golden.frame(1), state)[0], other.step(golden.frame(1), moved)[0]
    np.testing.assert_array_equal(here, there)


def test_the_contract_knows_the_size_of_a_memory(bound: Segmenter) -> None:
    state = bound.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    specs = memory_specs(bound.bundle.specs)
    for name, tensor in state.memory.items():
        assert specs[name].bytes_at(groups=1) == tensor.tensor_size_in_bytes()


class _Session:
    """A session whose nodes run where a test says."""

    def __init__(self, *parts: tuple[str, tuple[str, ...]]) -> None:
        self.parts = parts

    def get_providers(self) -> list[str]:
        return [self.parts[0][0], CPU]

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        def nodes(operators: tuple[str, ...]) -> list[SimpleNamespace]:
            return [SimpleNamespace(op_type=operator) for operator in operators]

        return [
            SimpleNamespace(ep_name=name, get_nodes=partial(nodes, operators))
            for name, operators in self.parts
        ]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param(
            [(CPU, ("Conv",))], "couldn't start Some; it needs a driver", id="not-started"
        ),
        pytest.param(
            [("Some", ("Conv",)), (CPU, ("Shape", "Where", "Conv"))],
            "Some leaves Conv, Where of encoder to the CPU",
            id="partly-on-the-cpu",
        ),
        pytest.param(
            [("Some", ()), ("Other", ("Conv",))][:1], "can't read that", id="all-on-the-device"
        ),
    ],
)
def test_a_session_that_runs_elsewhere_is_refused(
    parts: list[tuple[str, tuple[str, ...]]], said: str, segmenter: GetSegmenter
) -> None:
    session = _Session(*parts)
    session.get_inputs = lambda: (_ for _ in ()).throw(BackendError("can't read that"))  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match=said):
        on_cpu(
            segmenter("mobilenet").bundle,
            provider="Some",
            open_session=lambda graph, options: session,
        )


def test_a_graph_that_is_refused_is_named_in_one_line(tmp_path: Path) -> None:
    bundle = Bundle.open(hollow_bundle(tmp_path))
    with pytest.raises(
        BackendError, match=r"bound: onnxruntime .* refuses .*encoder.onnx: [^\n]+$"
    ):
        on_cpu(bundle)
