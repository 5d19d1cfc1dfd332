"""A quantised bundle: made whole, opened, run, made again from its manifest."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mavos_deploy.calibration.calibrate import CalibrationReport, CalibrationRequest, calibrate
from mavos_deploy.calibration.quantise import FloatGraph
from mavos_deploy.calibration.quantised_bundle import write_quantised
from mavos_deploy.calibration.rollout import Rollout, frames_of
from mavos_deploy.calibration.sensitivity import Cost
from mavos_deploy.errors import BundleError, InputError
from mavos_deploy.runtime import Bundle, Segmenter
from mavos_deploy.runtime.bundles.manifest import MANIFEST
from mavos_deploy.runtime.bundles.quantisation import GraphKind
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.results import content_of
from mavos_deploy.runtime.datasets.sequences import VideoSequence

Made = tuple[CalibrationReport, Path]


def _silent(what: str, total: int) -> Callable[[], None]:
    del what, total
    return lambda: None


def _calibrate(bundle: Bundle, clips: list[VideoSequence], folder: Path) -> None:
    calibrate(bundle, clips, CalibrationRequest(), folder, folder / "recordings", _silent)


@pytest.fixture(scope="session")
def made(tiny_bundle: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """For TensorRT, where the choice doesn't depend on how fast this machine is."""
    folder: Path = tmp_path_factory.mktemp("quantised")
    request = CalibrationRequest(GraphKind.TENSORRT, max_drop=0.05, most_frames=9, threads=1)
    sequences = list(open_dataset(clips).sequences)
    recordings = tmp_path_factory.mktemp("kept") / "recordings"
    bundle = Bundle.open(tiny_bundle)
    return calibrate(bundle, sequences, request, folder, recordings, _silent), folder


def test_every_graph_and_group_has_a_row(made: Made, tiny_bundle: Path) -> None:
    report, _ = made
    bundle = Bundle.open(tiny_bundle)
    graphs = [FloatGraph(name, bundle.graph(name)) for name in bundle.specs]
    rows = [(graph.name, group) for graph in graphs for group in (None, *graph.groups)]
    assert [(cost.graph, cost.group) for cost in report.costs] == rows
    assert sum(cost.saved for cost in report.costs if cost.group is None) == pytest.approx(1)
    assert report.recorded == ("clip-0", "clip-2")
    assert report.held_out == ("clip-1",)
    assert report.labelled


def test_the_choice_is_within_the_budget_and_compared_graph_by_graph(made: Made) -> None:
    report, _ = made
    assert report.chosen
    assert report.worth_it
    assert report.drop <= 0.05
    assert report.errors.keys() == report.chosen.keys()
    assert all(0 < error < 1 for error in report.errors.values())


def test_the_bundle_opens_and_says_what_it_is(made: Made, tiny_bundle: Path) -> None:
    report, folder = made
    manifest, source = Bundle.open(folder).manifest, Bundle.open(tiny_bundle).manifest
    assert manifest.precision == "fp32"
    assert manifest.arithmetic == "int8"
    assert manifest.parity is None
    assert manifest.identity == source.identity
    entry = manifest.quantisation
    assert entry is not None
    assert entry.groups == report.chosen
    assert entry.sources == {name: source.graphs[name].sha256 for name in report.chosen}
    for name, graph in manifest.graphs.items():
        assert (graph.sha256 == source.graphs[name].sha256) == (name not in report.chosen)


def test_it_segments_and_its_states_fit_the_bundle_it_came_from(
    made: Made, tiny_bundle: Path, clips: Path
) -> None:
    clip = open_dataset(clips).sequences[0]
    with Segmenter.open(made[1], 1) as quantised, Segmenter.open(tiny_bundle, 1) as plain:
        assert quantised.backend.traits.arithmetic == "int8"
        rollout = Rollout(quantised)
        frames = list(frames_of(clip, (97, 97), 4))
        for frame in frames:
            assert rollout.step(frame).any()
        assert rollout.state is not None
        plain.step(frames[-1].rgb, rollout.state)


