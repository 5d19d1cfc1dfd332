"""The repository on a real Triton server: the same masks, and the documented failures."""

import signal
import subprocess
import threading
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.cli import run as cli
from mavos_deploy.errors import ServerError, StreamLostError
from mavos_deploy.runtime import Bundle, RemoteSegmenter, Segmenter
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.triton.config import Graphs, Options
from mavos_deploy.runtime.triton.repository import write_repository
from mavos_deploy.runtime.triton.wire import StreamLimits
from tests.triton_server import TritonServer, blocks, masks, server_python

grpc = pytest.importorskip("tritonclient.grpc")
Labels = np.ndarray


LATE = np.zeros((33, 49), np.uint8)
LATE[2:12, 30:45] = 40  # an object that joins


def infer(client: Any, stream: int, flags: str = "", **tensors: np.ndarray) -> Any:  # noqa: ANN401
    """A request as any Triton client makes it."""
    inputs = []
    for name, tensor in tensors.items():
        dtype = {"uint8": "UINT8", "int64": "INT64", "object": "BYTES"}[tensor.dtype.name]
        inputs.append(grpc.InferInput(name, tensor.shape, dtype))
        inputs[-1].set_data_from_numpy(tensor)
    return client.infer(
        "mavos",
        inputs,
        sequence_id=stream,
        sequence_start="start" in flags,
        sequence_end="end" in flags,
        client_timeout=60,
    )


RESIZE = """
import io, sys, cv2, numpy
frame = numpy.load(io.BytesIO(sys.stdin.buffer.read()))
size = tuple(map(int, sys.argv[1:]))
resized = cv2.resize(frame.astype("float32"), size, interpolation=cv2.INTER_CUBIC)
numpy.save(sys.stdout.buffer, resized)
"""


def resized_at_the_server(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """A frame resized by the OpenCV of the server's environment."""
    given = BytesIO()
    np.save(given, frame)
    done = subprocess.run(
        [server_python(), "-c", RESIZE, str(width), str(height)],
        input=given.getvalue(),
        capture_output=True,
        check=True,
    )
    resized: np.ndarray = np.load(BytesIO(done.stdout))
    return resized


def refusal(*arguments: Any, **tensors: np.ndarray) -> str:  # noqa: ANN401
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException) as refused:
        infer(*arguments, **tensors)  # type: ignore[arg-type]
    return str(refused.value)


def test_eight_interleaved_streams_give_the_masks_of_eight_local_runs(
    remote: RemoteSegmenter, local: Segmenter, noise: np.ndarray
) -> None:
    expected = [masks(local, frames, blocks(i)) for i, frames in enumerate(noise)]
    states = [remote.start(frames[0], blocks(i)) for i, frames in enumerate(noise)]
    for number in range(1, noise.shape[1]):
        for i, frames in enumerate(noise):
            labels, states[i] = remote.step(frames[number], states[i])
            assert np.array_equal(labels, expected[i][number - 1]), f"stream {i} frame {number}"
    for state in states:
        remote.end(state)


def test_eight_clients_at_once_give_the_masks_of_local_runs(
    server: TritonServer, local: Segmenter, noise: np.ndarray
) -> None:
    frames = noise[:, :15]
    expected = [masks(local, video, blocks(i)) for i, video in enumerate(frames)]
    found: dict[int, list[Labels]] = {}

    def run(i: int) -> None:
        with RemoteSegmenter(server.address) as segmenter:
            found[i] = masks(segmenter, frames[i], blocks(i))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[i], expected[i]) for i in range(8))


def test_objects_join_and_leave_as_they_do_locally(
    remote: RemoteSegmenter, local: Segmenter, noise: np.ndarray
) -> None:
    states: list[Any] = [s.start(noise[6, 0], blocks(0)) for s in (remote, local)]
    for number, frame in enumerate(noise[6, 1:12], 1):
        results = []
        annotation = LATE if number == 5 else None
        each: tuple[Any, ...] = (remote, local)
        for i, segmenter in enumerate(each):
            if number == 8:
                states[i] = segmenter.remove(states[i], {1})
            labels, states[i] = segmenter.step(frame, states[i], annotation)
            results.append(labels)
        assert np.array_equal(*results), f"frame {number}"
        assert states[0].objects == states[1].objects
        assert states[0].ids == states[1].ids
        assert states[0].frame == states[1].frame
    assert 1 not in states[0].objects


