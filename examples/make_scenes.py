"""Write made-up scenes with exact ground truth as a data set in the layout of DAVIS 2017.

    python examples/make_scenes.py --output held-out             # 40 sequences of 80 frames
    mavos-eval BUNDLE held-out

Seeds and photographs are others than those that `tiny` is trained with. Besides the list of all
sequences, ImageSets/2017/return.txt lists those in which an object is out of sight for five frames
or more and comes back. Needs scikit-image, for the photographs.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from mavos_deploy.errors import MavosError
from mavos_deploy.evaluation.scenes.scene import MAX_OBJECTS, iter_scene
from mavos_deploy.evaluation.scenes.textures import HELD_OUT_PHOTOS, Photo, load_photos
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.system.files import replacing_directory

QUALITY = 95  # of the JPEG files
ABSENT = 5  # frames out of sight that count as gone
RESOLUTION = "480p"  # the folder's name in DAVIS, whatever the size is


def main() -> int:
    """Parse the command line and write the folder; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new folder")
    parser.add_argument("--sequences", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--frames", type=int, default=80, help="of each (default: 80)")
    parser.add_argument("--height", type=int, default=240, help="pixels (default: 240)")
    parser.add_argument("--width", type=int, default=432, help="pixels (default: 432)")
    parser.add_argument(
        "--most-objects",
        type=int,
        default=5,
        help=f"scenes have 1 to this many in turn, at most {MAX_OBJECTS} (default: 5)",
    )
    parser.add_argument("--first-seed", type=int, default=0, help="of the first (default: 0)")
    arguments = parser.parse_args()
    try:
        _write(arguments)
    except MavosError as error:
        print(f"make_scenes.py: {error}", file=sys.stderr)
        return 2
    print(f"wrote {arguments.output}")
    return 0


def _write(arguments: argparse.Namespace) -> None:
    output: Path = arguments.output
    if output.exists():
        raise MavosError(f"{output} exists; choose another --output")
    photos = load_photos(HELD_OUT_PHOTOS)
    with replacing_directory(output, overwrite=False) as folder:
        names, returning = [], []
        for index in track(
            range(arguments.sequences), "rendering", disable=not sys.stderr.isatty()
        ):
            seed = arguments.first_seed + index
            name = f"scene-{seed:03d}"
            objects = 1 + index % arguments.most_objects
            names.append(name)
            if _write_sequence(folder, name, objects, seed, arguments, photos):
                returning.append(name)
        lists = folder / "ImageSets" / "2017"
        lists.mkdir(parents=True)
        (lists / "val.txt").write_text("".join(f"{name}\n" for name in names))
        (lists / "return.txt").write_text("".join(f"{name}\n" for name in returning))


def _write_sequence(
    root: Path,
    name: str,
    objects: int,
    seed: int,
    arguments: argparse.Namespace,
    photos: tuple[Photo, ...],
) -> bool:
    """Write frames and labels; returns whether an object goes away and comes back."""
    frames_folder = root / "JPEGImages" / RESOLUTION / name
    labels_folder = root / "Annotations" / RESOLUTION / name
    frames_folder.mkdir(parents=True)
    labels_folder.mkdir(parents=True)
    absent = np.zeros(objects + 1, dtype=np.int64)
    returns = False
    scene = iter_scene(arguments.height, arguments.width, arguments.frames, objects, seed, photos)
    for index, (frame, labels) in enumerate(scene):
        Image.fromarray(frame).save(
            frames_folder / f"{index:05d}.jpg", quality=QUALITY, subsampling=0
        )
        write_mask(labels_folder / f"{index:05d}.png", labels)
        shown = np.bincount(labels.ravel(), minlength=objects + 1) > 0
        returns |= bool((shown & (absent >= ABSENT))[1:].any())
        absent = np.where(shown, 0, absent + 1)
    return returns


if __name__ == "__main__":
    sys.exit(main())
