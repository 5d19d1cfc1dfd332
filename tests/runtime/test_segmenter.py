"""The segmenter: states are values, videos interleave, and objects come and go."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from weakref import ref

import numpy as np
import pytest
from numpy.typing import NDArray

from mavos_deploy.errors import BackendError, InputError, PoisonedError
from mavos_deploy.runtime import Bundle, Segmenter, State
from mavos_deploy.runtime.backends.protocol import Array, Backend, Tensor, WatchedBackend
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.contract import GraphName, memory_names
from mavos_deploy.runtime.objects import Count, number_objects
from mavos_deploy.runtime.resize import PreparedFrame
from mavos_deploy.runtime.segmenter import AnyFrame
from tests import golden
from tests.made_clips import synthetic_clip

GetSegmenter = Callable[[str], Segmenter]
Labels = NDArray[np.uint8]


def follow(segmenter: Segmenter, state: State, frames: range) -> tuple[list[Labels], State]:
    results = []
    for index in frames:
        labels, state = segmenter.step(golden.frame(index), state)
        results.append(labels)
    return results, state


class Noting(WatchedBackend):
    """Notes the order of all calls but those that bring something up."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.log: list[str] = []

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.log.append(graph)
        return super().run(graph, inputs)

    def download(self, tensor: Tensor) -> Array:
        self.log.append("download")
        return super().download(tensor)


class Fetching(Noting):
    """Brings tensors down later, as a GPU does."""

    def fetch(self, tensor: Tensor) -> SimpleNamespace:
        self.log.append("fetch")

        def read() -> Array:
            self.log.append("read")
            return self.inner.download(tensor)

        return SimpleNamespace(read=read)


def tiny_frame(bundle: Bundle, number: int) -> tuple[NDArray[np.uint8], Labels]:
    """A frame of the bundle's size in which two squares move, and their labels."""
    size = bundle.manifest.size
    labels = np.zeros(size, np.uint8)
    labels[4:16, 2 + number : 14 + number] = 1
    labels[18:30, 30 - number : 42 - number] = 2
    noise = np.random.default_rng(number).integers(0, 60, (*size, 3)).astype(np.uint8)
    return noise + 60 * labels[..., None], labels


@pytest.fixture
def chain(segmenter: GetSegmenter) -> Segmenter:
    return segmenter("mobilenet")


def test_a_state_can_be_stepped_twice_with_the_same_result(chain: Segmenter) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    _, middle = follow(chain, state, range(1, 7))
    first, _ = follow(chain, middle, range(7, 11))
    again, _ = follow(chain, middle, range(7, 11))
    np.testing.assert_array_equal(first, again)


def test_interleaved_videos_get_the_masks_they_get_alone(chain: Segmenter) -> None:
    annotation = golden.load("base", "mobilenet").annotations[0]
    many = golden.load("many", "mobilenet").annotations[0]
    alone_a, _ = follow(chain, chain.start(golden.frame(0), annotation), range(1, 9))
    alone_b, _ = follow(chain, chain.start(golden.frame(0), many), range(1, 9))
    state_a = chain.start(golden.frame(0), annotation)
    state_b = chain.start(golden.frame(0), many)
    for index in range(1, 9):
        labels_a, state_a = chain.step(golden.frame(index), state_a)
        labels_b, state_b = chain.step(golden.frame(index), state_b)
        np.testing.assert_array_equal(labels_a, alone_a[index - 1])
        np.testing.assert_array_equal(labels_b, alone_b[index - 1])


def test_ids_of_the_masks_are_kept_with_their_gaps(chain: Segmenter) -> None:
    run = golden.load("newobj", "mobilenet")
    state = chain.start(golden.frame(0), run.annotations[0])
    assert state.objects == (3, 6, 20)
    _, state = follow(chain, state, range(1, 5))
    labels, state = chain.step(golden.frame(5), state, run.annotations[5])
    assert state.objects == (3, 6, 20, 5)
    assert set(np.unique(labels)) == {0, 3, 5, 6, 20}
    assert (labels[run.annotations[5] == 5] == 5).all()


def test_a_removed_object_is_gone_and_the_others_stay(chain: Segmenter) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    _, state = follow(chain, state, range(1, 4))
    kept, _ = chain.step(golden.frame(4), state)
    fewer = chain.remove(state, {6})
    assert fewer.objects == (3, 20)
    labels, _ = chain.step(golden.frame(4), fewer)
    assert 6 in kept
    assert 6 not in labels
    outside = kept != 6
    np.testing.assert_array_equal(labels[outside], kept[outside])
    assert 6 in chain.step(golden.frame(4), state)[0]