def test_confidence_from_the_server_is_that_of_a_local_run(
    remote: RemoteSegmenter, local: Segmenter, noise: np.ndarray
) -> None:
    states: list[Any] = [s.start(noise[5, 0], blocks(0)) for s in (remote, local)]
    assert states[0].confidence == {1: 1.0, 2: 1.0}
    told = []
    for number, frame in enumerate(noise[5, 1:12], 1):
        annotation = LATE if number == 6 else None
        each: tuple[Any, ...] = (remote, local)
        for i, segmenter in enumerate(each):
            _, states[i] = segmenter.step(frame, states[i], annotation)
        here, there = (state.confidence for state in states)
        assert here == pytest.approx(there, abs=1e-6), f"frame {number}"  # float32 on the wire
        told += here.values()
    assert here.keys() == {1, 2, 40}
    assert len(set(told)) > 5  # they are not all the same number


def test_frames_of_another_size_are_resized_as_locally(
    remote: RemoteSegmenter, local: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (4, 60, 90, 3), np.uint8)
    first = np.zeros((60, 90), np.uint8)
    first[10:40, 20:60] = 9
    found = masks(remote, frames, first)
    # The server's OpenCV is an older one, for numpy 1, and rounds in other places.
    monkeypatch.setattr("mavos_deploy.runtime.segmenter.resize_frame", resized_at_the_server)
    assert np.array_equal(found, masks(local, frames, first))


def test_files_go_in_and_come_out(server: TritonServer, local: Segmenter) -> None:
    def file(array: np.ndarray, form: str) -> np.ndarray:
        made = BytesIO()
        Image.fromarray(array).save(made, format=form)
        return np.array([made.getvalue()], np.object_)

    frame = np.full((33, 49, 3), 90, np.uint8)
    jpeg = file(frame, "JPEG")
    decoded = np.array(Image.open(BytesIO(jpeg[0])).convert("RGB"))
    state = local.start(decoded, blocks(1))
    expected, _ = local.step(decoded, state)
    with grpc.InferenceServerClient(server.address) as client:
        infer(client, 70, "start", frame_file=jpeg, labels_file=file(blocks(1), "PNG"))
        answer = infer(client, 70, "end", frame_file=jpeg)
    written = Image.open(BytesIO(answer.as_numpy("labels_file")[0]))
    assert written.mode == "P"
    assert np.array_equal(np.array(written), expected)
    assert np.array_equal(answer.as_numpy("labels"), expected)


def test_what_is_refused_says_why_and_disturbs_no_other_stream(
    server: TritonServer, local: Segmenter, noise: np.ndarray
) -> None:
    frames, first = noise[2, :6], blocks(2)
    expected = masks(local, frames, first)
    huge = np.zeros((1, 40000, 3), np.uint8)
    every = np.arange(33 * 49).reshape(33, 49).astype(np.uint8) % 255
    garbage = np.array([b"\xff\xd8\xff\xe0garbage"], np.object_)
    with (
        RemoteSegmenter(server.address) as remote,
        grpc.InferenceServerClient(server.address) as client,
    ):
        state = remote.start(frames[0], first)
        refused = [
            refusal(client, 0, "start", frame=frames[0], labels=first),
            refusal(client, 81, "", frame=frames[0]),
            refusal(client, state.stream, "", frame=frames[0][:20].copy()),
            refusal(client, 82, "start", frame_file=garbage, labels=first),
            refusal(client, 83, "start", frame=huge, labels=huge[..., 0].copy()),
        ]
        labels, state = remote.step(frames[1], state)
        assert np.array_equal(labels, expected[0])
        refused += [
            refusal(client, 84, "start", frame=frames[0], labels=every),
            refusal(client, 84, "", frame=frames[0]),
            refusal(client, state.stream, "", frame=frames[0].astype(np.int64)),
        ]
        for number in range(2, 6):
            labels, state = remote.step(frames[number], state)
            assert np.array_equal(labels, expected[number - 1])
    for found, told in zip(
        refused,
        [
            "must specify a non-zero or non-empty correlation ID",
            "must specify the START flag on the first request of the sequence",
            "frame of 20x49 in a video of 33x49",
            "not a readable picture",
            "a frame of 1x40000",
            "254 objects in one stream; this server follows up to 20",
            "its START was refused (254 objects",
            "expects 'UINT8'",
        ],
        strict=True,
    ):
        assert told in found


