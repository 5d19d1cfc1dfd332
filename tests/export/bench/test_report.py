"""A report says what ran where, and becomes tables, a file and plots."""

import json
from pathlib import Path

from mavos_deploy.evaluation.tables import can_draw
from mavos_deploy.export.bench.report import make_report, tables, write_report
from mavos_deploy.export.bench.timing import Timings
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.system.machine import Load
from tests.bundles import hollow_bundle


def test_a_report_becomes_tables_a_file_and_plots(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    manifest = Bundle.open(hollow_bundle(tmp_path / "bundle")).manifest
    name = "onnxruntime-cpu"
    timings = {name: Timings([0.1] * 9, [0.2] * 9, [{"decoder": 0.05}] * 9, [9_000_000] * 9)}
    end_to_end = {
        name: {
            "frame_ms": 100.0,
            "frames_per_second": 10.0,
            "outside_share": 0.1,
            "writing_share": 0.02,
        }
    }
    report = make_report(manifest, 1, 2, Load(0.2, 0.0), timings, end_to_end, {name: None})
    assert report["bundle"]["variant"] == "mobilenet"
    assert (report["frames"], report["objects"], report["threads"]) == (10, 2, 1)
    assert report["baseline"] == name
    assert report["load"] == {"others": 0.2, "stolen": 0.0, "busy": True}
    assert report["tensor_only"][name]["p50_ms"] == 100
    assert report["per_frame"][name] == {
        "milliseconds": [100.0] * 9,
        "cpu_milliseconds": [200.0] * 9,
        "memory_mb": [9.0] * 9,
    }
    assert len(tables(report)) == 3
    files = write_report(report, tmp_path / "o")
    assert len(files) == (4 if can_draw() else 1)
    assert all(file.stat().st_size for file in files)
    assert json.loads(files[0].read_text()) == report