def test_removing_an_unknown_object_is_refused(chain: Segmenter) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    with pytest.raises(InputError, match=r"no object 7 to remove; the video has \[3, 6, 20\]"):
        chain.remove(state, {7})


def test_an_object_can_come_back_after_it_was_removed(chain: Segmenter) -> None:
    annotation = golden.load("base", "mobilenet").annotations[0]
    state = chain.remove(chain.start(golden.frame(0), annotation), {6})
    again = np.where(annotation == 6, 6, 0).astype(np.uint8)
    labels, state = chain.step(golden.frame(1), state, again)
    assert state.objects == (3, 6, 20)
    assert 6 in labels


def test_a_group_of_removed_objects_goes_when_a_new_group_comes(chain: Segmenter) -> None:
    annotation = golden.load("many", "mobilenet").annotations[0]
    ids, internal = number_objects((), annotation)
    first_ten = np.where(internal <= 10, annotation, 0).astype(np.uint8)
    state = chain.remove(chain.start(golden.frame(0), first_ten), set(ids[:10]))
    assert state.groups == 1
    news = np.where(internal > 10, annotation, 0).astype(np.uint8)
    labels, state = chain.step(golden.frame(1), state, news)
    assert state.groups == 1
    assert state.objects == ids[10:]
    assert set(np.unique(labels)) - {0} == set(ids[10:])
    labels, _ = chain.step(golden.frame(2), state)
    assert set(np.unique(labels)) - {0} <= set(ids[10:])


def test_a_correction_replaces_its_object_and_touches_no_other(chain: Segmenter) -> None:
    annotation = golden.load("base", "mobilenet").annotations[0]
    _, state = follow(chain, chain.start(golden.frame(0), annotation), range(1, 4))
    before, _ = chain.step(golden.frame(4), state)
    correction = np.zeros_like(annotation)
    correction[:9, :9] = 6
    claimed = before == 3
    correction[claimed & (np.cumsum(claimed).reshape(claimed.shape) <= 5)] = 6
    labels, state = chain.step(golden.frame(4), state, correction)
    assert (before[correction == 0] == 6).any()
    np.testing.assert_array_equal(labels == 6, correction == 6)
    others = (correction == 0) & (before != 6)
    np.testing.assert_array_equal(labels[others], before[others])
    assert state.objects == (3, 6, 20)


