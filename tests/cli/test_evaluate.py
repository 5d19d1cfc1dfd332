"""`mavos-eval` runs a bundle over a data set or scores masks, and goes on where it stopped."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.evaluation import tables as reports
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.datasets.prediction import Predicted, segment_sequence
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.jobs import worker as jobs
from mavos_deploy.runtime.masks.pictures import read_mask
from tests import made_sequences
from tests.made_clips import synthetic_clip
from tests.made_sequences import Made, write_davis, write_masks

Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]
Refused = Callable[..., str]

VIDEO = (64, 96)  # as in conftest; the bundle is made for it
STEMS = [f"{index:05d}" for index in range(5)]
SHORT = {name: made_sequences.SEQUENCES[name]() for name in ("lost", "three")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two sequences of five frames; in the second one, object 3 starts in frame 2."""
    folder = tmp_path / "DAVIS"
    (folder / "ImageSets/2017").mkdir(parents=True)
    (folder / "ImageSets/2017/val.txt").write_text("one\ntwo\n")
    clips = {
        "one": synthetic_clip(*VIDEO, 5, objects=2, seed=1),
        "two": synthetic_clip(*VIDEO, 5, objects=2, late_objects=1, late_frame=2, seed=2),
    }
    for name, clip in clips.items():
        images = folder / "JPEGImages/480p" / name
        images.mkdir(parents=True)
        for stem, frame in zip(STEMS, clip.frames, strict=True):
            Image.fromarray(frame).save(images / f"{stem}.jpg", quality=95)
        write_masks(folder / "Annotations/480p" / name, STEMS, clip.labels)
    return folder


def files_in(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*.png"))
        if path.parent != folder
    }


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "can_draw", lambda: False)


def test_a_bundle_is_run_and_scored(call: Call, bundle: Path, data: Path, tmp_path: Path) -> None:
    ended = call(
        "mavos-eval", bundle, data, "--output", "out", "--baseline", "first-mask", "--json"
    )
    assert ended.returncode == 0, ended.stderr
    summary = json.loads(ended.stdout)
    assert summary == json.loads((tmp_path / "out/results.json").read_text())
    assert summary["bundle"]["trained"] is False
    assert ended.stderr.count("UNTRAINED WEIGHTS") == 1
    assert summary["problems"] == []
    assert [sequence["name"] for sequence in summary["sequences"]] == ["one", "two"]
    assert 0 <= summary["global"]["J&F-Mean"] <= 1
    assert summary["baseline"]["first-mask"]["J&F-Mean"] > 0.3
    late = summary["sequences"][1]["objects"][2]
    assert (late["id"], late["start"], late["frames"]) == (3, "00002", ["00003"])

    out = tmp_path / "out"
    assert list(files_in(out)) == [f"{name}/{s}.png" for name in ("one", "two") for s in STEMS]
    for name, stem in (("one", "00000"), ("two", "00000")):
        truth = read_mask(data / "Annotations/480p" / name / f"{stem}.png")
        np.testing.assert_array_equal(read_mask(out / name / f"{stem}.png").labels, truth.labels)
    assert 3 not in read_mask(out / "two/00001.png").labels
    third = read_mask(out / "two/00002.png").labels == 3
    truth = read_mask(data / "Annotations/480p/two/00002.png")
    np.testing.assert_array_equal(third, truth.labels == 3)
    assert (out / "global_results-val.csv").is_file()
    assert (out / "per-sequence_results-val.csv").read_text().count("\n") == 6


def test_masks_are_those_of_mavos_run(call: Call, bundle: Path, data: Path, tmp_path: Path) -> None:
    frames, masks = data / "JPEGImages/480p/two", tmp_path / "given"
    masks.mkdir()
    for stem in ("00000", "00002"):
        labels = read_mask(data / f"Annotations/480p/two/{stem}.png").labels
        if stem != "00000":
            labels = np.where(labels == 3, labels, 0).astype(np.uint8)
        write_masks(masks, [stem], labels[None])
    assert call("mavos-run", bundle, frames, "--masks", masks, "--output", "run").returncode == 0
    ended = call("mavos-eval", bundle, data, "--sequences", "two", "--output", "out")
    assert ended.returncode == 0
    for stem in STEMS:
        ours = read_mask(tmp_path / f"out/two/{stem}.png").labels
        np.testing.assert_array_equal(ours, read_mask(tmp_path / f"run/{stem}.png").labels)


