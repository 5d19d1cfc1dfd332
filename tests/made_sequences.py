"""Made-up sequences in whole numbers, the same on every machine, and data sets of them.

The figures in tests/data/davis_toolkit.json are those of the public DAVIS 2017 toolkit for the
sequences below. Changing a sequence means computing them again.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.runtime.masks.png import write_mask
from tests.made_clips import synthetic_clip

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Made:
    """Truth and a flawed prediction of it, uint8 [frames, height, width] each."""

    truth: Labels
    prediction: Labels


def disc(size: tuple[int, int], y: int, x: int, radius: int) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= radius * radius)


def box(size: tuple[int, int], y: int, x: int, height: int, width: int) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: size[0], : size[1]]
    inside = (rows >= y) & (rows < y + height) & (columns >= x) & (columns < x + width)
    return np.asarray(inside)


def three_objects() -> Made:
    """Object 2 is hidden from frame 9 to 13; object 3 is lost from frame 15 on."""
    size, frames = (120, 160), 24
    truth, prediction = (np.zeros((frames, *size), np.uint8) for _ in range(2))
    for t in range(frames):
        truth[t][disc(size, 40 + t, 30 + 3 * t, 14)] = 1
        prediction[t][disc(size, 40 + t + t % 5, 30 + 3 * t - t % 3, 14 - t % 4)] = 1
        if not 9 <= t <= 13:
            truth[t][box(size, 70, 20 + 2 * t, 22, 31)] = 2
        if not 10 <= t <= 15:
            prediction[t][box(size, 71, 21 + 2 * t, 20 + t % 6, 33)] = 2
        truth[t][disc(size, 90, 130 - 2 * t, 20) & ~disc(size, 90, 130 - 2 * t, 9)] = 3
        if t < 15:
            prediction[t][disc(size, 88, 131 - 2 * t, 20) & ~disc(size, 90, 130, 6 + t)] = 3
    return Made(truth, prediction)


def long_sequence() -> Made:
    """300 frames, in which the prediction drifts away from one object and back to the other."""
    size, frames = (40, 64), 300
    truth, prediction = (np.zeros((frames, *size), np.uint8) for _ in range(2))
    for t in range(frames):
        x = 10 + (t * 7) % 23
        truth[t][disc(size, 14, x, 8)] = 1
        prediction[t][disc(size, 14 + t // 40, x + t // 30, 8)] = 1
        truth[t][box(size, 24, 30 + t % 9, 12, 18)] = 2
        prediction[t][box(size, 24 + (299 - t) // 50, 30 + t % 9 + (299 - t) // 60, 12, 18)] = 2
    return Made(truth, prediction)


def lost_object() -> Made:
    """Six frames; object 1 reaches the borders, object 2 is never found."""
    size, frames = (33, 47), 6
    truth, prediction = (np.zeros((frames, *size), np.uint8) for _ in range(2))
    for t in range(frames):
        truth[t][box(size, 0, 0, 20 + t, 47)] = 1
        prediction[t][box(size, 0, 0, 20 + t - t % 2, 47 - t)] = 1
        truth[t][disc(size, 28, 5 + t, 3)] = 2
    return Made(truth, prediction)


SEQUENCES = {"long": long_sequence, "lost": lost_object, "three": three_objects}


def values(count: int) -> NDArray[np.float64]:
    """Scores of made-up frames, from 0 to 1."""
    steps = np.arange(count, dtype=np.int64)
    return np.asarray((7 * steps * steps + 3 * steps) % 101 / 100)


def write_frames(folder: Path, stems: list[str], size: tuple[int, int]) -> None:
    """Grey pictures in place of the video."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        Image.new("RGB", (size[1], size[0]), (90, 100, 110)).save(folder / f"{stem}.jpg")


def write_masks(folder: Path, stems: list[str], labels: Labels) -> None:
    """One palette PNG for each stem."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, label_map in zip(stems, labels, strict=True):
        write_mask(folder / f"{stem}.png", label_map)


def write_davis(root: Path, sequences: dict[str, Made], split: str = "val") -> tuple[Path, Path]:
    """Write a data set in the layout of DAVIS 2017, and predictions.

    Returns:
        The data set's folder and the predictions'.
    """
    data, results = root / "DAVIS", root / "results"
    (data / "ImageSets/2017").mkdir(parents=True)
    listed = "".join(f"{name}\n" for name in sequences)
    (data / f"ImageSets/2017/{split}.txt").write_text(listed)
    for name, made in sequences.items():
        stems = [f"{index:05d}" for index in range(len(made.truth))]
        write_frames(data / "JPEGImages/480p" / name, stems, made.truth.shape[1:])
        write_masks(data / "Annotations/480p" / name, stems, made.truth)
        write_masks(results / name, stems, made.prediction)
    return data, results


def write_clips(root: Path, names: list[str], size: tuple[int, int], frames: int) -> Path:
    """Write made-up clips of one or two objects as a data set in the layout of DAVIS 2017."""
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("".join(f"{name}\n" for name in names))
    stems = [f"{index:05d}" for index in range(frames)]
    for seed, name in enumerate(names):
        clip = synthetic_clip(*size, frames, objects=1 + seed % 2, seed=seed)
        folder = root / "JPEGImages/480p" / name
        folder.mkdir(parents=True)
        for stem, frame in zip(stems, clip.frames, strict=True):
            Image.fromarray(frame).save(folder / f"{stem}.jpg", quality=95)
        write_masks(root / "Annotations/480p" / name, stems, clip.labels)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """All files of the sequences, records included; nothing hidden may be left."""
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def write_staged_clips(root: Path, height: int, width: int) -> None:
    """Write a data set of three clips that pass every stage of the memory, as DAVIS has them.

    Sizes are in pixels. The last clip has five objects.
    """
    for seed, objects in enumerate((2, 1, 5)):
        clip = synthetic_clip(
            height, width, 12, objects=objects, late_objects=1, late_frame=10, seed=seed
        )
        stems = [f"{index:05d}" for index in range(len(clip.frames))]
        write_masks(root / "Annotations/480p" / f"clip-{seed}", stems, clip.labels)
        folder = root / "JPEGImages/480p" / f"clip-{seed}"
        folder.mkdir(parents=True)
        for stem, frame in zip(stems, clip.frames, strict=True):
            Image.fromarray(frame).save(folder / f"{stem}.png")
    lists = root / "ImageSets/2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("clip-0\nclip-1\nclip-2\n")
