"""The machine's matrix roofs, and the shares of them that graphs reach."""

from pathlib import Path

import onnx
import pytest

from mavos_deploy.calibration.quantise import FloatGraph
from mavos_deploy.export.bench import roofs
from mavos_deploy.export.bench.report import tables
from mavos_deploy.export.bench.roofs import gflop, measure_roofs, names_here, shares_of_roofs
from mavos_deploy.export.bench.timing import Timings
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.backends.openvino_cpu import look_for
from tests.bundles import hollow_bundle


def test_every_roof_of_this_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofs, "SIDE", 32)
    names = names_here()
    assert names[:2] == ["onnxruntime fp32", "onnxruntime int8"]
    found = measure_roofs(1, names)
    assert list(found) == names
    assert all(rate > 0 for rate in found.values())


def test_the_products_of_openvinos_int8_roof_are_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino")
    monkeypatch.setattr(roofs, "SIDE", 64)
    compiled = []
    _, core = look_for("fp32")

    class Watched:
        def compile_model(self, *arguments: object) -> object:
            compiled.append(core.compile_model(*arguments))
            return compiled[-1]

    monkeypatch.setattr(roofs, "look_for", lambda arithmetic: (openvino, Watched()))
    measure_roofs(1, ["openvino int8"])
    nodes = compiled[0].get_runtime_model().get_ops()
    info = [{key: value.value for key, value in node.get_rt_info().items()} for node in nodes]
    (product,) = (i for i in info if i["layerType"] in ("MatMul", "FullyConnected"))
    assert product["primitiveType"].lower().endswith("i8"), product


def test_operations_are_those_of_convolutions_and_products(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    graph = FloatGraph("memory_write", bundle.graph("memory_write"))
    others = {node.op_type for node in graph.model.graph.node} & {"MatMul", "Gemm"}
    assert not others
    layers = 2 * sum(layer.products for layer in graph.layers) / 1e9
    assert gflop(bundle, "memory_write", 1, 2) == pytest.approx(layers)
    onnx.checker.check_model(onnx.load(bundle.graph_path("memory_write")))


def test_a_share_is_the_time_at_the_roof_over_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle").mkdir()
    bundle = Bundle.open(hollow_bundle(tmp_path / "bundle"))
    monkeypatch.setattr(roofs, "gflop", lambda *arguments: 12.0)
    timing = Timings([0.2] * 3, [0.2] * 3, [{"decoder": 0.1}] * 3, [9] * 3)
    timings = {
        "onnxruntime-cpu": ("int8", timing),
        "openvino-cpu-bf16": ("bf16", timing),
        "tensorrt": ("fp16", timing),
    }
    rates = {"onnxruntime int8": 400.0, "openvino bf16": 240.0}
    found = shares_of_roofs(bundle, 2, timings, rates)
    assert {name: of["roof"] for name, of in found.items()} == {
        "onnxruntime-cpu": "onnxruntime int8",
        "openvino-cpu-bf16": "openvino bf16",
    }
    assert found["onnxruntime-cpu"]["graphs"] == {
        "decoder": {"gflop": 12.0, "ms": 100.0, "share": 0.3}
    }
    assert found["openvino-cpu-bf16"]["graphs"]["decoder"]["share"] == 0.5
    report = {"tensor_only": {}, "end_to_end": {}, "roofs_gflops": rates, "of_roofs": found}
    monkeypatch.setattr("mavos_deploy.export.bench.report._steps", lambda report: report)
    assert len(tables(report)) == 2
