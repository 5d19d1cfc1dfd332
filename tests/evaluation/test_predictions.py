"""Masks of other programs are read where it is clear, and else named once for each kind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.evaluation.predictions import results_folder
from mavos_deploy.runtime.masks.palette import palette_colors
from tests.evaluation.test_evaluate import SHORT, rescored, scored

Labels = NDArray[np.uint8]
Change = Callable[[Labels], Image.Image]
DAVIS = palette_colors(None)


def rewrite(folder: Path, change: Change, name: Callable[[str], str] = lambda stem: stem) -> None:
    """Save the masks of a folder otherwise, under other names."""
    for file in sorted(folder.glob("*.png")):
        labels = np.array(Image.open(file))
        file.unlink()
        (folder / f"{name(file.stem)}.png").parent.mkdir(parents=True, exist_ok=True)
        change(labels).save(folder / f"{name(file.stem)}.png")


def palette(labels: Labels) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette(DAVIS.tobytes())
    return image


KINDS: dict[str, tuple[Change, str]] = {
    "rgb": (lambda m: Image.fromarray(DAVIS[m]), "masks are read by colour: DAVIS's colours"),
    "rgba": (
        lambda m: Image.fromarray(DAVIS[m]).convert("RGBA"),
        "masks are read by colour: DAVIS's colours",
    ),
    "16-bit": (lambda m: Image.fromarray(m.astype(np.uint16)), "16 bits per pixel"),
    "levels": (
        lambda m: Image.fromarray(np.array([0, 85, 170, 255], np.uint8)[m]),
        "grey levels 85, 170, 255: objects 1 to 3",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_give_the_same_scores_and_are_named_once(tmp_path: Path, kind: str) -> None:
    good = scored(tmp_path, {"three": SHORT["three"]})
    change, said = KINDS[kind]
    rewrite(tmp_path / "results/three", change)
    evaluation = rescored(tmp_path)
    assert evaluation.problems == ()
    assert evaluation.figures == good.figures
    (note,) = evaluation.notes
    assert said in note
    assert note.endswith("(three)")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (lambda stem: str(int(stem)), "masks are matched with frames by number (three)"),
        (lambda stem: f"frame_{stem}", "masks are matched with frames by number (three)"),
        (lambda stem: f"deeper/{stem}", "masks lie one folder deeper (three)"),
    ],
)
def test_other_names_give_the_same_scores_and_are_named_once(
    tmp_path: Path, name: Callable[[str], str], said: str
) -> None:
    good = scored(tmp_path, {"three": SHORT["three"]})
    rewrite(tmp_path / "results/three", palette, name)
    evaluation = rescored(tmp_path)
    assert evaluation.problems == ()
    assert evaluation.figures == good.figures
    assert evaluation.notes == (said,)


def test_results_one_folder_deeper_are_found(tmp_path: Path) -> None:
    (tmp_path / "480p/three").mkdir(parents=True)
    assert results_folder(tmp_path, ["three"]) == (
        tmp_path / "480p",
        f"results are in {tmp_path / '480p'}",
    )
    (tmp_path / "three").mkdir()
    assert results_folder(tmp_path, ["three"]) == (tmp_path, None)


def test_masks_of_one_object_where_several_are_annotated_are_named_once(tmp_path: Path) -> None:
    scored(tmp_path, {"three": SHORT["three"]})
    rewrite(tmp_path / "results/three", lambda m: Image.fromarray((m > 0).astype(np.uint8) * 255))
    (problem,) = rescored(tmp_path).problems
    assert "masks of one object, and it is not clear which of the objects 1, 2, 3" in str(problem)
    assert "and 21 more like it" in str(problem)


def test_a_mask_of_0_and_255_is_the_only_object_that_is_annotated(tmp_path: Path) -> None:
    made = SHORT["three"]
    truth, prediction = (np.where(part == 3, 3, 0).astype(np.uint8) for part in vars(made).values())
    good = scored(tmp_path, {"three": type(made)(truth, prediction)})
    rewrite(tmp_path / "results/three", lambda m: Image.fromarray((m > 0).astype(np.uint8) * 255))
    evaluation = rescored(tmp_path)
    assert evaluation.problems == ()
    assert evaluation.figures == good.figures


def test_colours_that_tell_no_ids_are_named_once(tmp_path: Path) -> None:
    scored(tmp_path, {"three": SHORT["three"]})
    colours = np.array([[0, 0, 0], [9, 200, 40], [8, 8, 250], [250, 3, 3]], np.uint8)
    rewrite(tmp_path / "results/three", lambda m: Image.fromarray(colours[m]))
    evaluation = rescored(tmp_path)
    (problem,) = evaluation.problems
    assert "it is not clear which of the objects" in str(problem)
    assert evaluation.figures is None


@pytest.mark.parametrize("deeper", ["", "deeper/"])
def test_jpegs_in_place_of_masks_are_named_with_the_reason(tmp_path: Path, deeper: str) -> None:
    scored(tmp_path, {"three": SHORT["three"]})
    folder = tmp_path / "results/three"
    (folder / deeper).mkdir(exist_ok=True)
    for file in sorted(folder.glob("*.png")):
        with Image.open(file) as image:
            image.convert("RGB").save(folder / f"{deeper}{file.stem}.jpg")
        file.unlink()
    (problem,) = rescored(tmp_path).problems
    assert str(problem) == (
        "three 00001: 22 masks are missing (00001, 00002, 00003 and 19 more); there are pictures "
        "in JPEG, whose compression changes object ids (00001.jpg, 00002.jpg, 00003.jpg and 19 "
        "more); expected PNGs; export masks as PNG from the tool that made them; converting the "
        "JPEGs does not help"
    )


def test_jpegs_beside_all_masks_are_no_problem(tmp_path: Path) -> None:
    scored(tmp_path, {"three": SHORT["three"]})
    Image.fromarray(DAVIS[:9]).save(tmp_path / "results/three/00001.jpg")
    assert rescored(tmp_path).problems == ()
    (tmp_path / "results/three/00002.png").unlink()
    (problem,) = rescored(tmp_path).problems
    assert str(problem) == "three 00002: 1 mask is missing (00002); expected one per scored frame"


def test_masks_of_another_size_are_named_once(tmp_path: Path) -> None:
    scored(tmp_path, {"three": SHORT["three"]})
    rewrite(tmp_path / "results/three", lambda m: palette(m[::2, ::2]))
    (problem,) = rescored(tmp_path).problems
    assert str(problem) == (
        "three 00001: mask of 60x80, and 21 more like it; expected 120x160, as annotated"
    )
