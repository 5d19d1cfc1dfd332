"""The graphs by name: what is kept between calls, and when the dynamic slot is a copy."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from mavos_deploy.runtime import Bundle, Segmenter
from mavos_deploy.runtime.backends.five_graphs import KEPT_SIZES, FiveGraphs, in_slot
from mavos_deploy.runtime.backends.protocol import Array, Tensor, Traits, WatchedBackend
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.contract import GraphName, memory_names, memory_specs
from mavos_deploy.runtime.resize import PreparedFrame
from mavos_deploy.runtime.state import State
from tests.made_clips import synthetic_clip

BLOCKS = 3  # of `tiny`


class Watched(WatchedBackend):
    """Notes the graphs that ran, with their inputs."""

    ran: list[tuple[str, Mapping[str, Tensor]]]

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.ran.append((graph, inputs))
        return super().run(graph, inputs)


@pytest.fixture
def watched(tiny: Bundle) -> Iterator[Watched]:
    backend = Watched(open_backend(tiny, 1))
    backend.ran = []
    yield backend
    backend.close()


@pytest.fixture
def graphs(tiny: Bundle, watched: Watched) -> FiveGraphs:
    return FiveGraphs(tiny, watched)


def memory_of(tiny: Bundle, graphs: FiveGraphs, groups: int) -> dict[str, Tensor]:
    blank = graphs.blank(groups, tiny.manifest.size)
    return {**in_slot("reference", blank), **in_slot("dynamic", blank), **in_slot("short", blank)}


def test_blank_memory_has_the_shapes_of_the_contract(tiny: Bundle, graphs: FiveGraphs) -> None:
    memory = memory_of(tiny, graphs, 2)
    specs = memory_specs(tiny.specs)
    assert memory.keys() == specs.keys()
    for name, tensor in memory.items():
        assert (tensor.dtype, tensor.shape) == (specs[name].dtype, specs[name].shape_at(groups=2))


def test_the_first_update_copies_and_later_ones_merge(
    tiny: Bundle, graphs: FiveGraphs, watched: Watched
) -> None:
    state = State("", (60, 90), tiny.manifest.size, (1,), memory=memory_of(tiny, graphs, 2))
    new = {name: tensor + 1 for name, tensor in graphs.blank(2, tiny.manifest.size).items()}
    copied = graphs.update(new, replace(state, updated=(0, 0)), 2)
    assert all(copied[f"dynamic_{name}"] is new[name] for name in memory_names(BLOCKS))
    assert not watched.ran
    merged = graphs.update(new, replace(state, updated=(1, 0)), 2)
    ((graph, inputs),) = watched.ran
    assert graph == GraphName.MEMORY_UPDATE
    assert inputs["first_update"].tolist() == [0, 1]
    for name in memory_names(BLOCKS):
        np.testing.assert_array_equal(merged[f"dynamic_{name}"][1], new[name][1])


@pytest.mark.parametrize(
    ("visible", "groups", "channels"),
    [
        pytest.param(0, 1, 2, id="nothing-visible"),
        pytest.param(3, 1, 4, id="three-objects"),
        pytest.param(13, 2, 11, id="two-groups"),
    ],
)
def test_labels_are_made_from_the_channels_in_use(
    tiny: Bundle, graphs: FiveGraphs, watched: Watched, visible: int, groups: int, channels: int
) -> None:
    size = tiny.manifest.size
    memory = memory_of(tiny, graphs, groups)
    ids = tuple(range(1, max(visible, 1) + 1))
    state = State("", (60, 90), size, ids, visible=visible, updated=(0,) * groups, memory=memory)
    features = graphs.encode(PreparedFrame(size, np.zeros((*size, 3), np.float32)))
    decoded = graphs.decode(features, graphs.step(features, state), state)
    assert watched.ran[-1][1]["object_mask"].shape == (groups, channels)
    assert decoded["labels"].shape == (1, 60, 90)
    assert decoded["input_labels"].shape == (groups, *size)


class Noted:
    """A backend that computes nothing, and notes the graphs."""

    def __init__(self, any_shape: bool) -> None:
        self.traits = Traits("noted", "fp32", any_shape)
        self.ran: list[str] = []

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.ran.append(graph)
        return {}

    def upload(self, array: Array) -> Tensor:
        return array

    def download(self, tensor: Tensor) -> Array:
        raise NotImplementedError

    def close(self) -> None:
        pass


@pytest.mark.parametrize("any_shape", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("has_one", [False, True])
def test_a_single_group_on_a_gpu_has_its_own_decoder(
    tiny: Bundle, any_shape: bool, groups: int, has_one: bool
) -> None:
    held = dict(tiny.manifest.graphs)
    if has_one:
        held[GraphName.DECODER_ONE] = held[GraphName.DECODER]
    bundle = Bundle(tiny.path, replace(tiny.manifest, graphs=held))
    backend = Noted(any_shape)
    size = tiny.manifest.size
    ids = tuple(range(1, 10 * groups + 1))
    state = State("", (60, 90), size, ids, visible=len(ids), updated=(0,) * groups)
    inputs = {tensor.name: None for tensor in tiny.specs[GraphName.DECODER].inputs}
    FiveGraphs(bundle, backend).decode(inputs, {}, state)
    special = has_one and groups == 1 and not any_shape
    assert backend.ran == [GraphName.DECODER_ONE if special else GraphName.DECODER]


def test_interpolation_is_made_once_for_each_of_the_latest_sizes(
    tiny: Bundle, graphs: FiveGraphs
) -> None:
    own = tiny.manifest.size
    first = graphs._interpolate((60, 90), own)
    assert graphs._interpolate((60, 90), own) is first
    for side in range(KEPT_SIZES):
        graphs._interpolate((60, 91 + side), own)
    assert graphs._interpolate((60, 90), own) is not first


def test_a_frame_that_was_stepped_settles_in_a_pass_less(
    tiny: Bundle, graphs: FiveGraphs, watched: Watched
) -> None:
    size = tiny.manifest.size
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (*size, 3), np.uint8)
    features = graphs.encode(PreparedFrame(size, pixels))
    labels = graphs.known_labels(generator.integers(0, 4, size, np.uint8), 2, size)
    memory = {
        name: generator.normal(size=tensor.shape).astype(np.float32)
        for name, tensor in memory_of(tiny, graphs, 2).items()
    }
    seen = graphs.step(features, State("", size, size, (1,), memory=memory, updated=(0, 0)))
    watched.ran.clear()
    alone = graphs.settle(features, labels, 2, size)
    assert [graph for graph, _ in watched.ran].count(GraphName.STEP) == BLOCKS
    watched.ran.clear()
    after = graphs.settle(features, labels, 2, size, seen)
    assert [graph for graph, _ in watched.ran].count(GraphName.STEP) == BLOCKS - 1
    for name in memory_names(BLOCKS):
        np.testing.assert_array_equal(after[name], alone[name], err_msg=name)


@pytest.mark.parametrize(
    ("objects", "steps"),
    [pytest.param(2, BLOCKS, id="groups-stay"), pytest.param(11, 1 + BLOCKS, id="a-new-group")],
)
def test_a_later_annotation_costs_a_step_for_each_block(
    tiny: Bundle, watched: Watched, objects: int, steps: int
) -> None:
    segmenter = Segmenter(tiny, watched)
    clip = synthetic_clip(60, 90, 2, objects=11, seed=1)
    state = segmenter.start(clip.frames[0], np.minimum(clip.labels[0], 1))
    watched.ran.clear()
    news = np.where(clip.labels[1] <= objects, clip.labels[1], 0).astype(np.uint8)
    _, state = segmenter.step(clip.frames[1], state, news)
    assert state.groups == (1 if objects <= 10 else 2)
    assert [graph for graph, _ in watched.ran].count(GraphName.STEP) == steps