def test_a_thousand_streams_at_once_are_refused_within_bounded_memory(
    server: TritonServer, local: Segmenter, noise: np.ndarray
) -> None:
    frames, first = noise[3, :4], blocks(3)
    expected = masks(local, frames, first)
    answers: list[str] = []
    done = threading.Semaphore(0)

    def answered(result: object, error: object) -> None:
        answers.append(str(error or "started"))
        done.release()

    with (
        RemoteSegmenter(server.address) as remote,
        grpc.InferenceServerClient(server.address) as client,
    ):
        state = remote.start(frames[0], first)
        before = server.memory()
        tensors = [grpc.InferInput("frame", (33, 49, 3), "UINT8")]
        tensors.append(grpc.InferInput("labels", (33, 49), "UINT8"))
        for tensor, value in zip(tensors, (frames[0], first), strict=True):
            tensor.set_data_from_numpy(value)
        for stream in range(1000, 2000):
            client.async_infer("mavos", tensors, answered, sequence_id=stream, sequence_start=True)
        for number in range(1, 4):
            labels, state = remote.step(frames[number], state)
            assert np.array_equal(labels, expected[number - 1])
        for _ in range(1000):
            assert done.acquire(timeout=120)
        grown = server.memory() - before
        for stream in range(1000, 2000):
            with suppress(Exception):
                infer(client, stream, "end", frame_index=np.array([-1]))
    assert answers.count("started") == 11
    assert sum("follows 12 streams at once" in answer for answer in answers) == 989
    assert grown < 300e6


def test_streams_that_die_or_idle_lose_their_places_and_restarts_their_states(
    bundle: Bundle, local: Segmenter, noise: np.ndarray, tmp_path: Path, server: TritonServer
) -> None:
    """One server with little patience, killed and started again in mid-stream."""
    repository = tmp_path / "repository"
    repository.mkdir()
    limits = StreamLimits(max_streams=1, idle_seconds=4)
    write_repository(bundle, repository, Options(limits=limits, threads=1))
    frames, first = noise[5, :6], blocks(5)
    expected = masks(local, frames, first)
    with TritonServer(repository, tmp_path) as own:
        with grpc.InferenceServerClient(own.address) as dying:  # never says END
            infer(dying, 5, "start", frame=frames[0], labels=first)
        with RemoteSegmenter(own.address, retries=0) as remote:
            with pytest.raises(ServerError, match="1 streams at once"):
                remote.start(frames[0], first)
            time.sleep(5)
            state = remote.start(frames[0], first)  # the dead one's place
            time.sleep(5)
            with pytest.raises(StreamLostError, match="idle for more than 4 seconds"):
                remote.step(frames[1], state)
        with RemoteSegmenter(own.address, retries=6, timeout=20) as remote:
            state = remote.start(frames[0], first)
            labels, state = remote.step(frames[1], state)
            assert np.array_equal(labels, expected[0])
            own.kill()
            with (
                TritonServer(repository, tmp_path, port=own.grpc),
                pytest.raises(StreamLostError, match="doesn't know the stream: it was restarted"),
            ):
                remote.step(frames[2], state)
    # The other server's streams noticed nothing.
    with RemoteSegmenter(server.address) as remote:
        assert np.array_equal(masks(remote, frames, first), expected)


def test_mavos_run_writes_the_same_files_with_a_server(
    bundle: Bundle,
    server: TritonServer,
    noise: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "given").mkdir()
    for number, frame in enumerate(noise[7, :8]):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number:05d}.png")
    write_mask(tmp_path / "given" / "00000.png", blocks(7), bytes(range(30)))
    write_mask(tmp_path / "given" / "00004.png", LATE)
    written = []
    for name, which in (("here", [str(bundle.path)]), ("there", ["--server", server.address])):
        command = [*which, "frames", "--masks", "given", "--output", name, "--quiet"]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["mavos-run", *command])
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        signal.signal(signal.SIGTERM, before)
        assert ended.value.code == 0
        files = sorted((tmp_path / name).iterdir())
        written.append({file.name: file.read_bytes() for file in files})
    assert len(written[0]) == 8
    assert written[0] == written[1]


def test_graph_models_give_the_masks_of_a_local_run(
    bundle: Bundle, local: Segmenter, noise: np.ndarray, tmp_path: Path, server: TritonServer
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    write_repository(bundle, repository, Options(graphs=Graphs.ONNXRUNTIME, threads=1))
    with (
        TritonServer(repository, tmp_path) as own,
        RemoteSegmenter(own.address) as remote,
    ):
        states: list[Any] = [s.start(noise[6, 0], blocks(0)) for s in (remote, local)]
        for number, frame in enumerate(noise[6, 1:12], 1):
            annotation = LATE if number == 5 else None
            found, states[0] = remote.step(frame, states[0], annotation)
            expected, states[1] = local.step(frame, states[1], annotation)
            assert np.array_equal(found, expected), f"frame {number}"
