"""Random label maps of any size come back from every kind of picture."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.runtime.masks.numbering import Numbering
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.masks.source import MaskSource

Labels = NDArray[np.uint8]
DAVIS = palette_colors(None)
often = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def label_maps(draw: st.DrawFn, most: int = 9, ids: bool = True) -> Labels:
    """Boxes of any ids on a background; some are a pixel wide, some cover others."""
    height, width = draw(st.integers(9, 67)), draw(st.integers(9, 67))
    count = draw(st.integers(1, most))
    numbers = (
        draw(st.lists(st.integers(1, 254), min_size=count, max_size=count, unique=True))
        if ids
        else list(range(1, count + 1))
    )
    labels = np.zeros((height, width), np.uint8)
    for number in numbers:
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        tall, wide = draw(st.integers(1, height)), draw(st.integers(1, width))
        labels[top : top + tall, left : left + wide] = number
    labels[0], labels[-1] = 0, 0  # the background reaches the picture's edge
    labels[4:8, 4:8] = numbers[0]
    return labels


def read(image: Image.Image, numbering: Numbering | None = None, suffix: str = "png") -> Labels:
    file = BytesIO()
    image.save(file, suffix)
    return read_mask(Path(f"a.{suffix}"), numbering, file.getvalue()).labels


def davis(labels: Labels) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette(DAVIS.tobytes())
    return image


def same_regions(labels: Labels, other: Labels) -> bool:
    """Whether two label maps differ in numbers only, and have the same background."""
    pairs = np.unique(np.stack([labels.ravel(), other.ravel()]), axis=1)
    one_to_one = all(len(np.unique(row)) == pairs.shape[1] for row in pairs)
    return one_to_one and np.array_equal(labels > 0, other > 0)


@given(label_maps())
@often
@pytest.mark.parametrize("suffix", ["png", "tiff", "gif", "bmp"])
def test_palettes_of_davis_are_ids(suffix: str, labels: Labels) -> None:
    assert np.array_equal(read(davis(labels), suffix=suffix), labels)


@given(label_maps())
@often
@pytest.mark.parametrize("suffix", ["png", "tiff", "bmp"])
def test_colours_of_davis_are_their_ids(suffix: str, labels: Labels) -> None:
    assert np.array_equal(read(Image.fromarray(DAVIS[labels]), suffix=suffix), labels)


@given(label_maps(ids=False), st.data())
@often
def test_any_colours_tell_the_same_regions_in_every_mask(
    labels: Labels, data: st.DataObject
) -> None:
    count = int(labels.max()) + 1
    values = st.lists(st.integers(1, 0xFFFFFF), min_size=count, max_size=count, unique=True)
    drawn = np.array(data.draw(values), np.uint32)
    drawn[0] = 0
    colours = np.stack([drawn >> 16, drawn >> 8 & 255, drawn & 255], -1).astype(np.uint8)
    numbering = Numbering()
    first = read(Image.fromarray(colours[labels]), numbering)
    assert same_regions(labels, first)
    fewer = np.where(labels == labels.max(), 0, labels)
    later = read(Image.fromarray(colours[fewer]), numbering)
    assert np.array_equal(later, np.where(labels == labels.max(), 0, first))


@given(label_maps(most=1), st.integers(2, 255))
@often
def test_one_object_of_any_value_is_one_object(labels: Labels, value: int) -> None:
    mask = labels > 0
    assert np.array_equal(read(Image.fromarray(mask.astype(np.uint8) * 255)) > 0, mask)
    read_back = read(Image.fromarray(mask.astype(np.uint8) * np.uint8(value)))
    # 254 is white that was computed a little short, as 255 is the white of one object.
    assert np.array_equal(read_back, mask * (1 if value >= 254 else value))


@given(label_maps(), st.integers(2, 4))
@often
def test_masks_of_a_whole_multiple_come_back_at_their_size(
    tmp_path_factory: pytest.TempPathFactory, labels: Labels, factor: int
) -> None:
    path = tmp_path_factory.mktemp("masks") / "a.png"
    davis(np.repeat(np.repeat(labels, factor, 0), factor, 1)).save(path)
    mask = MaskSource(path, (labels.shape[0], labels.shape[1])).for_stem("0", first=True)
    assert mask is not None
    assert np.array_equal(mask.labels, labels)
