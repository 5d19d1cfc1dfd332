"""Labels that a GPU brings down beside its work: the same ones, in whole runs, however they end."""

import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Segmenter, State
from mavos_deploy.runtime.backends.tensorrt_gpu import TensorRtGpu
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.prediction import Predicted, segment_sequence
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.source import MaskSource
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.outputs import Outputs, parse_wanted
from mavos_deploy.runtime.media.passes.directions import Direction, Fuse, Passes
from mavos_deploy.runtime.media.resume import Resume
from mavos_deploy.runtime.media.steps import Coming, Steps
from mavos_deploy.runtime.media.summary import Summary
from mavos_deploy.runtime.media.video import segment_video
from mavos_deploy.runtime.resize import PreparedFrame
from mavos_deploy.runtime.state import state_bytes
from tests.cuda_stand_in import Gpu0
from tests.engine_bundle import GAP, SIZE, picture, squares
from tests.made_sequences import write_clips

FRAMES = 12
LATE = 7  # frame in which objects join, and fill a second group


def coming(
    segmenter: Segmenter, frames: range, late: int | None = None
) -> Iterator[Coming[int, PreparedFrame, State]]:
    """Frames to segment; in one of them objects join, and fill a second group."""
    for index in frames:
        known = squares(13) if index == late else None
        yield Coming(index, segmenter.prepare(picture(index)), known)


def test_a_lost_gpu_is_told_in_cudas_words_though_a_frame_was_unread(
    on_gpu: Segmenter, gpu: Gpu0
) -> None:
    def frames() -> Iterator[Coming[int, PreparedFrame, State]]:
        for one in coming(on_gpu, range(1, 9)):
            gpu.lost = one.item == 5
            yield one

    steps = iter(Steps(on_gpu, frames(), on_gpu.start(picture(0), squares())))
    assert [next(steps).item for _ in range(3)] == [1, 2, 3]
    with pytest.raises(BackendError, match="cuCtxPushCurrent failed: unspecified launch failure"):
        next(steps)


def test_an_enqueued_frame_holds_no_confidence_until_it_is_read(
    on_gpu: Segmenter, expected: Segmenter
) -> None:
    first = on_gpu.enqueue(picture(1), on_gpu.start(picture(0), squares()))
    second = on_gpu.enqueue(picture(2), first)
    assert first.state.confidence == second.state.confidence == {}
    state = expected.start(picture(0), squares())
    for index in (1, 2):
        _, state = expected.step(picture(index), state)
    assert second.result()[1].confidence == pytest.approx(state.confidence)
    assert second.state.confidence == {}


@pytest.mark.parametrize("objects", [2, 12])
def test_labels_that_are_read_a_frame_later_are_those_of_the_cpu(
    on_gpu: Segmenter, expected: Segmenter, gpu: Gpu0, objects: int
) -> None:
    assert on_gpu.runs_ahead
    assert not expected.runs_ahead
    late, last = 8, 18
    state = on_gpu.start(picture(0), squares(objects))
    other = expected.start(picture(0), squares(objects))
    frames = range(1, last + 1)
    cpu = Steps(expected, coming(expected, frames, late), other)
    ahead = Steps(on_gpu, coming(on_gpu, frames, late), state)
    for found, wanted in zip(ahead, cpu, strict=True):
        assert found.item == wanted.item
        np.testing.assert_array_equal(found.labels, wanted.labels, err_msg=f"frame {found.item}")
        assert found.state.confidence == wanted.state.confidence
        assert found.state.objects == wanted.state.objects
        assert gpu.computed.count("decoder") == found.item
        if found.item not in (late - 1, late, last):
            assert len(gpu.queue) > 5, "the next frame isn't enqueued"
        state, other = found.state, wanted.state
    assert state.writes > 3
    for name, tensor in other.memory.items():
        np.testing.assert_array_equal(on_gpu.backend.download(state.memory[name]), tensor)


def test_labels_that_nobody_reads_are_down_before_their_memory_is_used_again(
    on_gpu: Segmenter, expected: Segmenter
) -> None:
    state, other = on_gpu.start(picture(0), squares()), expected.start(picture(0), squares())
    for index in range(1, 8):
        state = on_gpu.enqueue(picture(index), state).state
        _, other = expected.step(picture(index), other)
    labels, _ = on_gpu.step(picture(8), state)
    np.testing.assert_array_equal(labels, expected.step(picture(8), other)[0])