def test_the_manifest_gives_the_same_graphs_again(
    made: Made, tiny_bundle: Path, tmp_path: Path
) -> None:
    entry = Bundle.open(made[1]).manifest.quantisation
    assert entry is not None
    write_quantised(Bundle.open(tiny_bundle), entry, tmp_path)
    for name in entry.groups:
        own, again = (folder / "graphs" / f"{name}.onnx" for folder in (made[1], tmp_path))
        assert own.read_bytes() == again.read_bytes()


def test_a_choice_for_other_graphs_is_refused(
    made: Made, tiny_bundle: Path, tmp_path: Path
) -> None:
    entry = Bundle.open(made[1]).manifest.quantisation
    assert entry is not None
    name = next(iter(entry.sources))
    for changed, said in (
        ({"sources": {name: "0" * 64}}, "is not the graph that was quantised"),
        ({"groups": {name: ("nowhere",)}}, "doesn't fit"),
        ({"ranges": {}}, "doesn't fit"),
    ):
        wrong = msgspec.structs.replace(entry, **changed)
        folder = tmp_path / said.replace(" ", "-") / str(len(wrong.ranges))
        folder.mkdir(parents=True)
        with pytest.raises(BundleError, match=said):
            write_quantised(Bundle.open(tiny_bundle), wrong, folder)


def test_a_quantised_bundle_is_not_quantised_again(made: Made, clips: Path, tmp_path: Path) -> None:
    sequences = list(open_dataset(clips).sequences)
    with pytest.raises(BundleError, match=r"quantised already \(int8\); give the fp32 bundle"):
        calibrate(
            Bundle.open(made[1]),
            sequences,
            CalibrationRequest(),
            tmp_path,
            tmp_path / "recordings",
            _silent,
        )


def test_without_clips_nothing_is_calibrated(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clips to calibrate with"):
        calibrate(
            Bundle.open(tiny_bundle), [], CalibrationRequest(), tmp_path, tmp_path / "r", _silent
        )


def test_results_of_the_two_bundles_do_not_mix(made: Made, tiny_bundle: Path) -> None:
    quantised, exported = Bundle.open(made[1]).manifest, Bundle.open(tiny_bundle).manifest
    assert quantised.identity == exported.identity
    assert content_of(quantised) != content_of(exported)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "int4"),
        ("target", "tpu"),
        ("groups", []),
        ("ranges", {"a": {"b": [1]}}),
        ("attention", {"memory": ()}),
    ],
)
def test_an_entry_of_another_release_is_refused(
    field: str, value: object, made: Made, tmp_path: Path
) -> None:
    data = json.loads((made[1] / MANIFEST).read_text())
    data["quantisation"][field] = value
    (tmp_path / MANIFEST).write_text(json.dumps(data))
    with pytest.raises(BundleError, match=r"`quantisation.*(;|, or) run mavos-calibrate again$"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize(
    ("chosen", "seconds", "worth", "hardly"),
    [
        pytest.param({"a": ("g",)}, (2.0, 1.0), True, False, id="faster"),
        pytest.param({"a": ("g",)}, (1.0, 0.95), True, True, id="hardly-faster"),
        pytest.param({"a": ("g",)}, (1.0, 1.1), False, False, id="slower"),
        pytest.param({"a": ("g",)}, None, True, False, id="not-timed"),
        pytest.param({}, None, False, False, id="nothing-chosen"),
    ],
)
def test_slower_is_not_worth_it(
    chosen: dict[str, tuple[str, ...]],
    seconds: tuple[float, float] | None,
    worth: bool,
    hardly: bool,
) -> None:
    costs = [Cost("a", None, 1, 0.0, 0.0, 1.0)]
    report = CalibrationReport(
        request=CalibrationRequest(),
        recorded=(),
        held_out=(),
        labelled=True,
        missing=[],
        costs=costs,
        chosen=chosen,
        before=1.0,
        after=1.0,
        errors={},
        seconds=seconds,
        beside="onnxruntime-cpu",
        load=None,
    )
    assert (report.worth_it, report.hardly) == (worth, hardly)
