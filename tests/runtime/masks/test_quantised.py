"""Palettes made of pictures with lossy compression or smooth borders are refused."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.pictures import read_mask

PURE = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
DAVIS = tuple(tuple(int(part) for part in colour) for colour in palette_colors(None)[1:4])


def mask(colours: tuple[tuple[int, ...], ...]) -> Image.Image:
    image = Image.new("RGB", (160, 120))
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 20, 70, 80), fill=colours[0])
    draw.rectangle((90, 15, 140, 60), fill=colours[1])
    draw.ellipse((75, 70, 130, 115), fill=colours[2])
    return image


def jpeg(image: Image.Image, quality: int = 85) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def soft(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(2))


def labels_of(image: Image.Image) -> np.ndarray:
    file = BytesIO()
    image.save(file, "PNG")
    return read_mask(Path("a.png"), None, file.getvalue()).labels


@pytest.mark.parametrize("colours", [PURE, DAVIS], ids=["pure", "davis"])
@pytest.mark.parametrize("spoilt", [jpeg, soft])
@pytest.mark.parametrize("dither", Image.Dither)
def test_conversions_to_the_palette_of_the_web_are_refused(
    colours: tuple[tuple[int, ...], ...],
    spoilt: Callable[[Image.Image], Image.Image],
    dither: Image.Dither,
) -> None:
    with pytest.raises(InputError, match=r"run along borders .*export .*converting a JPEG"):
        labels_of(spoilt(mask(colours)).convert("P", dither=dither))


@pytest.mark.parametrize("count", [4, 8, 16])
def test_few_colours_of_a_jpeg_with_traces_of_black_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=r"hardly different|run along borders"):
        labels_of(jpeg(mask(DAVIS)).quantize(count))


def test_near_black_beside_black_is_no_object() -> None:
    image = mask(((0, 0, 3), (0, 128, 0), (128, 0, 0))).quantize(4)
    with pytest.raises(InputError, match=r"#00000[03] and #00000[03], as lossy compression"):
        labels_of(image)


@pytest.mark.parametrize("colours", [PURE, DAVIS], ids=["pure", "davis"])
def test_conversions_that_keep_the_objects_are_read(
    colours: tuple[tuple[int, ...], ...],
) -> None:
    truth = np.asarray(mask(colours)).any(axis=2)
    for image in (
        mask(colours).convert("P", dither=Image.Dither.NONE),
        mask(colours).quantize(4),
        mask(colours).convert("P", palette=Image.Palette.ADAPTIVE),
    ):
        labels = labels_of(image)
        assert len(np.unique(labels)) == 4
        assert np.array_equal(labels > 0, truth)


def test_small_objects_of_one_program_s_palette_are_kept() -> None:
    image = mask(PURE)
    image.putpixel((5, 5), (255, 255, 0))
    ImageDraw.Draw(image).line((100, 62, 130, 62), fill=(255, 0, 255))
    labels = labels_of(image.quantize(6))
    assert len(np.unique(labels)) == 6


def overlapping() -> Image.Image:
    image = Image.new("RGB", (160, 120))
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 15, 80, 75), fill=(200, 0, 0))
    draw.rectangle((60, 40, 120, 70), fill=(0, 200, 0))
    draw.ellipse((30, 60, 90, 110), fill=(0, 0, 200))
    draw.rectangle((85, 62, 140, 100), fill=(200, 200, 0))
    draw.ellipse((100, 10, 150, 50), fill=(0, 200, 200))
    return image


@pytest.mark.parametrize("count", [5, 6])
def test_loose_pieces_along_the_borders_of_regions_are_refused(count: int) -> None:
    with pytest.raises(InputError, match="loose pieces of some colours lie along the borders"):
        labels_of(jpeg(overlapping(), 75).quantize(count))


def test_objects_that_cover_each_other_are_read() -> None:
    assert len(np.unique(labels_of(overlapping().quantize(6)))) == 6


@pytest.mark.parametrize("scale", [2, 4])
def test_grey_of_objects_whose_borders_overshoot_is_refused(scale: int) -> None:
    image = mask(DAVIS).resize((160 * scale, 120 * scale), Image.Resampling.NEAREST)
    small = image.resize((160, 120), Image.Resampling.LANCZOS)
    with pytest.raises(
        InputError, match=r"is surrounded by thin lines of .*resize masks with near"
    ):
        labels_of(small.convert("L"))
