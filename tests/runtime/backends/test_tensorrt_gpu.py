"""TensorRT on a stand-in for the GPU: the masks of the CPU, and a state that stays a value."""

import threading
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.gpu import SETTLE
from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Bundle, Segmenter, State
from mavos_deploy.runtime.backends.protocol import Transfers
from mavos_deploy.runtime.backends.table import choose_backend
from mavos_deploy.runtime.backends.tensorrt_gpu import TensorRtGpu
from mavos_deploy.runtime.bundles.engines import Flags
from mavos_deploy.runtime.bundles.manifest import write_manifest
from tests.cuda_stand_in import Gpu0
from tests.engine_bundle import GAP, SIZE, add_engines, picture, squares


def test_masks_are_those_of_the_cpu_past_many_updates(
    on_gpu: Segmenter, expected: Segmenter, gpu: Gpu0
) -> None:
    state, other = on_gpu.start(picture(0), squares()), expected.start(picture(0), squares())
    for index in range(1, 26):
        late = squares(13) if index == 9 else None  # a second group, in mid-video
        labels, state = on_gpu.step(picture(index), state, late)
        wanted, other = expected.step(picture(index), other, late)
        np.testing.assert_array_equal(labels, wanted, err_msg=f"frame {index}")
        if index == 16:
            state, other = (
                on_gpu.remove(state, [11, 12, 13]),
                expected.remove(other, range(11, 14)),
            )
    assert gpu.computed[-1] == "decoder", "the last labels waited for the memory behind them"
    on_gpu.backend.download(state.memory["short_key_0"])
    assert gpu.launched > 20, "captured graphs were hardly used"
    # Capturing must not run anything: every frame is encoded once.
    assert gpu.computed.count("encoder") == 26
    assert gpu.computed.count("memory_update") == expected_updates(gpu)


def expected_updates(gpu: Gpu0) -> int:
    """MCA runs once for each gap after the first, and once for the late annotation."""
    before, after = 9, 25 - 9  # frames to the annotation and from it
    del gpu
    return (before - 1) // GAP - 1 + 1 + after // GAP


def test_interleaved_videos_and_old_states_keep_their_values(
    on_gpu: Segmenter, expected: Segmenter
) -> None:
    states = {n: on_gpu.start(picture(0, n), squares(n)) for n in (1, 3, 12)}
    others = {n: expected.start(picture(0, n), squares(n)) for n in (1, 3, 12)}
    old: dict[int, tuple[State, State]] = {}
    for index in range(1, 10):
        for n in states:
            labels, states[n] = on_gpu.step(picture(index, n), states[n])
            wanted, others[n] = expected.step(picture(index, n), others[n])
            np.testing.assert_array_equal(labels, wanted)
        if index == 3:
            old = {n: (states[n], others[n]) for n in states}
    for n in old:  # a state kept from long ago goes on as it would have
        states[n], others[n] = old[n]
        for index in range(4, 8):
            labels, states[n] = on_gpu.step(picture(index, n), states[n])
            wanted, others[n] = expected.step(picture(index, n), others[n])
            np.testing.assert_array_equal(labels, wanted)


