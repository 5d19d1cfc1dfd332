"""The recorded behaviour of the authors' code: inputs, arrays and how they were sampled."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.runtime.resize import resize_frame

if TYPE_CHECKING:
    import torch

FOLDER = Path(__file__).parent / "data/golden"
DEAOT = FOLDER.parent / "golden_deaot"  # the same clips by the DeAOT family, and memory rules
FRAMES = 14
SIZE = (164, 292)  # height and width of frames and label maps
MEMORY_GAP = 3
ACTIVATIONS = 6e-5  # absolute, of values up to 8: rounding gives 2e-5, the subtlest mistake 1e-4
VARIANTS = ("mobilenet", "resnet50", "swin_base")  # MAVOS' published networks
DEAOT_VARIANTS = ("deaot_t", "deaot_s", "deaot_b", "deaot_l", "r50_deaot_l", "swinb_deaot_l")
CASES: dict[str, list[int]] = json.loads((FOLDER / "cases.json").read_text())["cases"]
MANIFEST: dict[str, Any] = json.loads((FOLDER / "manifest.json").read_text())
DEAOT_RUNS: dict[str, Any] = json.loads((DEAOT / "manifest.json").read_text())
RECORDED_WITH = DEAOT_RUNS.pop("_recorded_with")

Array = NDArray[Any]


@dataclass(frozen=True)
class Golden:
    """One recorded run."""

    case: str
    variant: str
    about: dict[str, Any]
    arrays: dict[str, Array]
    annotations: dict[int, NDArray[np.uint8]]

    @property
    def labels(self) -> NDArray[np.uint8]:
        return self.arrays["labels"]

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.about["input_size"]
        return height, width

    def error(self, name: str, actual: "torch.Tensor", sampling: int) -> float:
        """Largest difference to an array of which one element in `sampling` was recorded."""
        sampled = actual[0].contiguous().flatten()[::sampling].numpy()
        assert sampled.shape == self.arrays[name].shape
        return float(np.abs(sampled - self.arrays[name]).max())

    def near_ties(self, frame: int) -> int:
        return int(self.about["near_ties"][frame - 1])


@cache
def load(case: str, variant: str) -> Golden:
    about = {"case": case, "variant": variant, **MANIFEST[f"{case}_{variant}"]}
    return _load(FOLDER / f"{case}_{variant}.npz", about)


@cache
def load_deaot(run: str) -> Golden:
    """A run of the DeAOT family, by its name in `DEAOT_RUNS`."""
    return _load(DEAOT / f"{run}.npz", DEAOT_RUNS[run])


def _load(path: Path, about: dict[str, Any]) -> Golden:
    with np.load(path) as file:
        arrays = dict(file)
    case = about["case"]
    annotations = {
        frame: np.asarray(Image.open(FOLDER / f"masks/{case}/{frame:05d}.png"))
        for frame in CASES[case]
    }
    return Golden(case, about["variant"], about, arrays, annotations)


@cache
def frame(index: int) -> NDArray[np.uint8]:
    """RGB [164, 292, 3]."""
    return np.asarray(Image.open(FOLDER / f"frames/{index:05d}.png").convert("RGB"))


@cache
def resized(index: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """The frame at a network's input size."""
    return resize_frame(frame(index), *size)


def relative_error(actual: Array, expected: Array) -> float:
    """Largest difference as a share of the range."""
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / (expected.max() - expected.min()))
