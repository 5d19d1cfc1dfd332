"""TensorRT-RTX builds quantised graphs, for GPUs that need not be there."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from mavos_deploy.calibration.quantise import FloatGraph
from mavos_deploy.calibration.quantised_bundle import in_general, write_quantised
from mavos_deploy.errors import BackendError
from mavos_deploy.export.build_engines import BuildRequest, build_engines
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.bundles.engines import Library
from mavos_deploy.runtime.bundles.quantisation import (
    GraphKind,
    NumberType,
    Quantisation,
    RangeMethod,
)
from tests.exports import Exports

if os.environ.get("MAVOS_REQUIRE_TENSORRT") and find_spec("tensorrt_rtx") is None:
    raise ImportError("tensorrt_rtx is missing, and MAVOS_REQUIRE_TENSORRT asks for it")

pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.skipif(
        find_spec("tensorrt_rtx") is None,
        reason="tensorrt_rtx is not installed; pip install 'mavos-deploy[tensorrt-rtx]'",
    ),
]


@pytest.fixture
def gpu_bundle(exported: Exports) -> Path:
    """`tiny` in float32 and in the form for GPUs."""
    return exported("tiny", (97, 97), 2, "gpu")


def _quantised(source: Path, folder: Path, kind: str, number: str) -> Bundle:
    """A bundle with every layer quantised."""
    bundle = in_general(Bundle.open(source))
    graphs = {name: FloatGraph(name, bundle.graph(name)) for name in bundle.specs}
    entry = Quantisation(
        kind=GraphKind(kind),
        number=NumberType(number),
        method=RangeMethod.MINMAX,
        groups={name: graph.groups for name, graph in graphs.items()},
        ranges={
            name: dict.fromkeys(graph.needed(graph.groups, GraphKind(kind)), (-4.0, 4.0))
            for name, graph in graphs.items()
        },
        sources={name: bundle.manifest.graphs[name].sha256 for name in graphs},
        data="",
        seed=0,
    )
    write_quantised(bundle, entry, folder)
    return Bundle.open(folder)


@pytest.mark.parametrize(
    ("kind", "number", "capability", "said"),
    [
        pytest.param("cpu", "int8", "8.6", "was quantised for a CPU", id="for-cpu"),
        pytest.param("tensorrt", "fp8", "8.6", "from compute capability 8.9 on", id="fp8-on-8.6"),
    ],
)
def test_what_tensorrt_would_refuse_is_refused_with_the_reason(
    kind: str, number: str, capability: str, said: str, gpu_bundle: Path, tmp_path: Path
) -> None:
    bundle = _quantised(gpu_bundle, tmp_path, kind, number)
    with pytest.raises(BackendError, match=said):
        build_engines(
            bundle, BuildRequest(Library.TENSORRT_RTX, (capability,)), lambda result: None
        )
    assert not (tmp_path / "engines").exists()


@pytest.mark.parametrize(
    ("number", "capabilities"),
    [pytest.param("int8", ("8.6", "8.9"), id="int8"), pytest.param("fp8", ("8.9",), id="fp8")],
)
def test_every_layer_quantised_builds(
    number: str, capabilities: tuple[str, ...], gpu_bundle: Path, tmp_path: Path
) -> None:
    bundle = _quantised(gpu_bundle, tmp_path, "tensorrt", number)
    request = BuildRequest(Library.TENSORRT_RTX, capabilities)
    results = build_engines(bundle, request, lambda result: None)
    assert len(results) == 5 * len(capabilities)
    assert all(result.built for result in results)


def test_a_bundle_for_cpus_is_refused(tiny_bundle: Path) -> None:
    request = BuildRequest(Library.TENSORRT_RTX, ("8.6",))
    with pytest.raises(BackendError, match=r"exported for CPUs.*export it with --target gpu"):
        build_engines(Bundle.open(tiny_bundle), request, lambda result: None)
