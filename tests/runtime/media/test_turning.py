"""The eight ways in which pictures are shown, by FFmpeg's matrices and by EXIF's numbers."""

import itertools
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from mavos_deploy.runtime.media.turning import OF_EXIF, STORED, Turn, turn_of_matrix

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)
ALL = [Turn(*way) for way in itertools.product(range(4), (False, True))]


def _matrix(a: float, b: float, c: float, d: float) -> bytes:
    numbers = [round(value * 65536) for value in (a, b, 0, c, d, 0, 0, 0)]
    return struct.pack("=9i", *numbers, 1 << 30)


def _shown(pixels: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Each pixel brought to its place, by the definition of the matrix."""
    height, width = pixels.shape
    places = {
        (x * a + y * c, x * b + y * d): pixels[y, x] for y in range(height) for x in range(width)
    }
    rows = sorted({y for _, y in places})
    columns = sorted({x for x, _ in places})
    return np.array([[places[x, y] for x in columns] for y in rows], pixels.dtype)


@pytest.mark.parametrize("scale", [1, 0.5, 3])
def test_every_matrix_of_quarter_turns_and_mirrors_has_its_turn(scale: float) -> None:
    found = set()
    for first, second in itertools.product((-1, 1), repeat=2):
        for a, b, c, d in ((first, 0, 0, second), (0, first, second, 0)):
            turn = turn_of_matrix(_matrix(scale * a, scale * b, scale * c, scale * d))
            assert turn is not None
            assert np.array_equal(turn.of(PIXELS), _shown(PIXELS, a, b, c, d))
            found.add(turn)
    assert found == set(ALL)


@pytest.mark.parametrize(
    "matrix",
    [
        (0, 0, 0, 0),
        (1, 0, 0, 0),
        (1, 0, 1, 0),
        (0, 1, 0, -1),
        (0.7071, 0.7071, -0.7071, 0.7071),
        (0.9994, 0.0349, -0.0349, 0.9994),  # 2 degrees
        (1, 0, 0.1, 1),
    ],
)
def test_other_matrices_have_none(matrix: tuple[float, float, float, float]) -> None:
    assert turn_of_matrix(_matrix(*matrix)) is None


def test_half_a_degree_is_rounding() -> None:
    assert turn_of_matrix(_matrix(0.0087, 0.99996, -0.99996, 0.0087)) == Turn(3)


@pytest.mark.parametrize("number", range(1, 9))
def test_numbers_of_exif_turn_as_pillow_does(number: int) -> None:
    picture = Image.fromarray(PIXELS)
    picture.getexif()[ExifTags.Base.Orientation] = number
    expected = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(OF_EXIF.get(number, STORED).of(PIXELS), expected)


def test_every_way_has_words_and_says_whether_sides_are_swapped() -> None:
    assert len({turn.words for turn in ALL}) == len(ALL)
    for turn in ALL:
        shown = turn.of(PIXELS)
        assert (shown.shape == PIXELS.shape[::-1]) is turn.swaps
        assert shown.flags.c_contiguous
