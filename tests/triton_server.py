"""A real Triton server for tests: the one inside the wheel nvidia-pytriton, on loopback.

MAVOS_TRITON_PYTHON names the Python of an environment with that wheel, numpy 1.26, and what
mavos-deploy needs to run (`.ci/run` makes one). Its server has the Python backend only; the models
of the ONNX Runtime backend are run by a stand-in, `onnxruntime_backend.py`, which the server finds
as a backend that is written in Python.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest

from mavos_deploy.runtime import VideoSegmenter

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = "MAVOS_TRITON_PYTHON"
READY_SECONDS = 120.0  # a busy machine loads five graphs slowly
# The server is Triton 2.51, from 24.10, whose backend is built for numpy 1.
DESCRIBE = """
import importlib.util, pathlib, sys, sysconfig, numpy, onnxruntime
assert numpy.__version__.startswith("1."), f"numpy {numpy.__version__}; the server needs 1.26"
print(f"{sys.version_info[0]}.{sys.version_info[1]}")
print(sysconfig.get_config_var("LIBDIR"))
# Found, not imported: the wheel's own Python code needs packages that its server doesn't.
print(pathlib.Path(importlib.util.find_spec("pytriton").origin).parent / "tritonserver")
"""


def server_python() -> Path:
    """Python of the server's environment; skips the test where none is given."""
    given = os.environ.get(VARIABLE)
    if not given:
        pytest.skip(f"{VARIABLE} names no Python with nvidia-pytriton (docs/serving.md)")
    return Path(given)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class TritonServer:
    """Starts at once, and stops at the end of a `with` block or with `stop`."""

    def __init__(
        self, repository: Path, scratch: Path, *options: str, port: int | None = None
    ) -> None:
        python = server_python()
        described = subprocess.run(
            [python, "-c", DESCRIBE], capture_output=True, text=True, check=False
        )
        assert described.returncode == 0, described.stderr
        version, libraries, folder = described.stdout.splitlines()
        server = Path(folder)
        self.grpc, self._http = port or free_port(), free_port()
        self.address = f"127.0.0.1:{self.grpc}"
        self.log = scratch / f"server-{self.grpc}-{time.monotonic_ns()}.log"
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": f"{libraries}:{server.parents[1] / 'nvidia_pytriton.libs'}",
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    server / "bin" / "tritonserver",
                    f"--model-repository={repository}",
                    f"--backend-directory={_backends(server, version, scratch)}",
                    "--http-address=127.0.0.1",
                    f"--http-port={self._http}",
                    "--grpc-address=127.0.0.1",
                    f"--grpc-port={self.grpc}",
                    "--allow-metrics=false",
                    # An open connection would keep the process, and with it the port, for 30 s.
                    "--exit-timeout-secs=3",
                    # Models of the stand-in lock each other up where they load at the same time,
                    # and where their memory grows.
                    "--model-load-thread-count=1",
                    "--backend-config=python,shm-default-byte-size=67108864",
                    *options,
                ],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that the backend's processes can be ended as well
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def memory(self) -> int:
        """Resident bytes of the server and the processes of its models."""
        total = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                if os.getpgid(int(status.parent.name)) != self.process.pid:
                    continue
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            except (OSError, ValueError):
                continue
            total += int(fields.get("VmRSS", "0 kB").split()[0]) * 1024
        return total

    def stop(self) -> None:
        """End the server and everything that it started."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._end_group()

    def kill(self) -> None:
        """End it as a crash would."""
        self._end_group()
        self.process.wait(timeout=20)

    def _end_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def __enter__(self) -> "TritonServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server ended:\n{self.said()}"
            try:
                with urlopen(f"http://127.0.0.1:{self._http}/v2/health/ready", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except (URLError, OSError):
                time.sleep(0.1)
        raise AssertionError(f"the server was not ready in {READY_SECONDS:g} s:\n{self.said()}")

    def said(self) -> str:
        """The end of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-60:])


def _backends(server: Path, version: str, scratch: Path) -> Path:
    """A folder of backends: the wheel's own, with the stub for this Python, and the stand-in."""
    folder = scratch / "backends"
    if not folder.exists():
        shutil.copytree(server / "backends" / "python", folder / "python")
        stub = "triton_python_backend_stub"
        (folder / "python" / stub).symlink_to(server / "python_backend_stubs" / version / stub)
        # The backend ignores PYTHONPATH, but looks into its own folder: the checkout.
        (folder / "python" / "mavos_deploy").symlink_to(ROOT / "mavos_deploy")
        stand_in = folder / "onnxruntime"
        stand_in.mkdir()
        shutil.copy(ROOT / "tests" / "onnxruntime_backend.py", stand_in / "model.py")
    return folder


def masks(
    segmenter: VideoSegmenter[Any, Any], frames: np.ndarray, first: np.ndarray
) -> list[np.ndarray]:
    """The masks of a whole video, from either kind of segmenter."""
    state = segmenter.start(frames[0], first)
    found = []
    for frame in frames[1:]:
        labels, state = segmenter.step(segmenter.prepare(frame), state)
        found.append(labels)
    segmenter.end(state)
    return found


def blocks(stream: int) -> np.ndarray:
    """First labels that differ from stream to stream."""
    labels = np.zeros((33, 49), np.uint8)
    labels[stream : stream + 12, 4:20] = 1
    labels[15:30, 20 + stream : 32 + stream] = 2 + stream
    return labels