def test_an_object_stays_followed_where_a_correction_of_another_does_not_see_it(
    chain: Segmenter,
) -> None:
    annotation = golden.load("base", "mobilenet").annotations[0]
    state = chain.start(golden.frame(0), annotation)
    _, state = chain.step(golden.frame(1), state, np.full(golden.SIZE, 3, np.uint8))
    assert state.objects == (3, 6, 20)
    _, state = chain.step(golden.frame(2), chain.remove(state, {20}), annotation // 20 * 3)
    assert state.objects == (3, 6)


def test_by_the_authors_rule_an_object_left_out_of_an_annotation_ends_until_the_count_rises(
    chain: Segmenter,
) -> None:
    """The count is the largest visible number at the latest annotation."""
    chain = Segmenter(chain.bundle, chain.backend, Count.UPSTREAM)
    annotation = golden.load("base", "mobilenet").annotations[0]
    state = chain.start(golden.frame(0), np.where(annotation == 3, 3, 0).astype(np.uint8))
    everything = np.where(annotation > 0, annotation, 3).astype(np.uint8)
    _, state = chain.step(golden.frame(1), state, everything)
    assert state.objects == (3, 6, 20)
    _, state = chain.step(golden.frame(2), state, np.full(golden.SIZE, 3, np.uint8))
    assert state.objects == (3,)
    _, state = chain.step(golden.frame(3), state, np.where(annotation == 20, 9, 0).astype(np.uint8))
    assert state.objects == (3, 6, 20, 9)


def test_objects_are_added_until_a_third_group_is_needed(segmenter: GetSegmenter) -> None:
    chain = segmenter("mobilenet")
    clip = synthetic_clip(160, 288, 10, objects=24, seed=5)
    visible = np.where(clip.labels[0] <= 8, clip.labels[0], 0).astype(np.uint8)
    state = chain.start(clip.frames[0], visible)
    assert state.groups == 1
    for index in range(1, 10):
        news = None
        if index in (2, 7):
            upto = 15 if index == 2 else 24
            labels = clip.labels[index]
            news = np.where((labels > len(state.ids)) & (labels <= upto), labels, 0)
            news = news.astype(np.uint8)
        result, state = chain.step(clip.frames[index], state, news)
        if index == 2:
            assert state.groups == 2
            assert state.updated == (1, 0)
        if index == 7:
            assert state.groups == 3
            assert state.updated == (3, 2, 0)
    assert set(np.unique(result)) - {0} <= set(range(1, 25))
    assert len(np.unique(result)) > 15


@pytest.mark.parametrize(
    ("frame", "labels", "text"),
    [
        pytest.param((164, 292), None, "expected RGB", id="grey-frame"),
        pytest.param((164, 292, 4), None, "expected RGB", id="four-channels"),
        pytest.param((100, 100, 3), (164, 292), "expected uint8 of the frame's size", id="size"),
    ],
)
def test_arrays_of_the_wrong_shape_are_refused(
    chain: Segmenter, frame: tuple[int, ...], labels: tuple[int, ...] | None, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        chain.start(np.zeros(frame, np.uint8), np.ones(labels or frame[:2], np.uint8))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        pytest.param(lambda c, f, s: c.step(None, s), "frame of type NoneType", id="no-frame"),
        pytest.param(lambda c, f, s: c.step(s, f), "state of type ndarray", id="swapped"),
        pytest.param(lambda c, f, s: c.step(f, (f, s)), "state of type tuple", id="not-unpacked"),
        pytest.param(lambda c, f, s: c.step(f, s, s), "labels of type State", id="annotation"),
        pytest.param(
            lambda c, f, s: c.step(np.full(f.shape, np.nan, np.float32), s),
            "values that aren't finite",
            id="nan",
        ),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(
    chain: Segmenter, call: Callable[[Segmenter, Any, State], object], text: str
) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    with pytest.raises(InputError, match=text):
        call(chain, golden.frame(1), state)


def test_opening_untrained_weights_warns(chain: Segmenter) -> None:
    with (
        pytest.warns(UserWarning, match="exported without a checkpoint"),
        Segmenter.open(chain.bundle.path) as opened,
    ):
        state = opened.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    with pytest.raises(BackendError, match="the segmenter is closed"):
        opened.step(golden.frame(1), state)


def test_a_frame_of_another_size_in_mid_video_is_refused(chain: Segmenter) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    with pytest.raises(InputError, match="all frames of a video have one size"):
        chain.step(np.zeros((164, 290, 3), np.uint8), state)


def test_a_prepared_frame_gives_what_the_frame_gives(chain: Segmenter) -> None:
    annotation = golden.load("base", "mobilenet").annotations[0]
    prepared = [chain.prepare(golden.frame(index)) for index in range(2)]
    assert prepared[0].size == golden.SIZE
    assert prepared[0].resized.shape == (*chain.bundle.manifest.size, 3)
    expected, _ = chain.step(golden.frame(1), chain.start(golden.frame(0), annotation))
    labels, _ = chain.step(prepared[1], chain.start(prepared[0], annotation))
    np.testing.assert_array_equal(labels, expected)


def test_a_frame_of_the_networks_size_is_prepared_without_a_copy(chain: Segmenter) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*chain.bundle.manifest.size, 3), np.uint8)
    assert chain.prepare(frame).resized is frame
    labels = np.zeros(frame.shape[:2], np.uint8)
    labels[20:60, 40:90] = 1
    as_floats, _ = chain.step(frame.astype(np.float32), chain.start(frame, labels))
    as_bytes, _ = chain.step(frame, chain.start(frame.astype(np.float32), labels))
    np.testing.assert_array_equal(as_bytes, as_floats)


def test_preparing_a_frame_leaves_no_encoding_to_its_step(tiny: Bundle) -> None:
    frame, labels = tiny_frame(tiny, 0)
    noting = Noting(open_backend(tiny, 1))
    with Segmenter(tiny, noting) as segmenter:
        state = segmenter.start(segmenter.prepare(frame), labels)
        assert noting.log.count("encoder") == 1
        prepared = segmenter.prepare(tiny_frame(tiny, 1)[0])
        noting.log.clear()
        expected, _ = segmenter.step(prepared, state)
        assert "encoder" not in noting.log
        again, _ = segmenter.step(prepared, state)  # the first step took the features
        assert noting.log.count("encoder") == 1
    np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("backend", ["onnxruntime-cpu", "openvino-cpu-fp32"])
