"""The TensorRT backend on a stand-in for the GPU: the same masks, and what lies where when."""

import hashlib
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.gpu import SETTLE
from mavos_deploy.errors import BackendError
from mavos_deploy.export.exporter import Plan, write_bundle
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime import Bundle, Segmenter, State
from mavos_deploy.runtime.backends import tensorrt_gpu as backend_module
from mavos_deploy.runtime.backends.protocol import Transfers
from mavos_deploy.runtime.backends.table import choose_backend
from mavos_deploy.runtime.backends.tensorrt_gpu import KEPT_RUNS, TensorRtGpu
from mavos_deploy.runtime.contract import GROUPS
from mavos_deploy.runtime.engines import Engine, Flags, Profile
from mavos_deploy.runtime.manifest import write_manifest
from tests.cuda_stand_in import CAPABILITY, GRAPH_OF, VERSION, Gpu0, install

Labels = NDArray[np.uint8]
SIZE = 97
GAP = 2
MOST_GROUPS = 3


@pytest.fixture(scope="session")
def plain_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("tiny-97")
    write_bundle(Plan(VARIANTS["tiny"], (SIZE, SIZE), GAP, "cpu"), None, folder, lambda _: None)
    _add_engines(folder)
    return folder


def _add_engines(folder: Path) -> None:
    """Engines for the stand-in: each graph's ONNX file is its plan."""
    bundle = Bundle.open(folder)
    engines = []
    for graph, spec in bundle.specs.items():
        content = bundle.graph_path(graph).read_bytes()
        profile: Profile = {}
        for tensor in spec.inputs:
            if any(isinstance(extent, str) for extent in tensor.shape):
                low = tuple(e if isinstance(e, int) else 1 for e in tensor.shape)
                high = tuple(
                    e if isinstance(e, int) else MOST_GROUPS if e == GROUPS else 200
                    for e in tensor.shape
                )
                profile[tensor.name] = low, low, high
        for library in ("tensorrt", "tensorrt_rtx"):
            file = f"engines/{library}-{graph}.plan"
            (folder / "engines").mkdir(exist_ok=True)
            (folder / file).write_bytes(content)
            engines.append(
                Engine(
                    graph=graph,
                    file=file,
                    sha256=hashlib.sha256(content).hexdigest(),
                    graph_sha256=bundle.manifest.graphs[graph].sha256,
                    library=library,
                    version=VERSION,
                    capability=CAPABILITY,
                    gpu=None,
                    driver=None,
                    flags=Flags(),
                    profiles=(profile,) if profile else (),
                )
            )
    write_manifest(folder, replace(bundle.manifest, engines=tuple(engines)))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu0:
    gpu = Gpu0()
    install(monkeypatch, gpu)
    return gpu


@pytest.fixture
def segmenter(plain_bundle: Path, gpu: Gpu0) -> Iterator[Segmenter]:
    del gpu
    with Segmenter.open(plain_bundle, backend="tensorrt") as segmenter:
        yield segmenter


@pytest.fixture(scope="session")
def expected(plain_bundle: Path) -> Iterator[Segmenter]:
    with Segmenter.open(plain_bundle, threads=1) as segmenter:
        yield segmenter