def test_a_run_goes_on_with_what_is_not_finished(
    call: Call, bundle: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ("mavos-eval", bundle, data, "--output", "out")
    assert call(*arguments, "--sequences", "one").returncode == 0
    first = files_in(tmp_path / "out")
    assert call(*arguments).returncode == 0
    second = files_in(tmp_path / "out")
    assert {name: second[name] for name in first} == first
    (tmp_path / "out/two/00003.png").unlink()
    assert call(*arguments).returncode == 0
    third = files_in(tmp_path / "out")
    assert {name: third[name] for name in first} == first
    assert list(third) == list(second)
    assert all(third[name] != second[name] for name in third if name.startswith("two"))


def test_a_changed_input_is_segmented_again(
    call: Call, bundle: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ("mavos-eval", bundle, data, "--output", "out")
    assert call(*arguments).returncode == 0
    before = files_in(tmp_path / "out")
    Image.new("RGB", VIDEO[::-1]).save(data / "JPEGImages/480p/two/00004.jpg")
    assert call(*arguments).returncode == 0
    after = files_in(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {
        f"two/{stem}.png" for stem in STEMS
    }


def test_an_interrupted_run_keeps_finished_sequences_and_goes_on(
    call: Call, bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(
        segmenter: Segmenter,
        sequence: VideoSequence,
        folder: Path,
        **settings: Any,  # noqa: ANN401
    ) -> Predicted:
        if sequence.name == "two":
            raise KeyboardInterrupt
        return segment_sequence(segmenter, sequence, folder, **settings)

    arguments = ("mavos-eval", bundle, data, "--output", "out")
    with monkeypatch.context() as patched:
        patched.setattr(jobs, "segment_sequence", stopped)
        ended = call(*arguments)
    assert ended.returncode == 130
    assert "the same command goes on" in ended.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one"]
    before = files_in(tmp_path / "out")
    assert call(*arguments).returncode == 0
    after = files_in(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert len(after) == 10


def test_results_of_another_bundle_are_kept_unless_overwritten(
    call: Call, refused: Refused, bundle: Path, own_bundle: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ("mavos-eval", own_bundle, data, "--output", "out")
    assert call("mavos-eval", bundle, data, "--output", "out").returncode == 0
    assert call(*arguments).returncode == 0  # a copy is the same bundle
    manifest = own_bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"memory_gap": 2', '"memory_gap": 3'))
    assert "holds the results of another bundle" in refused(*arguments)
    before = files_in(tmp_path / "out")
    ended = call(*arguments, "--overwrite", "--sequences", "one")
    assert ended.returncode == 0
    after = files_in(tmp_path / "out")
    assert list(after) == [f"one/{stem}.png" for stem in STEMS]  # none of the other bundle's left
    assert all(after[name] != before[name] for name in after)


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["plain", "overwrite"])
def test_a_folder_of_something_else_is_never_touched(
    refused: Refused, bundle: Path, data: Path, overwrite: tuple[str, ...]
) -> None:
    said = refused("mavos-eval", bundle, data, "--output", "DAVIS/Annotations/480p", *overwrite)
    assert "holds no run.json" in said


@pytest.mark.parametrize(
    ("record", "said"),
    [
        pytest.param("{", "is damaged", id="cut-off"),
        pytest.param('{"format_version": 99}', "written by another release", id="version"),
        pytest.param('{"format_version": 2, "frames": 5}', "is damaged", id="incomplete"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(
    refused: Refused, bundle: Path, data: Path, tmp_path: Path, record: str, said: str
) -> None:
    (tmp_path / "out/one").mkdir(parents=True)
    (tmp_path / "out/one/run.json").write_text(record)
    assert said in refused("mavos-eval", bundle, data, "--output", "out", "--overwrite")


def test_masks_of_two_bundles_are_not_scored_together(
    call: Call, refused: Refused, bundle: Path, own_bundle: Path, data: Path, tmp_path: Path
) -> None:
    manifest = own_bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"memory_gap": 2', '"memory_gap": 3'))
    for given, name in ((bundle, "one"), (own_bundle, "two")):
        assert (
            call("mavos-eval", given, data, "--sequences", name, "--output", name).returncode == 0
        )
    (tmp_path / "two/two").rename(tmp_path / "one/two")
    said = refused("mavos-eval", data, "--results", "one")
    assert "two holds the results of another bundle than one" in said


def test_shards_predict_and_are_scored_when_all_are_done(
    call: Call, bundle: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ("mavos-eval", bundle, data, "--output", "out")
    for index, name in ((1, "one"), (2, "two")):
        ended = call(*arguments, "--shard", f"{index}/2")
        assert ended.returncode == 0, ended.stderr
        assert f"shard {index}/2: 5 masks of 1 sequence," in ended.stdout
        assert "score them: mavos-eval" in ended.stdout
        assert (tmp_path / "out" / name).is_dir()
        assert not (tmp_path / "out/results.json").exists()
    assert call("mavos-eval", data, "--results", "out").returncode == 0
    shared = json.loads((tmp_path / "out/results.json").read_text())["global"]
    assert call(*arguments[:-1], "whole").returncode == 0
    assert json.loads((tmp_path / "whole/results.json").read_text())["global"] == shared


def test_bad_pictures_are_named_and_the_rest_is_segmented_and_scored(
    call: Call, bundle: Path, data: Path, tmp_path: Path
) -> None:
    images = data / "JPEGImages/480p"
    cut = images / "one/00002.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    Image.new("RGB", (48, 32)).save(images / "two/00003.jpg")
    (data / "Annotations/480p/two/00000.png").write_bytes(b"no picture")
    arguments = ("mavos-eval", bundle, data, "--output", "out", "--json")
    for _ in range(2):  # a second run segments nothing, and still names everything
        ended = call(*arguments)
        assert ended.returncode == 1
        summary = json.loads(ended.stdout)
        found = [(p["sequence"], p["frame"]) for p in summary["problems"]]
        assert found == [("one", "00002"), ("two", "00000"), ("two", "00003")]
        assert "frame left out" in summary["problems"][0]["found"]
        one, two = summary["sequences"]
        assert one["objects"][0]["frames"] == ["00001", "00003"]
        assert two["objects"][0]["start"] == "00001"
        assert two["objects"][0]["frames"] == ["00002"]
    masks = [f"one/{stem}.png" for stem in STEMS if stem != "00002"]
    assert list(files_in(tmp_path / "out")) == [
        *masks,
        "two/00001.png",
        "two/00002.png",
        "two/00004.png",
    ]


def test_objects_whose_first_picture_is_bad_are_named_and_not_scored(
    call: Call, bundle: Path, data: Path
) -> None:
    (data / "JPEGImages/480p/two/00002.jpg").write_bytes(b"")  # object 3 starts here
    (data / "JPEGImages/480p/one/00000.jpg").write_bytes(b"")
    ended = call("mavos-eval", bundle, data, "--output", "out", "--json")
    assert ended.returncode == 1
    summary = json.loads(ended.stdout)
    found = [problem["found"] for problem in summary["problems"]]
    assert found[0].startswith("frame left out, and with it object 1, 2 (")
    assert found[1].startswith("frame left out, and with it object 3 (")
    (two,) = summary["sequences"]
    assert [item["frames"] for item in two["objects"]] == [["00001", "00003"]] * 2 + [[]]


def test_a_sequence_of_another_shape_is_named_and_stretched_on_request(
    call: Call, bundle: Path, data: Path, tmp_path: Path
) -> None:
    made_sequences.write_frames(data / "JPEGImages/480p/wide", STEMS, (120, 160))
    write_masks(data / "Annotations/480p/wide", STEMS, SHORT["three"].truth[:5])
    (data / "ImageSets/2017/val.txt").write_text("one\nwide\n")
    ended = call("mavos-eval", bundle, data, "--output", "out")
    (line,) = [line for line in ended.stderr.splitlines() if "wide" in line]
    assert ended.returncode == 1
    assert "wide 00000: frame left out, and with it object 1" in line
    assert "--fit stretch" in line
    assert "one" in ended.stdout
    again = call("mavos-eval", bundle, data, "--output", "out", "--fit", "stretch")
    assert again.returncode == 0, again.stderr


def test_existing_masks_are_scored_where_they_are(
    call: Call, tmp_path: Path, without_matplotlib: None
) -> None:
    data, results = write_davis(tmp_path, SHORT)
    ended = call("mavos-eval", data, "--results", results)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines() == [
        "warning: no plots: matplotlib is missing; pip install 'mavos-deploy[plot]'"
    ]
    row = [line for line in ended.stdout.splitlines() if "all objects" in line]
    assert [cell.strip() for cell in row[0].split("│")[1:-1]] == [
        "all objects",
        "5",
        "26",
        "0.512",
        "0.526",
        "0.498",
    ]
    assert "recall J " in ended.stdout
    assert (results / "global_results-val.csv").is_file()


def test_tables_and_plots_go_where_they_are_wanted(call: Call, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    data, results = write_davis(tmp_path, SHORT)
    before = sorted(results.rglob("*"))
    ended = call("mavos-eval", data, "--results", results, "--output", "scores")
    assert ended.returncode == 0, ended.stderr
    assert sorted(results.rglob("*")) == before
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == [
        "global_results-val.csv",
        "jf-over-time.png",
        "jf-per-sequence.png",
        "per-sequence_results-val.csv",
        "results.json",
    ]


def test_problems_are_listed_below_the_table_and_lead_to_exit_code_1(
    call: Call, tmp_path: Path
) -> None:
    data, results = write_davis(tmp_path, SHORT)
    (results / "three/00007.png").write_bytes(b"\x89PNG")
    shutil.rmtree(results / "lost")
    ended = call("mavos-eval", data, "--results", results)
    assert ended.returncode == 1
    said = ended.stderr.splitlines()
    assert said[0] == "2 problems; what is named is left out, the rest is scored:"
    assert said[1].startswith("  lost: no results in ")
    assert said[2].startswith("  three 00007: unusable mask (")
    assert "three" in ended.stdout


def test_a_set_without_public_truth_gives_masks_to_submit(
    call: Call, bundle: Path, data: Path, tmp_path: Path
) -> None:
    for folder in (data / "Annotations/480p").iterdir():
        for file in sorted(folder.iterdir())[1:]:
            file.unlink()
    ended = call("mavos-eval", bundle, data, "--output", "out")
    assert ended.returncode == 0, ended.stderr
    assert "nothing to score: the annotations are reference masks only" in ended.stderr
    assert len(files_in(tmp_path / "out")) == 10
    assert json.loads((tmp_path / "out/results.json").read_text())["global"] is None
    assert not (tmp_path / "out/global_results-val.csv").exists()


def test_nothing_scored_is_no_success(call: Call, tmp_path: Path) -> None:
    made = SHORT["lost"]
    data, results = write_davis(tmp_path, {"lost": Made(made.truth[:2], made.prediction[:2])})
    ended = call("mavos-eval", data, "--results", results)
    assert ended.returncode == 1
    assert "nothing was scored" in ended.stderr


def test_quiet_prints_problems_alone(call: Call, tmp_path: Path, without_matplotlib: None) -> None:
    data, results = write_davis(tmp_path, SHORT)
    ended = call("mavos-eval", data, "--results", results, "--quiet")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert len(ended.stderr.splitlines()) == 1  # of matplotlib
    (results / "three/00007.png").write_bytes(b"PNG")
    ended = call("mavos-eval", data, "--results", results, "--quiet")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "three 00007: unusable mask" in ended.stderr


def test_scoring_needs_no_torch_and_no_inference_library(tmp_path: Path) -> None:
    data, results = write_davis(tmp_path, {"lost": SHORT["lost"]})
    script = (
        "import sys; sys.modules['torch'] = sys.modules['onnxruntime'] = None\n"
        "from mavos_deploy.cli.evaluate import main\nmain()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, data, "--results", results],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
