"""Animated WebP, PNG, AVIF and GIF files are videos."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.part import Part

DURATIONS = [100, 50, 200, 40, 120, 80]
COLOURS = np.random.default_rng(0).integers(0, 4, (6, 24, 32)).astype(np.uint8) * 80


def _animation(path: Path, count: int = 6) -> Path:
    images = [Image.fromarray(np.repeat(c[..., None], 3, 2)) for c in COLOURS[:count]]
    extra = {"lossless": True} if path.suffix == ".webp" else {}
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=DURATIONS[:count],
        loop=0,
        format="PNG" if path.suffix == ".apng" else None,
        **extra,
    )
    return path


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.apng", "a.gif"])
def test_frames_come_with_their_own_times(tmp_path: Path, name: str) -> None:
    with open_frames(str(_animation(tmp_path / name))) as source:
        frames = list(source)
        assert source.kind == "video"
        assert source.stems is None
    assert [frame.stem for frame in frames] == [f"{index:05d}" for index in range(6)]
    for frame, grey in zip(frames, COLOURS, strict=True):
        assert np.array_equal(frame.rgb, np.repeat(grey[..., None], 3, 2))
    starts = [Fraction(sum(DURATIONS[:index]), 1000) for index in range(6)]
    assert [frame.time for frame in frames] == starts


def test_the_poster_of_a_png_is_no_frame(tmp_path: Path) -> None:
    images = [Image.fromarray(np.repeat(c[..., None], 3, 2)) for c in COLOURS]
    poster, path = Image.new("RGB", (32, 24), (30, 90, 200)), tmp_path / "a.png"
    poster.save(path, save_all=True, append_images=images, duration=50, default_image=True)
    with open_frames(str(path)) as source:
        frames = list(source)
    assert [frame.time for frame in frames] == [Fraction(index, 20) for index in range(6)]
    for frame, grey in zip(frames, COLOURS, strict=True):
        assert np.array_equal(frame.rgb, np.repeat(grey[..., None], 3, 2))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_animated_avif_is_a_video(tmp_path: Path) -> None:
    images = [Image.new("RGB", (32, 24), (40 * number,) * 3) for number in range(4)]
    images[0].save(tmp_path / "a.avif", save_all=True, append_images=images[1:], duration=40)
    with open_frames(str(tmp_path / "a.avif")) as source:
        frames = list(source)
    assert [frame.time for frame in frames] == [Fraction(index, 25) for index in range(4)]
    for number, frame in enumerate(frames):
        assert abs(int(frame.rgb[0, 0, 0]) - 40 * number) < 8


def test_a_stack_is_refused_with_what_to_do(tmp_path: Path) -> None:
    images = [Image.new("L", (32, 24), 40 * number) for number in range(4)]
    images[0].save(tmp_path / "a.tif", save_all=True, append_images=images[1:])
    with pytest.raises(InputError, match=r"a\.tif holds 4 pictures; save each as a PNG, and give"):
        open_frames(str(tmp_path / "a.tif"))


def test_a_part_is_taken_by_time(tmp_path: Path) -> None:
    path = _animation(tmp_path / "a.webp")
    with open_frames(str(path), Part(Fraction(15, 100), Fraction(39, 100))) as source:
        assert [frame.index for frame in source] == [2, 3, 4][
            : 3 if sum(DURATIONS[:4]) <= 390 else 2
        ]


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_a_single_picture_is_no_video(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(tmp_path / name)
    with pytest.raises(InputError, match="is a single image; give the folder"):
        open_frames(str(tmp_path / name))


def test_an_animation_that_is_cut_off_names_where(tmp_path: Path) -> None:
    path = _animation(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    with open_frames(str(path)) as source:
        count = len(list(source))
    assert 0 < count < 6
    (line,) = source.told.damage
    assert f"from frame {count:05d} on it can't be read" in line
