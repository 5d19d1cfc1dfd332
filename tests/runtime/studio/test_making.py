"""The one door for prompts."""

import math
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio.drawing import Stroke
from mavos_deploy.runtime.studio.making import MaskMaker, Prompt
from tests.prompt_models import write_prompt_model

FRAME = np.zeros((48, 64, 3), np.uint8)
FRAME[12:36, 16:44] = (200, 60, 50)
TRUTH = FRAME[..., 0] > 0
NOTHING = np.zeros((48, 64), np.uint8)


def test_box_becomes_a_mask_by_grabcut() -> None:
    maker = MaskMaker()
    assert maker.engines == ("grabcut",)
    mask = maker.make(0, FRAME, Prompt(1, "grabcut", (13, 9, 47, 39)), NOTHING)
    assert np.array_equal(mask, TRUTH)


def test_strokes_without_a_box_mend_the_object_and_not_another() -> None:
    labels = np.where(TRUTH, 2, 0).astype(np.uint8)
    labels[:, :24][labels[:, :24] == 2] = 0
    stroke = Stroke(((20, 24),), 3.0, True)
    mask = MaskMaker().make(0, FRAME, Prompt(2, "grabcut", None, (stroke,)), labels)
    assert np.array_equal(mask, TRUTH)


def test_polygon_asks_no_engine_and_strokes_paint_on_it() -> None:
    paint = (Stroke(((50, 40),), 2.0, True), Stroke(((20, 20),), 2.0, False))
    prompt = Prompt(1, "grabcut", None, paint, ((10, 10), (40, 10), (40, 30), (10, 30)))
    mask = MaskMaker().make(0, FRAME, prompt, NOTHING)
    assert mask[40, 50]
    assert not mask[20, 20]
    assert mask[15, 35]


def test_prompt_model_comes_first_and_grabcut_stays(tmp_path: Path) -> None:
    maker = MaskMaker(write_prompt_model(tmp_path))
    assert maker.engines == ("sam", "grabcut")
    click = Stroke(((30, 20),), 1.0, True)
    assert maker.make(0, FRAME, Prompt(1, "sam", None, (click,)), NOTHING).any()
    box = Prompt(1, "grabcut", (13, 9, 47, 39))
    assert np.array_equal(maker.make(0, FRAME, box, NOTHING), TRUTH)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (
            Prompt(1, "sam", (1, 1, 9, 9)),
            "no engine 'sam' here, but grabcut; .*--prompt-model DIR",
        ),
        (Prompt(1, "grabcut", None, (), ((1, 1), (2, 2))), "3 corners or more, and this one has 2"),
        (Prompt(1, "grabcut", None, (Stroke((), 1.0, True),)), "one point or more"),
        (Prompt(1, "grabcut", None, (Stroke(((1, 1),), -2.0, True),)), "radius -2.0"),
        (Prompt(1, "grabcut", (1, 1, math.nan, 5)), "finite numbers of pixels"),
        (Prompt(1, "grabcut"), "nothing says where the object is"),
        (Prompt(1, "grabcut", None, (), ((1.6, 1.6), (1.8, 1.6), (1.8, 1.8))), "holds no pixel's"),
    ],
)
def test_prompts_that_say_too_little_are_refused(prompt: Prompt, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MaskMaker().make(0, FRAME, prompt, NOTHING)
