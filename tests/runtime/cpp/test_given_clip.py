"""C++ and Python make the same masks of a given clip with given bundles; for the slow lane."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.media.frames import open_frames
from tests.cpp_library import CppLibrary

CLIP = "MAVOS_CPP_CLIP"
BUNDLES = "MAVOS_CPP_BUNDLES"
FRAMES = 8
RESIZED = 4  # pixels of a frame that may differ where OpenCV resizes it (docs/cpp.md)
LEAVE, JOIN, SWAP = 2, 4, 5  # frames after which an object leaves, and states change hands


def given() -> Iterator[tuple[Path, Path, Path]]:
    """Bundles with the clip's frames and each of its first masks."""
    clip = Path(os.environ.get(CLIP, ""))
    for bundle in filter(None, os.environ.get(BUNDLES, "").split(os.pathsep)):
        for mask in sorted(clip.glob("masks_*.png")):
            yield Path(bundle), clip / "frames", mask


@pytest.mark.slow
def test_the_masks_are_equal(cpp: CppLibrary, tmp_path: Path) -> None:
    cases = list(given())
    if not cases:
        pytest.skip(f"{CLIP} and {BUNDLES} name no clip with frames/ and masks_*.png, and bundles")
    for bundle, frames, mask in cases:
        first = np.asarray(Image.open(mask), np.uint8)  # ids, whatever the palette says
        own, python = cpp.open(bundle), Segmenter.open(bundle, threads=1)
        with open_frames(str(frames)) as source:
            pictures = [frame.rgb for frame, _ in zip(source, range(FRAMES), strict=False)]
        ours, theirs = own.start(pictures[0], first), python.start(pictures[0], first)
        exact = python.input_size(first.shape) == first.shape
        gone = int(first[first > 0].min())
        for index, picture in enumerate(pictures[1:], 1):
            # It comes again where it was at first, as another object.
            late = np.where(first == gone, 200, 0).astype(np.uint8) if index == JOIN else None
            labels, ours = own.step(picture, ours, late)
            expected, theirs = python.step(picture, theirs, late)
            different = int((labels != expected).sum())
            assert different <= (0 if exact else RESIZED), f"{bundle} {mask.name} frame {index}"
            if index == LEAVE:
                ours, theirs = own.remove(ours, [gone]), python.remove(theirs, {gone})
            assert own.objects(ours) == theirs.objects
            if index == SWAP:
                own.save(ours, tmp_path / "ours")
                python.save(theirs, tmp_path / "theirs")
                ours, theirs = own.load(tmp_path / "theirs"), python.load(tmp_path / "ours")
