"""Write a made-up video with its first-frame mask, ready for mavos-run.

    python examples/demo_clip.py --output demo --truth
    mavos-run BUNDLE demo/clip.mp4 --masks demo/masks --output results/clip
    mavos-eval demo --results results

The folder holds clip.mp4 and masks/00000.png. Where an object joins later, a mask named after that
frame marks that object alone. With --truth, Annotations/clip/ holds the right answer for every
frame, in the layout of Long-Time Video.
"""

import argparse
import re
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.system.files import replacing_directory

FRAME_RATE = 24  # frames per second
QUALITY = "16"  # x264 constant rate factor; fine texture survives
TRUTH = "Annotations/clip"
SEED = 2  # objects pass behind each other within the default 48 frames


def main() -> int:
    """Parse the command line and write the folder; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Write a made-up video with exact masks for trying out mavos-run."
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="new or empty folder"
    )
    parser.add_argument("--frames", type=int, default=48, help="length (default: 48, two seconds)")
    parser.add_argument(
        "--size",
        type=_size,
        default=(480, 854),
        metavar="HxW",
        help="frame size in pixels, both even for H.264 (default: 480x854)",
    )
    parser.add_argument(
        "--objects", type=int, default=3, help="objects in the first frame (default: 3)"
    )
    parser.add_argument(
        "--late-objects",
        type=int,
        default=1,
        help="objects that join halfway (default: 1); their masks are in a second file",
    )
    parser.add_argument(
        "--seed", type=int, default=SEED, help=f"another seed is another video (default: {SEED})"
    )
    parser.add_argument(
        "--truth", action="store_true", help="also write the exact masks of all frames"
    )
    arguments = parser.parse_args()
    try:
        _write_folder(
            arguments.output,
            arguments.frames,
            arguments.size,
            arguments.objects,
            arguments.late_objects,
            arguments.seed,
            truth=arguments.truth,
        )
    except InputError as error:
        print(f"demo_clip.py: {error}", file=sys.stderr)
        return 2
    truth = f", {TRUTH}/" if arguments.truth else ""
    print(f"wrote {arguments.output}: clip.mp4, masks/{truth}")
    return 0


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: write height x width, such as 480x854")
    height, width = int(match[1]), int(match[2])
    if height % 2 or width % 2:
        raise argparse.ArgumentTypeError(f"{text}: H.264 needs an even height and width")
    return height, width


def _write_folder(
    output: Path,
    frames: int,
    size: tuple[int, int],
    objects: int,
    late_objects: int,
    seed: int,
    *,
    truth: bool,
) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists and is not an empty folder; choose another --output")
    late_frame = frames // 2
    clip = iter_clip(*size, frames, objects, late_objects, late_frame, seed)
    with replacing_directory(output, overwrite=True) as folder:
        (folder / "masks").mkdir()
        if truth:
            (folder / TRUTH).mkdir(parents=True)
        with av.open(str(folder / "clip.mp4"), "w") as container:
            stream = container.add_stream(
                "libx264", rate=Fraction(FRAME_RATE), options={"crf": QUALITY}
            )
            stream.height, stream.width = size
            stream.pix_fmt = "yuv420p"
            for index, (frame, labels) in enumerate(clip):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(stream.encode(picture))
                if index == 0:
                    write_mask(folder / "masks" / "00000.png", labels)
                elif index == late_frame and late_objects:
                    joining = np.where(labels > objects, labels, np.uint8(0))
                    write_mask(folder / "masks" / f"{index:05d}.png", joining)
                if truth:
                    write_mask(folder / TRUTH / f"{index:05d}.png", labels)
            container.mux(stream.encode())


if __name__ == "__main__":
    sys.exit(main())