def test_frames_may_be_prepared_in_a_thread_while_others_are_encoded_in_steps(
    tiny: Bundle, backend: str
) -> None:
    if backend.startswith("openvino"):
        pytest.importorskip("openvino", reason="OpenVINO is not installed (extra `openvino`)")
    frames = [tiny_frame(tiny, number % 12)[0] for number in range(40)]
    labels = tiny_frame(tiny, 0)[1]

    def walk(given: Iterable[AnyFrame]) -> list[Labels]:
        state, found = segmenter.start(frames[0], labels), []
        for frame in given:
            made, state = segmenter.step(frame, state)
            found.append(made)
        return found

    with Segmenter(tiny, open_backend(tiny, 1, backend)) as segmenter:
        expected = walk(frames)
        with ThreadPoolExecutor(1) as reader:
            # Steps of one video encode their frames while those of another are prepared.
            prepared = [reader.submit(segmenter.prepare, frame) for frame in frames]
            beside = walk(frames)
            found = walk(coming.result() for coming in prepared)
    np.testing.assert_array_equal(beside, expected)
    np.testing.assert_array_equal(found, expected)


def test_a_backend_that_runs_one_graph_at_a_time_encodes_in_the_step(tiny: Bundle) -> None:
    frame, labels = tiny_frame(tiny, 0)
    noting = Noting(open_backend(tiny, 1))
    with Segmenter(tiny, noting) as segmenter:
        noting.traits = replace(noting.traits, concurrent=False)
        prepared = segmenter.prepare(frame)
        assert noting.log == []
        segmenter.start(prepared, labels)
        assert noting.log.count("encoder") == 1


def test_features_of_another_backend_are_not_used(tiny: Bundle) -> None:
    frame, labels = tiny_frame(tiny, 0)
    later = tiny_frame(tiny, 1)[0]
    with (
        Segmenter(tiny, open_backend(tiny, 1)) as own,
        Segmenter(tiny, open_backend(tiny, 1)) as other,
    ):
        expected, _ = own.step(later, own.start(frame, labels))
        foreign = other.prepare(later)
        assert foreign.features is not None
        for tensor in foreign.features.values():
            tensor[...] = 0  # as if another network had made them
        found, _ = own.step(foreign, own.start(frame, labels))
    np.testing.assert_array_equal(found, expected)


def test_a_frame_prepared_for_another_bundle_is_refused(chain: Segmenter) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    other = PreparedFrame(golden.SIZE, np.zeros((97, 161, 3), np.float32))
    with pytest.raises(InputError, match="prepared for a bundle of 97x161; this one is 161x289"):
        chain.step(other, state)


def test_labels_without_an_object_are_refused(chain: Segmenter) -> None:
    with pytest.raises(InputError, match="hold no object"):
        chain.start(golden.frame(0), np.zeros(golden.SIZE, np.uint8))


@pytest.mark.parametrize("objects", [1, 13], ids=["one-group", "two-groups"])
def test_warming_up_runs_every_graph(chain: Segmenter, objects: int) -> None:
    ran: set[str] = set()

    class Watched(WatchedBackend):
        def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            ran.add(graph)
            return super().run(graph, inputs)

    segmenter = Segmenter(chain.bundle, Watched(chain.backend))
    if objects == 1:
        segmenter.warm_up()
    else:
        labels = golden.load("many", "mobilenet").annotations[0]
        segmenter.warm_up(golden.frame(0), labels)
    assert ran == set(chain.bundle.specs)


def test_a_segmenter_says_what_it_runs(chain: Segmenter) -> None:
    about = chain.about
    assert (about.backend, about.variant) == ("onnxruntime-cpu", "mobilenet")
    assert about.arithmetic == about.bundle_arithmetic == "fp32"
    assert about.trained is False
    assert chain.input_size(golden.SIZE) == chain.bundle.manifest.size


def test_a_step_says_how_good_each_mask_is(chain: Segmenter) -> None:
    annotation = golden.load("base", "mobilenet").annotations[0]
    state = chain.start(golden.frame(0), annotation)
    assert state.confidence == dict.fromkeys(state.objects, 1.0)
    _, state = chain.step(golden.frame(1), state)
    assert tuple(state.confidence) == state.objects
    assert all(0 <= value < 1 for value in state.confidence.values())
    assert 6 not in chain.remove(state, {6}).confidence
    given = np.where(annotation == 3, 3, 0).astype(np.uint8)
    _, corrected = chain.step(golden.frame(2), state, given)
    assert corrected.confidence[3] == 1.0
    assert corrected.review.objects[3].given


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_mask_comes_from_a_memory_that_is_not_finite(chain: Segmenter, value: float) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    _, state = chain.step(golden.frame(1), state)
    name = "reference_value_1"
    poisoned = chain.backend.download(state.memory[name]).copy()
    poisoned[0, 0, 0, 0] = value
    memory = {**state.memory, name: chain.backend.upload(poisoned)}
    with pytest.raises(PoisonedError, match="NaN or infinite values"):
        chain.step(golden.frame(2), replace(state, memory=memory))
    chain.step(golden.frame(2), state)  # the sound one goes on