def picture(index: int, seed: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
    """A frame in which squares move."""
    frame = np.random.default_rng(seed).integers(0, 120, (size, size, 3)).astype(np.uint8)
    for number in range(3):
        top, left = 10 + 25 * number, 10 + (3 * index + 17 * number) % 60
        frame[top : top + 18, left : left + 18] += np.uint8(40 * (number + 1))
    return frame


def squares(count: int = 2, size: int = SIZE) -> Labels:
    """Labels 1..count in a grid."""
    labels = np.zeros((size, size), np.uint8)
    for number in range(count):
        top, left = 16 * (number // 5), 16 * (number % 5)
        labels[top + 2 : top + 15, left + 2 : left + 15] = number + 1
    return labels


def test_masks_are_those_of_the_cpu_past_many_updates(
    segmenter: Segmenter, expected: Segmenter, gpu: Gpu0
) -> None:
    state, other = segmenter.start(picture(0), squares()), expected.start(picture(0), squares())
    for index in range(1, 26):
        late = squares(13) if index == 9 else None  # a second group, in mid-video
        labels, state = segmenter.step(picture(index), state, late)
        wanted, other = expected.step(picture(index), other, late)
        np.testing.assert_array_equal(labels, wanted, err_msg=f"frame {index}")
        if index == 16:
            state, other = (
                segmenter.remove(state, [11, 12, 13]),
                expected.remove(other, range(11, 14)),
            )
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
    segmenter: Segmenter, expected: Segmenter
) -> None:
    states = {n: segmenter.start(picture(0, n), squares(n)) for n in (1, 3, 12)}
    others = {n: expected.start(picture(0, n), squares(n)) for n in (1, 3, 12)}
    old: dict[int, tuple[State, State]] = {}
    for index in range(1, 10):
        for n in states:
            labels, states[n] = segmenter.step(picture(index, n), states[n])
            wanted, others[n] = expected.step(picture(index, n), others[n])
            np.testing.assert_array_equal(labels, wanted)
        if index == 3:
            old = {n: (states[n], others[n]) for n in states}
    for n in old:  # a state kept from long ago goes on as it would have
        states[n], others[n] = old[n]
        for index in range(4, 8):
            labels, states[n] = segmenter.step(picture(index, n), states[n])
            wanted, others[n] = expected.step(picture(index, n), others[n])
            np.testing.assert_array_equal(labels, wanted)


def test_a_frame_is_one_chain_and_only_picture_and_labels_travel(
    segmenter: Segmenter, gpu: Gpu0
) -> None:
    backend = segmenter.backend
    assert isinstance(backend, TensorRtGpu)
    state = segmenter.start(picture(0), squares())
    for index in range(1, 12):
        _, state = segmenter.step(picture(index), state)
    backend.transfers, waits = Transfers(), gpu.waits
    for index in range(12, 12 + 2 * GAP):
        _, state = segmenter.step(picture(index), state)
    frames = 2 * GAP
    object_mask, first_update = 11 * 4, 4
    assert (
        backend.transfers.bytes_up
        == frames * (SIZE * SIZE * 3 * 4 + object_mask) + 2 * first_update
    )
    assert backend.transfers.bytes_down == frames * SIZE * SIZE
    # The labels of each frame, and pinned memory that is used a second time in a frame.
    assert gpu.waits - waits <= 2 * frames


def test_short_slots_take_turns_and_memory_stays_constant(segmenter: Segmenter, gpu: Gpu0) -> None:
    backend = segmenter.backend
    assert isinstance(backend, TensorRtGpu)
    state = segmenter.start(picture(0), squares())
    places, used, contexts = [], [], []
    for index in range(1, 41):
        _, state = segmenter.step(picture(index), state)
        places.append(state.memory["short_value_0"].address)
        used.append(backend.device_bytes)
        contexts.append(gpu.contexts)
    assert len(set(places[8:])) <= 3
    assert places[20] != places[21]
    assert len(set(used[8:])) == 1
    assert contexts[20] == contexts[-1]
    assert sum(map(len, gpu.memory.values())) == backend.device_bytes


def test_more_videos_than_captured_graphs_do_not_push_each_other_out(
    segmenter: Segmenter, gpu: Gpu0
) -> None:
    states = [segmenter.start(picture(0, n), squares()) for n in range(KEPT_RUNS)]
    made = []
    for index in range(1, 7):
        for n, state in enumerate(states):
            _, states[n] = segmenter.step(picture(index, n), state)
        made.append(gpu.contexts)
    assert made[-1] == made[-2], "contexts are made again and again"


def test_videos_that_have_ended_make_room(
    segmenter: Segmenter, gpu: Gpu0, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "KEPT_RUNS", 4)
    monkeypatch.setattr(backend_module, "STALE", 12)
    held = []  # keeps its blocks, so that the next video gets other addresses
    for video in range(4):
        state = segmenter.start(picture(0, video), squares())
        held.append(state)
        launched = gpu.launched
        for index in range(1, 20):
            _, state = segmenter.step(picture(index, video), state)
        assert gpu.launched - launched > 20, f"video {video} runs without captured graphs"
    backend = segmenter.backend
    assert isinstance(backend, TensorRtGpu)
    assert all(len(graph.runs) <= 4 for graph in backend._graphs.values())


def test_more_scratch_memory_drops_what_was_captured(
    segmenter: Segmenter, expected: Segmenter, gpu: Gpu0
) -> None:
    state, other = segmenter.start(picture(0), squares()), expected.start(picture(0), squares())
    for index in range(1, 10):
        _, state = segmenter.step(picture(index), state)
        _, other = expected.step(picture(index), other)
    assert gpu.launched
    many = segmenter.start(picture(0), squares(25))  # three groups need three times as much
    _, many = segmenter.step(picture(1), many)
    for index in range(10, 18):
        labels, state = segmenter.step(picture(index), state)
        wanted, other = expected.step(picture(index), other)
        np.testing.assert_array_equal(labels, wanted)


@pytest.mark.slow  # exports a bundle of its own, which takes a minute
def test_videos_of_any_size_interleave(dynamic_bundle: Path, tmp_path: Path, gpu: Gpu0) -> None:
    del gpu
    folder: Path = copytree(dynamic_bundle, tmp_path / "bundle")
    _add_engines(folder)
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


def test_a_full_gpu_is_said_and_videos_go_on_when_others_end(
    segmenter: Segmenter, gpu: Gpu0
) -> None:
    state = segmenter.start(picture(0), squares())
    for index in range(1, 6):
        _, state = segmenter.step(picture(index), state)
    gpu.capacity = sum(map(len, gpu.memory.values())) + 3_000_000
    others: list[State] = []

    def start_many() -> None:
        for seed in range(50):
            others.append(segmenter.start(picture(0, seed), squares()))

    with pytest.raises(BackendError, match=r"no \d+ MB left; .* hold \d+ MB. Follow fewer"):
        start_many()
    assert others
    others.clear()
    for index in range(6, 12):
        _, state = segmenter.step(picture(index), state)
    segmenter.start(picture(0), squares())


@pytest.mark.filterwarnings("ignore:.*can't be captured")
@pytest.mark.parametrize("graph", ["encoder", "elstt_step", "decoder", "memory_write"])
def test_a_failed_launch_is_named_and_the_state_is_still_good(
    segmenter: Segmenter, expected: Segmenter, gpu: Gpu0, graph: str
) -> None:
    state, other = segmenter.start(picture(0), squares()), expected.start(picture(0), squares())
    failed = 0
    for index in range(1, 10):
        # A plain launch, a context's first, one that is captured; later ones can't be planted in.
        gpu.fail = graph
        try:
            segmenter.step(picture(index), state)
        except BackendError as error:
            failed += 1
            said = str(error)
            assert said == f"tensorrt failed in {graph}: planted fault"
        gpu.fail = None
        labels, state = segmenter.step(picture(index), state)
        wanted, other = expected.step(picture(index), other)
        np.testing.assert_array_equal(labels, wanted)
    assert failed >= 2
    assert gpu.launched


def test_an_engine_that_cannot_be_captured_is_launched_plainly_and_said_once(
    segmenter: Segmenter, expected: Segmenter, gpu: Gpu0
) -> None:
    gpu.uncapturable = "decoder"
    start = segmenter.start(picture(0), squares()), expected.start(picture(0), squares())

    def follow() -> None:
        state, other = start
        for index in range(1, 12):
            labels, state = segmenter.step(picture(index), state)
            wanted, other = expected.step(picture(index), other)
            np.testing.assert_array_equal(labels, wanted)

    with pytest.warns(RuntimeWarning, match=r"decoder can't be captured .* by kernel") as said:
        follow()
    assert len(said) == 1
    assert gpu.launched  # the others are


def test_a_state_of_another_segmenter_is_refused(segmenter: Segmenter, plain_bundle: Path) -> None:
    state = segmenter.start(picture(0), squares())
    with (
        Segmenter.open(plain_bundle, backend="tensorrt") as other,
        pytest.raises(BackendError, match="another segmenter's; save it there"),
    ):
        other.step(picture(1), state)


def test_engines_that_round_more_are_named_and_not_taken_by_auto(
    plain_bundle: Path, tmp_path: Path, gpu: Gpu0
) -> None:
    del gpu
    folder: Path = copytree(plain_bundle, tmp_path / "bundle")
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


def test_a_gpu_that_is_taken_is_refused_in_one_line(plain_bundle: Path, gpu: Gpu0) -> None:
    gpu.taken = True
    with pytest.raises(BackendError, match=r"tensorrt: the GPU can't be used .* nvidia-smi"):
        Segmenter.open(plain_bundle, backend="tensorrt")


def test_a_fault_on_the_device_is_reported_when_it_is_waited_for(
    segmenter: Segmenter, gpu: Gpu0
) -> None:
    state = segmenter.start(picture(0), squares())
    gpu.sick = True
    with pytest.raises(BackendError, match=r"CUDA reports: .* illegal memory access"):
        segmenter.step(picture(1), state)


def test_closing_waits_for_what_is_enqueued(plain_bundle: Path, gpu: Gpu0) -> None:
    segmenter = Segmenter.open(plain_bundle, backend="tensorrt")
    state = segmenter.start(picture(0), squares())
    for index in range(1, 12):
        _, state = segmenter.step(picture(index), state)
    seen = segmenter.observe(picture(12), state)  # its labels are never asked for
    segmenter.remember(seen, state)
    assert gpu.queue
    segmenter.close()
    assert not gpu.queue
    assert not gpu.memory


def test_a_closed_segmenter_holds_nothing(plain_bundle: Path, gpu: Gpu0) -> None:
    segmenter = Segmenter.open(plain_bundle, backend="tensorrt")
    state = segmenter.start(picture(0), squares())
    segmenter.close()
    segmenter.close()
    assert not gpu.memory
    assert gpu.pushed == 0
    with pytest.raises(BackendError, match="closed; open it again"):
        segmenter.step(picture(1), state)
    del state  # its tensors' memory is no longer anybody's to give back


def test_a_state_moves_to_the_cpu_and_back(
    segmenter: Segmenter, expected: Segmenter, tmp_path: Path
) -> None:
    state = segmenter.start(picture(0), squares())
    for index in range(1, 5):
        _, state = segmenter.step(picture(index), state)
    segmenter.save(state, tmp_path / "state")
    moved = expected.load(tmp_path / "state")
    back = segmenter.load(tmp_path / "state")
    for index in range(5, 9):
        labels, state = segmenter.step(picture(index), state)
        wanted, moved = expected.step(picture(index), moved)
        again, back = segmenter.step(picture(index), back)
        np.testing.assert_array_equal(labels, wanted)
        np.testing.assert_array_equal(labels, again)


def test_another_thread_may_step(segmenter: Segmenter, expected: Segmenter) -> None:
    state = segmenter.start(picture(0), squares())
    results: list[Labels] = []
    thread = threading.Thread(
        target=lambda: results.append(segmenter.step(picture(1), state)[0]), daemon=True
    )
    thread.start()
    thread.join(60)
    wanted, _ = expected.step(picture(1), expected.start(picture(0), squares()))
    np.testing.assert_array_equal(results[0], wanted)


def test_a_lost_gpu_is_one_error_and_closing_is_quiet(
    plain_bundle: Path, gpu: Gpu0, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter = Segmenter.open(plain_bundle, backend="tensorrt")
    state = segmenter.start(picture(0), squares())
    gpu.lost = True
    with pytest.raises(BackendError, match=r"tensorrt: CUDA reports: cuCtxPushCurrent failed"):
        segmenter.step(picture(1), state)
    segmenter.close()
    assert gpu.pushed == 0
    assert capsys.readouterr() == ("", "")


def test_a_faulty_gpu_is_given_up_when_it_is_closed(
    plain_bundle: Path, gpu: Gpu0, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter = Segmenter.open(plain_bundle, backend="tensorrt")
    state = segmenter.start(picture(0), squares())
    gpu.sick = True
    with pytest.raises(BackendError, match=r"tensorrt: CUDA reports: .* illegal memory access"):
        segmenter.step(picture(1), state)
    assert gpu.memory  # it goes with the context
    gpu.sick = False
    with Segmenter.open(plain_bundle, backend="tensorrt") as anew:
        segmenter.close()  # which must leave the new context alone
        anew.step(picture(1), anew.start(picture(0), squares()))
    assert gpu.pushed == 0
    assert capsys.readouterr() == ("", "")


def test_a_video_settles_before_it_is_measured(segmenter: Segmenter, gpu: Gpu0) -> None:
    state = segmenter.start(picture(0), squares())
    for index in range(1, 1 + (SETTLE + 12) * GAP):
        if index == SETTLE * GAP + 1:
            made = gpu.contexts, gpu.captures
        _, state = segmenter.step(picture(index), state)
    assert (gpu.contexts, gpu.captures) == made


def test_engines_of_another_model_of_gpu_are_refused(
    plain_bundle: Path, tmp_path: Path, gpu: Gpu0
) -> None:
    del gpu
    folder = copytree(plain_bundle, tmp_path / "bundle")
    manifest = Bundle.open(folder).manifest
    engines = tuple(replace(engine, gpu="Other") for engine in manifest.engines)
    write_manifest(folder, replace(manifest, engines=engines))
    with pytest.raises(BackendError, match=r"built on Other, .* and this is Stand-in"):
        Segmenter.open(folder, backend="tensorrt")


def test_a_user_without_a_home_runs_without_a_cache(
    plain_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    gpu = Gpu0()
    install(monkeypatch, gpu, "tensorrt_rtx")
    with Segmenter.open(plain_bundle, backend="tensorrt-rtx") as segmenter:
        segmenter.step(picture(1), segmenter.start(picture(0), squares()))
    assert not gpu.memory


def test_an_empty_recording_is_never_launched(
    segmenter: Segmenter, expected: Segmenter, gpu: Gpu0, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = sys.modules["cuda.bindings"].driver
    end = driver.cuStreamEndCapture
    monkeypatch.setattr(driver, "cuStreamEndCapture", lambda handle: (end(handle)[0], []))
    state, other = segmenter.start(picture(0), squares()), expected.start(picture(0), squares())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for index in range(1, 9):
            labels, state = segmenter.step(picture(index), state)
            wanted, other = expected.step(picture(index), other)
            np.testing.assert_array_equal(labels, wanted)
    assert all("nothing was recorded" in str(warning.message) for warning in caught)
    assert caught
    assert gpu.launched == 0


def test_a_release_that_cannot_run_engines_is_refused(
    plain_bundle: Path, gpu: Gpu0, monkeypatch: pytest.MonkeyPatch
) -> None:
    del gpu
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", "10.0.1")
    with pytest.raises(BackendError, match=r"tensorrt 10\.0\.1 is too old .* 10\.1 or later"):
        Segmenter.open(plain_bundle, backend="tensorrt")


def test_tensorrt_rtx_captures_by_itself_and_compiles_once(
    plain_bundle: Path, expected: Segmenter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gpu = Gpu0()
    install(monkeypatch, gpu, "tensorrt_rtx")
    with Segmenter.open(plain_bundle, backend="tensorrt-rtx") as segmenter:
        assert segmenter.backend.traits.name == "tensorrt-rtx"
        state, other = segmenter.start(picture(0), squares()), expected.start(picture(0), squares())
        for index in range(1, 9):
            labels, state = segmenter.step(picture(index), state)
            wanted, other = expected.step(picture(index), other)
            np.testing.assert_array_equal(labels, wanted)
    assert gpu.captures == gpu.recaptures == 0
    assert gpu.compiled == set(GRAPH_OF.values())
    [kept] = (path for path in tmp_path.rglob("*") if path.is_file())
    again = Gpu0()
    install(monkeypatch, again, "tensorrt_rtx")
    with Segmenter.open(plain_bundle, backend="tensorrt-rtx") as segmenter:
        segmenter.step(picture(1), segmenter.start(picture(0), squares()))
    assert not again.compiled
    kept.write_bytes(b"of another world")
    with Segmenter.open(plain_bundle, backend="tensorrt-rtx") as segmenter:
        segmenter.step(picture(1), segmenter.start(picture(0), squares()))
    assert again.compiled


def test_what_engines_do_not_take_is_said_before_any_work(
    segmenter: Segmenter, plain_bundle: Path
) -> None:
    many = np.zeros((SIZE, SIZE), np.uint8)
    many.ravel()[: 10 * MOST_GROUPS + 1] = np.arange(1, 10 * MOST_GROUPS + 2)
    with pytest.raises(BackendError, match=r"to 3x\d.*, not 4x.*mavos-build .* --max-groups"):
        segmenter.start(picture(0), many)
    large = picture(0, size=256)
    with pytest.raises(BackendError, match=r"takes row_weights from .* --max-output"):
        segmenter.step(large, segmenter.start(large, squares(size=256)))


def test_a_refused_plan_is_said_in_the_librarys_words(
    plain_bundle: Path, gpu: Gpu0, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bundle, "plan", lambda self, engine: b"broken")
    with pytest.raises(BackendError, match=r"refuses .*encoder\.plan: magic tag does not match"):
        Segmenter.open(plain_bundle, backend="tensorrt")
    assert gpu.pushed == 0


def test_a_machine_without_a_gpu_is_refused(
    plain_bundle: Path, gpu: Gpu0, monkeypatch: pytest.MonkeyPatch
) -> None:
    del gpu
    monkeypatch.setattr("mavos_deploy.runtime.system.gpu.first_gpu", lambda: None)
    with pytest.raises(BackendError, match="tensorrt: the driver shows no NVIDIA GPU"):
        Segmenter.open(plain_bundle, backend="tensorrt")
