"""The client: lost answers, old states, and servers that are not there."""

import socket
import threading
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mavos_deploy.errors import InputError, ServerError
from mavos_deploy.runtime import RemoteSegmenter, RemoteState, Segmenter
from tests.triton_server import TritonServer, blocks, free_port, masks

grpc = pytest.importorskip("tritonclient.grpc")
Labels = np.ndarray


class Wire:
    """Stands between client and server; can lose answers, and cut the connection."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.deaf = False  # answers are thrown away
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        while self._open:
            with suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                for pair in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not (answers and self.deaf):
                    target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


def handled(client: Any) -> int:  # noqa: ANN401
    """Requests that the tracker has answered."""
    statistics = client.get_inference_statistics("mavos").model_stats[0].inference_stats
    return int(statistics.success.count)


def test_a_lost_answer_is_asked_for_again_and_no_frame_is_taken_twice(
    server: TritonServer, local: Segmenter, noise: np.ndarray
) -> None:
    frames, first = noise[4, :6], blocks(4)
    expected = masks(local, frames, first)
    wire = Wire(server.grpc)
    result: list[tuple[Labels, RemoteState]] = []
    with (
        RemoteSegmenter(wire.address) as remote,
        grpc.InferenceServerClient(server.address) as client,
    ):
        state = remote.start(frames[0], first)
        _, state = remote.step(frames[1], state)
        before = handled(client)
        wire.deaf = True
        asking = threading.Thread(target=lambda: result.append(remote.step(frames[2], state)))
        asking.start()
        deadline = time.monotonic() + 60
        while handled(client) == before and time.monotonic() < deadline:
            time.sleep(0.05)
        wire.cut()
        wire.deaf = False
        asking.join()
        labels, state = result[0]
        # The server counts a request a moment after it has answered.
        while handled(client) < before + 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert handled(client) == before + 2
        assert np.array_equal(labels, expected[1])
        for number in range(3, 6):
            labels, state = remote.step(frames[number], state)
            assert np.array_equal(labels, expected[number - 1])
    wire.close()


def test_an_old_state_is_refused(remote: RemoteSegmenter, noise: np.ndarray) -> None:
    first = remote.start(noise[0, 0], blocks(0))
    _, second = remote.step(noise[0, 1], first)
    _, third = remote.step(noise[0, 2], second)
    with pytest.raises(InputError, match="frame_index 1 of stream"):
        remote.step(noise[0, 1], first)
    remote.step(noise[0, 3], third)


def test_a_server_that_is_not_there_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(ServerError, match=f"{address} gave no answer for model mavos"):
        RemoteSegmenter(address, timeout=2, retries=1)


def test_a_model_that_is_not_there_is_named(server: TritonServer) -> None:
    with pytest.raises(ServerError, match="model other"):
        RemoteSegmenter(server.address, model="other")


SIZE = (20, 30)
GOOD = {
    "labels": np.full(SIZE, 1, np.uint8),
    "objects": np.array([1], np.uint8),
    "ids": np.array([1, 2], np.uint8),
    "confidence": np.array([0.5], np.float32),
}


class Liar:
    """Stands for the client library; answers with whatever it is given."""

    def __init__(self, answer: dict[str, Any], **parameters: str) -> None:
        self._answer = answer
        given = {"variant": "tiny", "trained": "yes", "height": "33", "width": "49", **parameters}
        self._parameters = {k: SimpleNamespace(string_value=v) for k, v in given.items()}

    def get_model_config(self, *_: object, **__: object) -> Any:  # noqa: ANN401
        outputs = [SimpleNamespace(name=name) for name in self._answer]
        return SimpleNamespace(config=SimpleNamespace(parameters=self._parameters, output=outputs))

    def infer(self, *_: object, **__: object) -> Any:  # noqa: ANN401
        def as_numpy(name: str) -> object:
            found = self._answer.get(name)
            if isinstance(found, Exception):
                raise found
            return found

        return SimpleNamespace(as_numpy=as_numpy)

    def close(self) -> None:
        pass


def _client(monkeypatch: pytest.MonkeyPatch, liar: Liar) -> RemoteSegmenter:
    monkeypatch.setattr(grpc, "InferenceServerClient", lambda *_, **__: liar)
    return RemoteSegmenter("localhost:1")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        pytest.param({"labels": None}, "labels is NoneType", id="none"),
        pytest.param({"labels": np.zeros((2, 2), np.uint8)}, r"labels of \[2, 2\]", id="small"),
        pytest.param({"labels": np.zeros(SIZE)}, "labels is float64", id="floats"),
        pytest.param(
            {"labels": np.broadcast_to(np.uint8(0), (60000, 60000))}, "labels of", id="giant"
        ),
        pytest.param({"labels": np.full(SIZE, 9, np.uint8)}, "labels of objects", id="unknown"),
        pytest.param({"objects": np.array([1.5])}, "objects is float64", id="half-an-object"),
        pytest.param({"objects": np.array([3], np.uint8)}, "none of the ids", id="stranger"),
        pytest.param({"ids": np.array([[1, 2]], np.uint8)}, "ids is uint8", id="square"),
        pytest.param({"ids": np.array([1, 1], np.uint8)}, "ids are .1, 1.", id="twice"),
        pytest.param({"ids": np.array([0, 1], np.uint8)}, "ids are .0, 1.", id="background"),
        pytest.param({"confidence": np.ones(2, np.float32)}, "2 confidences of 1", id="too-many"),
        pytest.param({"confidence": np.full(1, 1.5, np.float32)}, "goes from 0 to 1", id="unsure"),
        pytest.param({"labels": ValueError("cannot reshape")}, "cannot reshape", id="cut-off"),
    ],
)
def test_an_answer_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], reason: str
) -> None:
    client = _client(monkeypatch, Liar({**GOOD, **changed}))
    with pytest.raises(ServerError, match=reason):
        client.start(np.zeros((*SIZE, 3), np.uint8), np.ones(SIZE, np.uint8))


def test_an_answer_of_the_right_kind_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    client = _client(monkeypatch, Liar(GOOD))
    state = client.start(np.zeros((*SIZE, 3), np.uint8), np.ones(SIZE, np.uint8))
    labels, state = client.step(np.zeros((*SIZE, 3), np.uint8), state)
    assert labels.shape == SIZE
    assert state.ids == (1, 2)
    assert state.confidence == {1: 0.5}


def test_a_repository_of_an_earlier_release_tells_no_confidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = _client(monkeypatch, Liar({k: v for k, v in GOOD.items() if k != "confidence"}))
    state = client.start(np.zeros((*SIZE, 3), np.uint8), np.ones(SIZE, np.uint8))
    assert state.confidence == {}


@pytest.mark.parametrize(("height", "width"), [("-5", "9"), ("9", "99999999999"), ("9", "x")])
def test_a_server_with_an_impossible_size_is_refused(
    monkeypatch: pytest.MonkeyPatch, height: str, width: str
) -> None:
    with pytest.raises(ServerError, match="is no tracker of mavos-triton"):
        _client(monkeypatch, Liar(GOOD, height=height, width=width))