def test_a_frame_is_one_chain_and_only_picture_labels_and_logits_travel(
    on_gpu: Segmenter, gpu: Gpu0
) -> None:
    backend = on_gpu.backend
    assert isinstance(backend, TensorRtGpu)
    state = on_gpu.start(picture(0), squares())
    for index in range(1, 12):
        _, state = on_gpu.step(picture(index), state)
    backend.transfers, waits = Transfers(), gpu.waits
    for index in range(12, 12 + 2 * GAP):
        _, state = on_gpu.step(picture(index), state)
    frames = 2 * GAP
    object_mask, first_update, logits = 11 * 4, 4, 11 * (-(-SIZE // 4)) ** 2 * 4
    assert (
        backend.transfers.bytes_up
        == frames * (SIZE * SIZE * 3 * 4 + object_mask) + 2 * first_update
    )
    assert backend.transfers.bytes_down == frames * (SIZE * SIZE + logits)
    # Labels and logits of each frame, and pinned memory that is used a second time in a frame.
    assert gpu.waits - waits <= 3 * frames


def test_videos_of_any_size_interleave(dynamic_bundle: Path, tmp_path: Path, gpu: Gpu0) -> None:
    del gpu
    folder: Path = copytree(dynamic_bundle, tmp_path / "bundle")
    add_engines(folder)
    with (
        Segmenter.open(folder, backend="tensorrt") as segmenter,
        Segmenter.open(folder, threads=1) as expected,
    ):
        sizes = (97, 130)
        states = [segmenter.start(picture(0, 0, s), squares(2, s)) for s in sizes]
        others = [expected.start(picture(0, 0, s), squares(2, s)) for s in sizes]
        for index in range(1, 8):
            for which, size in enumerate(sizes):
                frame = picture(index, 0, size)
                labels, states[which] = segmenter.step(frame, states[which])
                wanted, others[which] = expected.step(frame, others[which])
                np.testing.assert_array_equal(labels, wanted)


def test_a_state_of_another_segmenter_is_refused(on_gpu: Segmenter, engine_bundle: Path) -> None:
    state = on_gpu.start(picture(0), squares())
    with (
        Segmenter.open(engine_bundle, backend="tensorrt") as other,
        pytest.raises(BackendError, match="another segmenter's; save it there"),
    ):
        other.step(picture(1), state)


def test_engines_that_round_more_are_named_and_not_taken_by_auto(
    engine_bundle: Path, tmp_path: Path, gpu: Gpu0
) -> None:
    del gpu
    folder: Path = copytree(engine_bundle, tmp_path / "bundle")
    manifest = Bundle.open(folder).manifest
    rounded = tuple(replace(e, flags=Flags(tf32=True)) for e in manifest.engines)
    write_manifest(folder, replace(manifest, engines=rounded))
    with Segmenter.open(folder, backend="tensorrt") as segmenter:
        assert segmenter.backend.traits.arithmetic == "tf32"
    backend, refused = choose_backend(Bundle.open(folder))
    assert backend.traits.name == "onnxruntime-cpu"
    assert refused["tensorrt"] == "it computes in tf32"
    (folder / "engines/tensorrt-decoder.plan").unlink()
    backend, refused = choose_backend(Bundle.open(folder))
    assert backend.traits.name == "onnxruntime-cpu"
    assert "tensorrt-decoder.plan" in refused["tensorrt"]


def test_a_fault_on_the_device_is_reported_when_it_is_waited_for(
    on_gpu: Segmenter, gpu: Gpu0
) -> None:
    state = on_gpu.start(picture(0), squares())
    gpu.sick = True
    with pytest.raises(BackendError, match=r"CUDA reports: .* illegal memory access"):
        on_gpu.step(picture(1), state)


def test_closing_waits_for_what_is_enqueued(engine_bundle: Path, gpu: Gpu0) -> None:
    segmenter = Segmenter.open(engine_bundle, backend="tensorrt")
    state = segmenter.start(picture(0), squares())
    for index in range(1, 12):
        _, state = segmenter.step(picture(index), state)
    seen = segmenter.observe(picture(12), state)  # its labels are never asked for
    segmenter.remember(seen, state)
    assert gpu.queue
    segmenter.close()
    assert not gpu.queue
    assert not gpu.memory


def test_a_closed_segmenter_holds_nothing(engine_bundle: Path, gpu: Gpu0) -> None:
    segmenter = Segmenter.open(engine_bundle, backend="tensorrt")
    state = segmenter.start(picture(0), squares())
    segmenter.close()
    segmenter.close()
    assert not gpu.memory
    assert gpu.pushed == 0
    with pytest.raises(BackendError, match="closed; open it again"):
        segmenter.step(picture(1), state)
    del state  # its tensors' memory is no longer anybody's to give back


def test_a_state_moves_to_the_cpu_and_back(
    on_gpu: Segmenter, expected: Segmenter, tmp_path: Path
) -> None:
    state = on_gpu.start(picture(0), squares())
    for index in range(1, 5):
        _, state = on_gpu.step(picture(index), state)
    on_gpu.save(state, tmp_path / "state")
    moved = expected.load(tmp_path / "state")
    back = on_gpu.load(tmp_path / "state")
    for index in range(5, 9):
        labels, state = on_gpu.step(picture(index), state)
        wanted, moved = expected.step(picture(index), moved)
        again, back = on_gpu.step(picture(index), back)
        np.testing.assert_array_equal(labels, wanted)
        np.testing.assert_array_equal(labels, again)


def test_another_thread_may_step(on_gpu: Segmenter, expected: Segmenter) -> None:
    state = on_gpu.start(picture(0), squares())
    results: list[NDArray[np.uint8]] = []
    thread = threading.Thread(
        target=lambda: results.append(on_gpu.step(picture(1), state)[0]), daemon=True
    )
    thread.start()
    thread.join(60)
    wanted, _ = expected.step(picture(1), expected.start(picture(0), squares()))
    np.testing.assert_array_equal(results[0], wanted)


def test_a_video_settles_before_it_is_measured(on_gpu: Segmenter, gpu: Gpu0) -> None:
    state = on_gpu.start(picture(0), squares())
    for index in range(1, 1 + (SETTLE + 12) * GAP):
        if index == SETTLE * GAP + 1:
            made = gpu.contexts, gpu.captures
        _, state = on_gpu.step(picture(index), state)
    assert (gpu.contexts, gpu.captures) == made