def test_what_was_fetched_takes_no_more_memory_once_it_is_down(
    on_gpu: Segmenter, gpu: Gpu0
) -> None:
    backend = on_gpu.backend
    assert isinstance(backend, TensorRtGpu)
    state = on_gpu.start(picture(0), squares())
    held: list[int] = []
    for stepped in Steps(on_gpu, coming(on_gpu, range(1, 16)), state):
        held.append(backend.device_bytes)
        if stepped.item % 4 == 0:
            on_gpu.enqueue(picture(0), stepped.state)  # read by nobody
            backend.download(stepped.state.memory["short_key_0"])
    assert held[-1] == held[-5] == held[-9]
    assert len(gpu.streams) == 2


def test_copies_to_the_host_hold_up_no_work(on_gpu: Segmenter, gpu: Gpu0) -> None:
    ahead = on_gpu.enqueue(picture(1), on_gpu.start(picture(0), squares()))
    on_gpu.backend.download(ahead.state.memory["short_key_0"])
    assert len(gpu.queue) == 2, "labels and logits were waited for"
    ahead.result()
    assert not gpu.queue


def test_labels_read_twice_are_the_same_and_those_of_a_closed_segmenter_are_refused(
    engine_bundle: Path, gpu: Gpu0
) -> None:
    segmenter = Segmenter.open(engine_bundle, backend="tensorrt")
    first = segmenter.enqueue(picture(1), segmenter.start(picture(0), squares()))
    second = segmenter.enqueue(picture(2), first)
    third = segmenter.enqueue(picture(3), second)
    labels, state = second.result()
    waits = gpu.waits
    assert second.result()[0] is labels
    assert second.result()[1] is state
    first.result()
    assert gpu.waits == waits, "what a later frame is judged by was read with it"
    segmenter.close()
    assert not gpu.memory
    with pytest.raises(BackendError, match="closed; open it again"):
        third.result()


def test_a_video_settles_when_labels_are_read_later_and_states_are_held(
    on_gpu: Segmenter, gpu: Gpu0
) -> None:
    state = on_gpu.start(picture(0), squares())
    held: deque[State] = deque(maxlen=2)  # as a run holds them
    settled = 24 * GAP  # one more short-term slot takes turns
    for stepped in Steps(on_gpu, coming(on_gpu, range(1, settled + 12 * GAP)), state):
        held.append(stepped.state)
        if stepped.item == settled:
            made = gpu.contexts, gpu.captures
    assert (gpu.contexts, gpu.captures) == made


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A folder with frames and masks; objects that join in mid-video fill a second group."""
    for name in ("frames", "masks"):
        (tmp_path / name).mkdir()
    for number in range(FRAMES):
        Image.fromarray(picture(number)).save(tmp_path / f"frames/{number:05d}.png")
    for number, objects in ((0, 2), (LATE, 13)):
        write_mask(tmp_path / f"masks/{number:05d}.png", squares(objects))
    return tmp_path


def run(
    segmenter: Segmenter,
    clip: Path,
    name: str,
    *,
    resumable: bool = False,
    passes: Passes | None = None,
    check: int | None = None,
    on_frame: Callable[[int], None] = lambda done: None,
) -> Summary:
    """Segment the clip, and write masks and all that is said of them to a folder."""

    def dump(state: State, notes: Mapping[str, str]) -> bytes:
        return state_bytes(state, segmenter.backend, notes)

    kinds = ("store", "palette", "events", *(() if resumable else ("confidence",)))
    results = [parse_wanted(kind, str(clip / name / "r")) for kind in kinds]
    resume = Resume(results[0].path, "any", dump, segmenter.load, 3) if resumable else None
    with open_frames(str(clip / "frames")) as source:
        return segment_video(
            segmenter,
            source,
            MaskSource(clip / "masks", source.size, source.stems),
            Outputs(results, overwrite=False, keep=resumable),
            resume=resume,
            passes=passes,
            check=check,
            on_frame=on_frame,
        )


def contents(folder: Path) -> dict[str, object]:
    """Bytes of all files by name; of a saved state what it holds, whose order isn't fixed."""
    return {
        file.name: held_in(file) if file.suffix == ".resume" else file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def held_in(state: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    with safe_open(state, framework="numpy") as file:
        names = sorted(file.keys())
        return file.metadata(), {name: file.get_tensor(name).tobytes() for name in names}


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"resumable": True},
        {"check": 3},
        {"passes": Passes(Direction.BACKWARD)},
        {"passes": Passes(Direction.BOTH, Fuse.NEAREST)},
        {"passes": Passes(Direction.BOTH, Fuse.BLEND)},
    ],
    ids=["forward", "saved", "checked", "backward", "nearest", "blend"],
)
def test_a_run_writes_the_bytes_that_the_cpu_writes(
    on_gpu: Segmenter, expected: Segmenter, clip: Path, how: dict[str, object]
) -> None:
    found = run(on_gpu, clip, "gpu", **how)  # type: ignore[arg-type]
    wanted = run(expected, clip, "cpu", **how)  # type: ignore[arg-type]
    assert (found.frames, found.added, found.corrected) == (
        wanted.frames,
        wanted.added,
        wanted.corrected,
    )
    assert contents(clip / "gpu") == contents(clip / "cpu")


