"""Pictures of every kind are read as the label map that they show, or refused with the reason."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.numbering import Numbering, Reading
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.masks.regions import fill_from_nearest
from tests.made_sequences import box, disc

Labels = NDArray[np.uint8]
SIZE = (90, 140)
FOUR = np.array([[0, 0, 0], [255, 200, 0], [0, 90, 255], [250, 250, 250]], np.uint8)


def three() -> Labels:
    """Objects 1, 2 and 3; 2 touches 1."""
    labels = np.zeros(SIZE, np.uint8)
    labels[disc(SIZE, 30, 40, 22)] = 1
    labels[box(SIZE, 40, 50, 30, 40)] = 2
    labels[disc(SIZE, 60, 115, 15)] = 3
    return labels


def one() -> Labels:
    return np.asarray(three() == 2).astype(np.uint8)


def read(image: Image.Image, numbering: Numbering | None = None, suffix: str = "png") -> Reading:
    """Read a picture out of a file of its own format."""
    file = BytesIO()
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    image.save(file, suffix, **options)
    return read_mask(Path(f"a.{suffix}"), numbering, file.getvalue())


def palette_image(indices: Labels, palette: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    return image


def in_colours(labels: Labels, colours: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(colours[labels])


def transparent(labels: Labels, colours: NDArray[np.uint8], behind: int = 0) -> Image.Image:
    alpha = np.where(labels > 0, 255, behind).astype(np.uint8)
    return Image.fromarray(np.dstack([colours[labels], alpha]))


def grey_alpha(labels: Labels) -> Image.Image:
    return Image.merge("LA", [Image.fromarray(labels), Image.new("L", SIZE[::-1], 255)])


def levels(*values: int) -> NDArray[np.uint8]:
    return np.array([0, *values], np.uint8)[three()]


DAVIS = palette_colors(None)
ORDER = np.array([3, 1, 0, 2], np.uint8)  # index of each label in a palette that is sorted anew

THREE: dict[str, Callable[[], Image.Image]] = {
    "grey": lambda: Image.fromarray(three()),
    "davis-palette": lambda: palette_image(three(), DAVIS),
    "grey-with-alpha": lambda: grey_alpha(three()),
    "16-bit": lambda: Image.fromarray(three().astype(np.uint16)),
    "8-bit-widened-to-16": lambda: Image.fromarray(three().astype(np.uint16) * 257),
    "levels-of-three": lambda: Image.fromarray(levels(85, 170, 255)),
    "davis-colours": lambda: in_colours(three(), DAVIS),
    "davis-colours-with-alpha": lambda: transparent(three(), DAVIS),
    "davis-colours-opaque": lambda: transparent(three(), DAVIS, behind=255),
    "davis-colours-sorted-anew": lambda: palette_image(ORDER[three()], DAVIS[np.argsort(ORDER)]),
    "adaptive": lambda: in_colours(three(), DAVIS).convert(
        "P", palette=Image.Palette.ADAPTIVE, colors=4
    ),
    "adaptive-of-16": lambda: in_colours(three(), DAVIS).convert(
        "P", palette=Image.Palette.ADAPTIVE, colors=16
    ),
    "grey-as-rgb": lambda: Image.fromarray(three()).convert("RGB"),
}


@pytest.mark.parametrize("kind", THREE)
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "gif", "bmp"])
def test_three_objects_are_read_from_any_kind_and_format(kind: str, suffix: str) -> None:
    image = THREE[kind]()
    lost = {
        "webp": ("L", "P", "LA", "I;16"),
        "gif": ("LA", "I;16", "RGB", "RGBA"),
        "bmp": ("LA", "I;16", "RGBA"),
    }
    if image.mode in lost.get(suffix, ()):
        image = Image.fromarray(three()) if image.mode == "I;16" else image
        image = image.convert("RGB")
    reading = read(image, suffix=suffix)
    present = np.unique(reading.labels).tolist()
    assert present == [0, 1, 2, 3]
    assert np.array_equal(reading.labels, three())


BINARY: dict[str, Callable[[], Image.Image]] = {
    "0-255": lambda: Image.fromarray(one() * 255),
    "1-bit": lambda: Image.fromarray(one() > 0),
    "0-255-palette": lambda: palette_image(
        one() * 255, np.repeat(np.arange(256, dtype=np.uint8), 3)
    ),
    "0-255-rgb": lambda: Image.fromarray(one() * 255).convert("RGB"),
    "0-65535": lambda: Image.fromarray(one().astype(np.uint16) * 65535),
    "0-1000": lambda: Image.fromarray(one().astype(np.uint16) * 1000),
    "soft-128": lambda: Image.fromarray(one() * 128).filter(ImageFilter.BoxBlur(2)),
    "soft-255": lambda: Image.fromarray(one() * 255).filter(ImageFilter.GaussianBlur(2)),
    "soft-254-rgb": lambda: (
        Image.fromarray(one() * 254).filter(ImageFilter.GaussianBlur(1.5)).convert("RGB")
    ),
    "black-cut-out": lambda: transparent(one(), np.zeros((2, 3), np.uint8)),
    "cut-out": lambda: transparent(
        one(), np.random.default_rng(0).integers(0, 255, (2, 3), np.uint8)
    ),
}


@pytest.mark.parametrize("kind", BINARY)
def test_one_object_is_object_one_and_it_is_said(kind: str) -> None:
    reading = read(BINARY[kind]())
    differing = np.mean(reading.labels != one())
    assert differing < 0.002 if kind.startswith("soft") else differing == 0  # rounded corners
    assert reading.how is not None


def test_a_cut_out_of_a_photograph_is_object_one() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    reading = read(Image.fromarray(np.dstack([rgb, three() * 80])))
    assert np.array_equal(reading.labels, (three() > 1).astype(np.uint8))
    assert reading.how == "a cut-out: opaque pixels are object 1"


@pytest.mark.parametrize("values", [(64, 128, 191), (1, 77, 254), (5, 9, 200), (50, 100, 150)])
def test_ids_with_gaps_stay_as_they_are(values: tuple[int, ...]) -> None:
    reading = read(Image.fromarray(levels(*values)))
    assert np.array_equal(reading.labels, levels(*values))
    assert reading.how is None


def test_levels_with_rounding_either_way_are_objects_in_their_order() -> None:
    for values in ((127, 255), (128, 255), (63, 127, 191, 255), (64, 128, 191, 255)):
        four = np.minimum(three(), len(values))
        reading = read(Image.fromarray(np.array([0, *values], np.uint8)[four]))
        used = np.unique(four)[1:]
        if len(values) == len(used):
            assert np.array_equal(reading.labels, four)


@pytest.mark.parametrize("three_pixels", [1, 200])
def test_an_object_of_three_pixels_is_kept(three_pixels: int) -> None:
    labels = np.where(three() == 3, 0, three())
    labels[5, 100:103] = three_pixels if three_pixels != 1 else 3
    assert np.array_equal(read(Image.fromarray(labels)).labels, labels)
    small = np.where(labels >= 3, 3, labels)
    assert np.array_equal(read(in_colours(small, FOUR)).labels > 0, small > 0)
    assert len(np.unique(read(in_colours(small, FOUR)).labels)) == 4


def test_other_colours_are_numbered_by_their_value_and_it_is_said() -> None:
    reading = read(in_colours(three(), FOUR))
    assert reading.how is not None
    expected = {0x005AFF: 1, 0xFAFAFA: 2, 0xFFC800: 3}
    for label, colour in enumerate(FOUR.tolist()):
        packed = colour[0] << 16 | colour[1] << 8 | colour[2]
        assert set(reading.labels[three() == label].tolist()) == {expected.get(packed, 0)}
        assert f"#{packed:06x}" in reading.how


def test_smoothed_borders_of_colours_go_to_the_nearest_object() -> None:
    image = in_colours(three(), DAVIS).resize((560, 360), Image.Resampling.NEAREST)
    reading = read(image.filter(ImageFilter.GaussianBlur(1)))
    expected = np.repeat(np.repeat(three(), 4, axis=0), 4, axis=1)
    assert np.unique(reading.labels).tolist() == [0, 1, 2, 3]
    assert np.mean(reading.labels != expected) < 0.02
    assert "blended" in (reading.how or "")


@pytest.mark.parametrize("suffix", ["png", "gif"])
@pytest.mark.parametrize("index", [0, 2])
def test_a_transparent_index_is_the_background(index: int, suffix: str) -> None:
    colours = np.array([[9, 9, 9], [255, 200, 0], [0, 90, 255], [250, 250, 250]], np.uint8)
    indices = ((three() + index) % 4).astype(np.uint8)
    image = palette_image(indices, colours)
    image.info["transparency"] = index
    reading = read(image, suffix=suffix)
    assert np.array_equal(reading.labels == 0, three() == 0)
    for label in (1, 2, 3):
        assert len(set(reading.labels[three() == label].tolist())) == 1
    assert np.unique(reading.labels).tolist() == [0, 1, 2, 3]


RAMP = np.repeat(np.arange(255, -1, -1, dtype=np.uint8)[:, None], 3, axis=1)


@pytest.mark.parametrize(("value", "palette"), [(255, RAMP), (1, RAMP[[0, 255]])])
def test_black_before_white_of_index_0_is_the_object(
    value: int, palette: NDArray[np.uint8]
) -> None:
    numbering = Numbering()
    for labels in (one(), one()[::-1], np.zeros(SIZE, np.uint8)):
        reading = read(palette_image(labels * value, palette), numbering)
        assert np.array_equal(reading.labels, labels)


def test_black_and_white_that_tell_no_background_are_refused() -> None:
    labels = one()
    labels[30:, :50] = 1  # touches the edge
    with pytest.raises(InputError, match="either may be the background"):
        read(palette_image(labels, RAMP[[0, 255]]))
    assert np.array_equal(read(palette_image(1 - labels, RAMP[[0, 255]])).labels, labels)


def one_bit(set_pixels: Labels) -> Image.Image:
    return Image.fromarray(set_pixels > 0)


@pytest.mark.parametrize(
    ("image", "clear", "expected"),
    [
        (Image.fromarray(np.where(three(), three(), 200).astype(np.uint8)), 200, three()),
        (Image.fromarray(np.where(one(), 0, 255).astype(np.uint8)), 255, one()),
        (Image.fromarray(three().astype(np.uint16) + 1), 1, three() + (three() > 0)),
        (one_bit(1 - one()), 1, one()),
        (one_bit(one()), 0, one()),
        (in_colours(three(), np.array([[255] * 3, *DAVIS[1:4]], np.uint8)), (255,) * 3, three()),
    ],
    ids=["ids", "black-object", "16-bit", "1-bit", "1-bit-black", "colours"],
)
def test_a_transparent_value_is_the_background(
    image: Image.Image, clear: int | tuple[int, ...], expected: Labels
) -> None:
    file = BytesIO()
    image.save(file, "png", transparency=clear)
    reading = read_mask(Path("a.png"), None, file.getvalue())
    assert np.array_equal(reading.labels, expected)


def test_black_beside_transparent_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="some pixels are transparent and others black"):
        read(transparent(three(), np.array([[0] * 3, [0] * 3, [9] * 3, [90, 0, 0]], np.uint8)))


@pytest.mark.parametrize("quality", [60, 90, 100])
@pytest.mark.parametrize("lossy", ["webp", "jpeg"])
@pytest.mark.parametrize("colours", [DAVIS, FOUR, np.repeat([[0], [255], [255], [255]], 3, 1)])
def test_lossy_compression_is_refused_or_harmless(
    colours: NDArray[np.uint8], lossy: str, quality: int
) -> None:
    """Also behind a PNG, where the regions stay as they were or the mask is refused."""
    labels = np.repeat(np.repeat(three(), 4, 0), 4, 1)
    shown = colours.astype(np.uint8)[labels]
    file = BytesIO()
    Image.fromarray(shown).save(file, lossy, quality=quality)
    with pytest.raises(InputError, match="compression"):
        read_mask(Path("a"), None, file.getvalue())
    try:
        found = read(Image.open(file)).labels
    except InputError:
        return
    if (found == 255).any():  # void, which is refused where it is to be segmented
        return
    distinct = len(np.unique(shown.reshape(-1, 3), axis=0))
    assert len(np.unique(found)) == distinct
    assert np.mean((found > 0) != (labels > 0)) < 0.02


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        pytest.param(
            lambda: Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), "u1")),
            "most of them no region, so it is a photograph",
            id="photograph",
        ),
        pytest.param(
            lambda: Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90), "u1")),
            "as photographs and depth maps are",
            id="grey-photograph",
        ),
        pytest.param(
            lambda: Image.fromarray(three().astype(np.uint16) + 300),
            "16 bits per pixel with values from 300 to",
            id="large-ids",
        ),
        pytest.param(
            lambda: Image.fromarray(np.repeat(three(), 4, 0)).resize(
                (140, 97), Image.Resampling.BILINEAR
            ),
            "thin lines",
            id="resized-with-interpolation",
        ),
        pytest.param(
            lambda: palette_image(three() % 3 + (three() == 0) * np.uint8(3), FOUR[[1, 2, 3, 2]]),
            "the background",
            id="background-unknown",
        ),
    ],
)
def test_pictures_that_do_not_tell_are_refused(
    image: Callable[[], Image.Image], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        read(image())


def hidden(labels: Labels, *gone: int) -> Labels:
    return np.where(np.isin(labels, gone), 0, labels).astype(np.uint8)


@pytest.mark.parametrize(
    "kind",
    [
        "levels-of-three",
        "davis-colours",
        "davis-colours-with-alpha",
        "davis-colours-sorted-anew",
        "davis-palette",
        "grey",
    ],
)
@pytest.mark.parametrize("gone", [(1,), (2,), (3,), (1, 2), (1, 3), (1, 2, 3)])
def test_later_masks_with_fewer_objects_keep_their_ids(kind: str, gone: tuple[int, ...]) -> None:
    labels, numbering = hidden(three(), *gone), Numbering()
    makers: dict[str, Callable[[Labels], Image.Image]] = {
        "levels-of-three": lambda m: Image.fromarray(np.array([0, 85, 170, 255], np.uint8)[m]),
        "davis-colours": lambda m: in_colours(m, DAVIS),
        "davis-colours-with-alpha": lambda m: transparent(m, DAVIS),
        "davis-colours-sorted-anew": lambda m: in_colours(m, DAVIS).convert(
            "P", palette=Image.Palette.ADAPTIVE, colors=len(np.unique(m))
        ),
        "davis-palette": lambda m: palette_image(m, DAVIS),
        "grey": Image.fromarray,
    }
    assert np.array_equal(read(makers[kind](three()), numbering).labels, three())
    assert np.array_equal(read(makers[kind](labels), numbering).labels, labels)
    assert np.array_equal(read(makers[kind](three()), numbering).labels, three())


@pytest.mark.parametrize("seed", range(6))
def test_colours_keep_their_ids_when_objects_come_and_go(seed: int) -> None:
    random = np.random.default_rng(seed)
    colours = np.vstack([[0, 0, 0], random.integers(1, 255, (3, 3))]).astype(np.uint8)
    numbering = Numbering()
    first = read(in_colours(hidden(three(), 2), colours), numbering).labels
    later = read(in_colours(three(), colours), numbering).labels
    for label in (0, 1, 3):
        assert np.array_equal(first[three() == label], later[three() == label])
    assert set(later[three() == 2].tolist()) == {3}


@pytest.mark.parametrize("value", [128, 170, 224])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_another_object_behind_masks_of_one_is_refused(value: int, kind: type) -> None:
    numbering = Numbering()
    wide = 257 if kind is np.uint16 else 1
    read(Image.fromarray(one().astype(kind) * (255 * wide)), numbering)
    other = (three() == 3).astype(kind) * (value * wide)
    with pytest.raises(InputError, match="earlier masks of this video have one object of value"):
        read(Image.fromarray(other), numbering)


def test_probabilities_are_cut_at_half_of_the_most() -> None:
    rows, columns = np.mgrid[-45:45, -70:70]
    share = 1 / (1 + np.exp((np.hypot(rows, columns) - 20) / 4))
    values = (share * 255).astype(np.uint8)
    values[values < 3] = 0
    assert values.max() == 253
    assert np.bincount(values[values > 127]).argmax() < 253  # many pixels have a smaller value
    reading = read(Image.fromarray(values))
    assert np.array_equal(reading.labels, (values > 253 / 2).astype(np.uint8))


def test_void_of_the_first_mask_stays_void_where_it_is_alone() -> None:
    void, numbering = three(), Numbering()
    void[0] = 255
    assert np.array_equal(read(Image.fromarray(void), numbering).labels, void)
    alone = np.where(void == 255, void, 0).astype(np.uint8)
    assert np.array_equal(read(Image.fromarray(alone), numbering).labels, alone)


def test_void_of_a_davis_palette_is_void_from_the_first_mask_on() -> None:
    reading = read(palette_image(one() * 255, DAVIS))
    assert set(np.unique(reading.labels).tolist()) == {0, 255}


def test_a_soft_mask_behind_a_clean_one_is_cut_alike() -> None:
    numbering = Numbering()
    clean = Image.fromarray(one() * 255)
    for image in (clean, clean.filter(ImageFilter.GaussianBlur(1)), clean):
        assert np.mean(read(image, numbering).labels != one()) < 0.002  # rounded corners


@pytest.mark.parametrize(
    ("first", "later", "reason"),
    [
        ((85, 170, 255), (85, 100, 255), "grey value 100, but earlier masks"),
        ((255, 255, 255), (1, 2, 3), "earlier masks of this video have one object of value 255"),
        ((255, 255, 255), (1, 1, 1), "grey values 1, but earlier masks of this video have one"),
    ],
)
def test_later_masks_of_another_numbering_are_refused(
    first: tuple[int, ...], later: tuple[int, ...], reason: str
) -> None:
    numbering = Numbering()
    read(Image.fromarray(levels(*first)), numbering)
    with pytest.raises(InputError, match=reason):
        read(Image.fromarray(levels(*later)), numbering)


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_a_large_mask_is_not_read_by_colour(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    image = Image.fromarray(FOUR[three()], "RGB")
    monkeypatch.setattr("mavos_deploy.runtime.masks.kinds.MOST_PIXELS", three().size)
    read(image.quantize(4) if mode == "P" else image)
    monkeypatch.setattr("mavos_deploy.runtime.masks.kinds.MOST_PIXELS", three().size - 1)
    with pytest.raises(InputError, match=f"{three().size} pixels in colours; the limit is"):
        read(image.quantize(4) if mode == "P" else image)


def _wide(value: int) -> Image.Image:
    return Image.fromarray(one().astype(np.uint16) * value)


@pytest.mark.parametrize(
    ("first", "later", "reason"),
    [
        pytest.param(_wide(300), _wide(301), "one object of value 300", id="another-large-one"),
        pytest.param(_wide(300), _wide(65535), "one object of value 300", id="a-multiple-of-257"),
        pytest.param(_wide(65535), _wide(300), "have others", id="behind-full-strength"),
        pytest.param(_wide(5), _wide(300), "have others", id="behind-an-id"),
        pytest.param(_wide(300), _wide(7), "one object of value 255", id="a-small-one"),
    ],
)
def test_another_value_of_16_bits_is_no_earlier_object(
    first: Image.Image, later: Image.Image, reason: str
) -> None:
    numbering = Numbering()
    read(_wide(0), numbering)
    read(first, numbering)
    read(_wide(0), numbering)
    assert np.array_equal(read(first, numbering).labels > 0, one() > 0)
    with pytest.raises(InputError, match=reason):
        read(later, numbering)


def test_pixels_take_the_value_of_the_nearest_one_that_is_kept() -> None:
    values = np.array([[1, 9, 9, 9, 9, 2]], np.uint8)
    kept = values != 9
    assert fill_from_nearest(values, kept).tolist() == [[1, 1, 1, 2, 2, 2]]


@pytest.mark.parametrize("values", [(255,), (128, 255), (3, 9)])
def test_colours_behind_grey_masks_keep_the_ids_of_the_grey_ones(values: tuple[int, ...]) -> None:
    labels, numbering = np.minimum(three(), len(values)), Numbering()
    shown = np.array([0, *values], np.uint8)[labels]
    first = read(Image.fromarray(shown).convert("RGB"), numbering).labels
    colours = np.dstack([shown] * 3)
    colours[:4, :4] = (90, 0, 0)
    later = read(Image.fromarray(colours), numbering).labels
    assert np.array_equal(later[4:], first[4:])
    assert np.unique(later[:4, :4]).tolist() == [int(first.max()) + 1]
