"""Scores over a data set equal the DAVIS toolkit's; bad data is named and the rest is scored."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mavos_deploy.evaluation.evaluate import Evaluation, evaluate
from mavos_deploy.evaluation.metrics import score_frame
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.masks.png import write_mask
from tests import made_sequences
from tests.made_sequences import Made, write_davis

TOOLKIT: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data/davis_toolkit.json").read_text()
)
SHORT = {name: made_sequences.SEQUENCES[name]() for name in ("lost", "three")}


def scored(root: Path, sequences: dict[str, Made], baseline: bool = False) -> Evaluation:
    data, results = write_davis(root, sequences)
    return evaluate(open_dataset(data), results, with_baseline=baseline)


def rescored(root: Path) -> Evaluation:
    return evaluate(open_dataset(root / "DAVIS"), root / "results")


def test_all_figures_of_a_data_set_equal_those_of_the_davis_toolkit(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, SHORT)
    assert evaluation.problems == ()
    assert evaluation.figures is not None
    assert evaluation.figures.row() == pytest.approx(TOOLKIT["global_without_long"], abs=1e-6)
    for sequence in evaluation.sequences:
        for item in sequence.objects:
            recorded = TOOLKIT["objects"][f"{sequence.name}_{item.object_id}"]
            assert item.j.mean == pytest.approx(recorded["J-Mean"], abs=1e-6)
            assert item.f.decay == pytest.approx(recorded["F-Decay"], abs=1e-6)


def test_a_sequence_of_300_frames_has_every_figure(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, {"long": made_sequences.long_sequence()})
    assert evaluation.figures is not None
    for item in evaluation.sequences[0].objects:
        recorded = TOOLKIT["objects"][f"long_{item.object_id}"]
        assert len(item.frames) == 298
        assert item.j.mean == pytest.approx(recorded["J-Mean"], abs=1e-6)
        assert recorded["J-Decay"] is None  # the toolkit has none for so many frames
        quarter = item.region[:75].mean() - item.region[223:].mean()
        assert item.j.decay == pytest.approx(quarter, abs=1e-12)


def test_perfect_masks_score_one(tmp_path: Path) -> None:
    truth = SHORT["three"].truth
    figures = scored(tmp_path, {"three": Made(truth, truth)}).figures
    assert figures is not None
    assert (figures.mean, figures.j.recall, figures.j.decay) == (1, 1, 0)


def test_the_baseline_repeats_the_first_mask_of_each_object(tmp_path: Path) -> None:
    truth = SHORT["three"].truth.copy()
    truth[:6][truth[:6] == 2] = 0  # object 2 starts in frame 6
    evaluation = scored(tmp_path, {"three": Made(truth, truth)}, baseline=True)
    by_id = {item.object_id: item for item in evaluation.sequences[0].baseline}
    assert by_id[2].start == "00006"
    assert len(by_id[2].frames) == 24 - 7 - 1
    repeated = np.where(truth[6] == 2, truth[6], truth[0])
    for frame, j in zip(by_id[2].frames, by_id[2].region, strict=True):
        expected = score_frame(truth[int(frame)], repeated, [2])[2]
        assert j == expected.region
    assert by_id[1].region[0] == score_frame(truth[1], truth[0], [1])[1].region
    assert evaluation.baseline is not None
    assert evaluation.figures is not None
    assert evaluation.baseline.mean < evaluation.figures.mean == 1


def test_an_object_that_starts_late_is_scored_from_the_frame_after_its_mask(
    tmp_path: Path,
) -> None:
    made = SHORT["three"]
    truth = made.truth.copy()
    truth[:6][truth[:6] == 2] = 0
    late = scored(tmp_path / "late", {"three": Made(truth, made.prediction)})
    whole = scored(tmp_path / "whole", {"three": made})
    assert late.problems == ()
    ours, theirs = late.sequences[0].objects[1], whole.sequences[0].objects[1]
    assert ours.frames == theirs.frames[6:]
    np.testing.assert_array_equal(ours.region, theirs.region[6:])


def test_void_in_the_annotations_counts_for_neither_side(tmp_path: Path) -> None:
    made = SHORT["three"]
    truth = made.truth.copy()
    truth[:, 30:60, 40:90] = 255
    evaluation = scored(tmp_path, {"three": Made(truth, made.prediction)})
    assert evaluation.problems == ()
    for item in evaluation.sequences[0].objects:
        recorded = TOOLKIT["void"][str(item.object_id)]
        assert item.region[4:8] == pytest.approx(recorded["J"], abs=1e-6)
        assert item.boundary[4:8] == pytest.approx(recorded["F"], abs=1e-6)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:70])


def test_bad_data_is_named_and_everything_else_is_scored(tmp_path: Path) -> None:
    good = scored(tmp_path, SHORT)
    truth = tmp_path / "DAVIS/Annotations/480p/three"
    results = tmp_path / "results/three"
    damage(truth / "00004.png")
    write_mask(truth / "00005.png", np.zeros((60, 80), np.uint8))
    (truth / "00007.png").unlink()
    damage(results / "00010.png")
    write_mask(results / "00011.png", np.zeros((60, 80), np.uint8))
    (results / "00012.png").unlink()
    (results / "00015.png").unlink()
    extra = SHORT["three"].prediction[16].copy()
    extra[:9, :9] = 9
    write_mask(results / "00016.png", extra)
    (results / "00000.png").unlink()  # never looked at
    evaluation = rescored(tmp_path)
    said = [str(problem) for problem in evaluation.problems]
    assert len(said) == 7
    assert said[0].startswith("three 00004: unusable annotation (")
    assert said[1] == "three 00005: annotation of 60x80; expected 120x160"
    assert said[2].startswith("three 00007: 1 annotation is missing (00007)")
    assert said[3].startswith("three 00010: unusable mask (")
    assert said[4] == "three 00011: mask of 60x80; expected 120x160, as annotated"
    assert said[5].startswith("three 00012: 2 masks are missing (00012, 00015)")
    assert said[6].startswith("three 00016: extra ids in masks: 9 (counted as background); ")
    assert said[6].endswith("the annotated ids, 1, 2, 3")

    left_out = {f"{index:05d}" for index in (4, 5, 7, 10, 11, 12, 15)}
    assert evaluation.sequences[0].objects[0].region.tolist() == (
        good.sequences[0].objects[0].region.tolist()
    )
    for before, after in zip(
        good.sequences[1].objects, evaluation.sequences[1].objects, strict=True
    ):
        kept = [index for index, stem in enumerate(before.frames) if stem not in left_out]
        assert after.frames == tuple(before.frames[index] for index in kept)
        np.testing.assert_array_equal(after.region, before.region[kept])


def test_a_damaged_first_annotation_starts_the_objects_one_frame_later(tmp_path: Path) -> None:
    good = scored(tmp_path, SHORT)
    damage(tmp_path / "DAVIS/Annotations/480p/three/00000.png")
    evaluation = rescored(tmp_path)
    assert "three 00000: unusable annotation" in str(evaluation.problems[0])
    for before, after in zip(
        good.sequences[1].objects, evaluation.sequences[1].objects, strict=True
    ):
        assert after.start == "00001"
        np.testing.assert_array_equal(after.region, before.region[1:])


def test_a_sequence_without_results_is_named_and_the_rest_is_scored(tmp_path: Path) -> None:
    scored(tmp_path, SHORT)
    shutil.rmtree(tmp_path / "results/lost")
    evaluation = rescored(tmp_path)
    assert str(evaluation.problems[0]).startswith("lost: no results in ")
    assert evaluation.figures is not None
    means = [TOOLKIT["objects"][f"three_{i}"]["J-Mean"] for i in (1, 2, 3)]
    assert evaluation.figures.j.mean == pytest.approx(np.mean(means), abs=1e-6)


def test_a_mask_of_255_is_an_extra_id(tmp_path: Path) -> None:
    made = SHORT["lost"]
    prediction = made.prediction.copy()
    prediction[2, 0, 0] = 255
    evaluation = scored(tmp_path, {"lost": Made(made.truth, prediction)})
    assert "lost 00002: extra ids in masks: 255" in str(evaluation.problems[0])


def test_annotations_without_any_object_are_named(tmp_path: Path) -> None:
    made = SHORT["lost"]
    empty = np.where(made.truth > 0, 255, 0).astype(np.uint8)
    evaluation = scored(tmp_path, {"lost": Made(empty, made.prediction), "three": SHORT["three"]})
    assert str(evaluation.problems[0]).startswith("lost: no object in any annotation")
    assert evaluation.figures is not None


def metadata_set(root: Path, truth: np.ndarray) -> None:
    """The sequence `lost` in the layout of YouTube-VOS, with objects 1 and 2."""
    stems = [f"{index:05d}" for index in range(len(truth))]
    made_sequences.write_masks(root / "DAVIS/valid/Annotations/lost", stems, truth)
    objects = {"1": {"frames": stems}, "2": {"frames": stems[1:]}}
    meta = {"videos": {"lost": {"objects": objects}}}
    (root / "DAVIS/valid/meta.json").write_text(json.dumps(meta))
    made_sequences.write_masks(root / "results/lost", stems, truth)


def test_ids_that_the_metadata_do_not_list_are_named(tmp_path: Path) -> None:
    truth = SHORT["lost"].truth.copy()
    truth[3, 30:, 40:] = 6
    metadata_set(tmp_path, truth)
    evaluation = rescored(tmp_path)
    assert "lost 00003: extra ids in annotations: 6; expected the ids of the metadata, 1, 2" in (
        str(evaluation.problems[0])
    )
    assert evaluation.figures is not None
    assert evaluation.figures.mean == 1
    assert evaluation.sequences[0].objects[1].frames == ("00002", "00003", "00004", "00005")


def test_an_object_without_its_reference_mask_is_named_and_not_scored(tmp_path: Path) -> None:
    truth = SHORT["lost"].truth.copy()
    truth[1][truth[1] == 2] = 0
    metadata_set(tmp_path, truth)
    evaluation = rescored(tmp_path)
    assert "lost 00001: object 2 has no reference mask" in str(evaluation.problems[0])
    assert [item.object_id for item in evaluation.sequences[0].objects] == [1]