def after(frames: int, act: Callable[[], None]) -> Callable[[int], None]:
    """A function for `on_frame` that acts once, when so many frames were taken."""
    taken = iter(range(1, FRAMES + 2))

    def on_frame(written: int) -> None:
        del written
        if next(taken) == frames:
            act()

    return on_frame


@pytest.mark.parametrize("frames", [3, LATE, FRAMES - 1])
def test_a_run_that_was_interrupted_goes_on_to_the_same_bytes(
    on_gpu: Segmenter, clip: Path, frames: int
) -> None:
    run(on_gpu, clip, "whole", resumable=True)
    interrupt = after(frames, partial(signal.raise_signal, signal.SIGINT))
    stopped = run(on_gpu, clip, "out", resumable=True, on_frame=interrupt)
    assert stopped.interrupted
    assert stopped.frames == frames + 1, "the frame that was taken is written, and none behind it"
    summary = run(on_gpu, clip, "out", resumable=True)
    assert (summary.resumed, summary.frames) == (stopped.frames, FRAMES)
    assert contents(clip / "out") == contents(clip / "whole")


def test_a_run_that_an_engine_ends_has_all_frames_before_it(
    on_gpu: Segmenter, clip: Path, gpu: Gpu0
) -> None:
    fail = after(4, partial(setattr, gpu, "fail", "memory_update"))  # that of frame 6 is next
    with pytest.raises(BackendError, match="planted fault; 6 masks are whole and kept"):
        run(on_gpu, clip, "out", resumable=True, on_frame=fail)
    run(on_gpu, clip, "whole", resumable=True)
    run(on_gpu, clip, "out", resumable=True)
    assert contents(clip / "out") == contents(clip / "whole")


def test_a_sequence_of_a_data_set_gets_the_masks_of_the_cpu(
    on_gpu: Segmenter, expected: Segmenter, tmp_path: Path
) -> None:
    data = open_dataset(write_clips(tmp_path / "DAVIS", ["a"], (SIZE, SIZE), 8))
    (sequence,) = data.sequences
    stems = list(sequence.images)
    for stem in stems[:4]:  # without a palette, which must not come to them from a later one
        Image.fromarray(squares(2)).save(sequence.annotations[stem])
    for stem in stems[4:]:
        write_mask(sequence.annotations[stem], squares(13), bytes(range(256)) * 3)
    sequence.images[stems[5]].write_bytes(b"")

    def segment(segmenter: Segmenter, name: str) -> Predicted:
        (tmp_path / name).mkdir()
        folder = tmp_path / name
        return segment_sequence(segmenter, sequence, folder, stretch=False, on_frame=lambda: None)

    found, wanted = segment(on_gpu, "gpu"), segment(expected, "cpu")
    assert found == wanted
    assert found.skipped == (stems[5],)
    assert contents(tmp_path / "gpu") == contents(tmp_path / "cpu")
