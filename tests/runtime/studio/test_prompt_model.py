"""Promptable segmenters of SAM's and SAM 2's kind, made up."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.errors import BackendError, InputError
from mavos_deploy.runtime.studio.drawing import Stroke
from mavos_deploy.runtime.studio.prompt_model import PromptModel
from tests import prompt_models
from tests.prompt_models import SIDES, write_prompt_model

WIDE = np.zeros((40, 160, 3), np.uint8)  # another aspect than the model's own
WIDE[10:30, 100:140] = (210, 60, 40)
TRUTH = WIDE[..., 0] > 0


def click(x: float, y: float, foreground: bool = True) -> Stroke:
    return Stroke(((x, y),), 4.0, foreground)


@pytest.mark.parametrize("padded", [False, True], ids=["sam-2", "sam"])
def test_click_gives_the_best_mask_in_pixels_of_the_frame(tmp_path: Path, padded: bool) -> None:
    model = PromptModel(write_prompt_model(tmp_path, padded))
    mask = model.segment(0, WIDE, None, [click(120, 20)])
    assert (mask & TRUTH).sum() / (mask | TRUTH).sum() > 0.85


@pytest.mark.parametrize("padded", [False, True], ids=["sam-2", "sam"])
def test_box_comes_as_two_points(tmp_path: Path, padded: bool) -> None:
    model = PromptModel(write_prompt_model(tmp_path, padded))
    mask = model.segment(0, WIDE, (138, 28, 102, 12), [])  # corners in another order
    assert (mask & TRUTH).sum() / (mask | TRUTH).sum() > 0.85


def test_picture_is_encoded_once_for_all_prompts_of_a_frame(tmp_path: Path) -> None:
    model = PromptModel(write_prompt_model(tmp_path))
    first = model.segment(5, WIDE, None, [click(120, 20)])
    turned = np.ascontiguousarray(WIDE[:, ::-1])
    assert np.array_equal(model.segment(5, turned, None, [click(120, 20)]), first)
    assert not np.array_equal(model.segment(6, turned, None, [click(40, 20)]), first)


def test_nothing_to_go_by_is_refused(tmp_path: Path) -> None:
    model = PromptModel(write_prompt_model(tmp_path))
    with pytest.raises(InputError, match="nothing says where the object is"):
        model.segment(0, WIDE, None, [click(120, 20, foreground=False)])


def test_points_beyond_the_models_input_fail_with_its_name(tmp_path: Path) -> None:
    model = PromptModel(write_prompt_model(tmp_path))
    with pytest.raises(BackendError, match=r"the prompt model's decoder\.onnx failed"):
        model.segment(0, WIDE, None, [click(1e6, 20)])


def no_decoder(folder: Path) -> None:
    (folder / "decoder.onnx").unlink()


def no_onnx(folder: Path) -> None:
    (folder / "encoder.onnx").write_bytes(b"weights")


def another_encoder(folder: Path) -> None:
    prompt_models.save(folder / "encoder.onnx", *prompt_models.encoder(channels=4))


def swapped(folder: Path) -> None:
    content = (folder / "encoder.onnx").read_bytes()
    (folder / "decoder.onnx").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_decoder, r"there is no .*decoder\.onnx; it takes a folder with encoder\.onnx and"),
        (no_onnx, r"onnxruntime refuses .*encoder\.onnx: .*docs/studio\.md says how to get them"),
        (
            another_encoder,
            rf"takes image tensor\(float\) \[1, 4, {SIDES[0]}, 64\]; it must",
        ),
        (swapped, r"decoder\.onnx takes image, and encoder\.onnx gives image_embed; point_coords"),
    ],
)
def test_folders_without_such_a_pair_are_refused(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(write_prompt_model(tmp_path))
    with pytest.raises(InputError, match=message):
        PromptModel(tmp_path)