@pytest.mark.parametrize("ahead", [False, True], ids=["encoded-in-the-step", "encoded-ahead"])
def test_what_a_frame_needs_no_more_is_free_when_the_memory_is_updated(
    tiny: Bundle, ahead: bool
) -> None:
    class Watched(WatchedBackend):
        def __init__(self, backend: Backend) -> None:
            super().__init__(backend)
            self.made: dict[str, ref[Array]] = {}
            self.beside: set[str] | None = None

        def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            if graph == GraphName.MEMORY_UPDATE:
                self.beside = {name for name, made in self.made.items() if made() is not None}
            outputs = super().run(graph, inputs)
            if graph in (GraphName.ENCODER, GraphName.STEP, GraphName.DECODER):
                self.made.update({name: ref(tensor) for name, tensor in outputs.items()})
            return outputs

    backend = Watched(open_backend(tiny))
    segmenter = Segmenter(tiny, backend)
    state = segmenter.start(*tiny_frame(tiny, 0))
    for number in range(1, 1 + 2 * tiny.manifest.write_every):
        frame = tiny_frame(tiny, number)[0]
        given = segmenter.prepare(frame) if ahead else frame
        _, state = segmenter.step(given, state)
    assert backend.beside is not None  # it was updated
    remembered = memory_names(tiny.manifest.dimensions.blocks)
    assert backend.beside <= {*remembered, "labels", "logits"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Noting, ["encoder", "elstt_step", "decoder", "memory_write", "download", "download"]),
        (Fetching, ["encoder", "elstt_step", "decoder", "fetch", "fetch", "memory_write"]),
    ],
)
def test_labels_are_on_their_way_before_the_memory_is_written_where_they_can_be(
    tiny: Bundle, kind: type[Noting], expected: list[str]
) -> None:
    frame, labels = tiny_frame(tiny, 0)
    noting = kind(open_backend(tiny, 1))
    with Segmenter(tiny, noting) as segmenter:
        state = segmenter.start(frame, labels)
        noting.log.clear()
        segmenter.step(frame, state)
        assert segmenter.runs_ahead == (kind is Fetching)
        read = ["read", "read"] if segmenter.runs_ahead else []
        assert [graph.removesuffix("_one") for graph in noting.log] == [*expected, *read]
        noting.log.clear()
        enqueued = segmenter.enqueue(frame, state)
        assert "read" not in noting.log
        assert "download" not in noting.log
        enqueued.result()


def test_enqueued_frames_are_judged_by_the_frames_before_them(tiny: Bundle) -> None:
    with (
        Segmenter(tiny, Fetching(open_backend(tiny, 1))) as ahead,
        Segmenter(tiny, open_backend(tiny, 1)) as plain,
    ):
        frame, labels = tiny_frame(tiny, 0)
        state = plain.start(frame, labels)
        found = [ahead.enqueue(tiny_frame(tiny, 1)[0], ahead.start(frame, labels))]
        for number in range(2, 9):
            found.append(ahead.enqueue(tiny_frame(tiny, number)[0], found[-1]))
        found[4].result()  # in whatever order they are read
        for number, enqueued in enumerate(found, 1):
            wanted, state = plain.step(tiny_frame(tiny, number)[0], state)
            labels, after = enqueued.result()
            np.testing.assert_array_equal(labels, wanted)
            assert after.review.objects == state.review.objects
            for name, tensor in state.memory.items():
                np.testing.assert_array_equal(after.memory[name], tensor)


def test_a_poisoned_memory_shows_when_labels_are_read(tiny: Bundle) -> None:
    with Segmenter(tiny, Fetching(open_backend(tiny, 1))) as segmenter:
        frame, labels = tiny_frame(tiny, 0)
        state = segmenter.start(frame, labels)
        nan = {name: np.full_like(tensor, np.nan) for name, tensor in state.memory.items()}
        first = segmenter.enqueue(frame, replace(state, memory=nan))
        second = segmenter.enqueue(frame, first)
        for enqueued in (second, first, second):
            with pytest.raises(PoisonedError, match="go on from an earlier state"):
                enqueued.result()
        with pytest.raises(InputError, match="expected the State"):
            segmenter.enqueue(frame, labels)  # type: ignore[arg-type]
