"""A small bundle, its frames, and a server that the tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.runtime import Bundle, RemoteSegmenter, Segmenter
from mavos_deploy.runtime.backends.table import open_backend
from tests.triton_server import TritonServer, server_python

SIZE = (33, 49)  # pixels, of `tiny`


@pytest.fixture(scope="session")
def bundle(tiny: Bundle) -> Bundle:
    """The bundle that the server has."""
    return tiny


@pytest.fixture(scope="session")
def noise() -> np.ndarray:
    """Frames of eight streams, [8, 100, H, W, 3]."""
    return np.random.default_rng(7).integers(0, 256, (8, 100, *SIZE, 3), np.uint8)


@pytest.fixture(scope="session")
def server(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server with a repository as `mavos-triton` writes it, limits apart."""
    server_python()
    pytest.importorskip("tritonclient.grpc")
    from mavos_deploy.runtime.triton.config import Options
    from mavos_deploy.runtime.triton.repository import write_repository
    from mavos_deploy.runtime.triton.wire import StreamLimits

    repository: Path = tmp_path_factory.mktemp("repository")
    limits = StreamLimits(max_streams=12, max_objects=20, max_pixels=200 * 300, idle_seconds=60)
    write_repository(bundle, repository, Options(limits=limits, threads=1))
    with TritonServer(repository, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def local(bundle: Bundle) -> Iterator[Segmenter]:
    """The bundle in this process."""
    with Segmenter(bundle, open_backend(bundle, 1)) as segmenter:
        yield segmenter


@pytest.fixture
def remote(server: TritonServer) -> Iterator[RemoteSegmenter]:
    """A client of the server."""
    with RemoteSegmenter(server.address) as segmenter:
        yield segmenter
