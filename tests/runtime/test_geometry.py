"""Sizes follow the authors' rules."""

from itertools import pairwise

import pytest
import torch

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import (
    check_aspect,
    check_size,
    downsampled,
    grid,
    network_size,
    parse_size,
    snap_size,
)


@pytest.mark.parametrize(
    ("frame", "aligned", "aligned_grid", "even", "even_grid"),
    [
        pytest.param((480, 854), (481, 849), (31, 54), (480, 848), (30, 53), id="davis"),
        pytest.param((480, 910), (481, 913), (31, 58), (480, 912), (30, 57), id="wide"),
        pytest.param((360, 640), (353, 641), (23, 41), (352, 640), (22, 40), id="360p"),
        pytest.param((720, 1280), (577, 1041), (37, 66), (592, 1040), (37, 65), id="720p"),
        pytest.param((1080, 1920), (577, 1041), (37, 66), (592, 1040), (37, 65), id="1080p"),
        pytest.param((2160, 3840), (577, 1041), (37, 66), (592, 1040), (37, 65), id="2160p"),
        pytest.param((1920, 1080), (1041, 577), (66, 37), (1040, 592), (65, 37), id="portrait"),
    ],
)
def test_frames_run_at_the_size_that_the_authors_use(
    frame: tuple[int, int],
    aligned: tuple[int, int],
    aligned_grid: tuple[int, int],
    even: tuple[int, int],
    even_grid: tuple[int, int],
) -> None:
    assert network_size(*frame, align_corners=True) == aligned
    assert network_size(*frame, align_corners=False) == even
    assert grid(aligned) == aligned_grid
    assert grid(even) == even_grid


def test_every_network_size_is_one_that_the_network_takes() -> None:
    for side in range(16, 2000, 7):
        for align_corners in (True, False):
            size = network_size(side, 640, align_corners)
            assert check_size(*size, align_corners) == size


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        pytest.param((7, 640), "shorter than 8", id="low"),
        pytest.param((640, 7), "shorter than 8", id="narrow"),
        pytest.param((20, 4000), "once the longer one is scaled to 1040", id="long"),
        pytest.param((8, 640), "too small", id="half-a-token"),
    ],
)
@pytest.mark.parametrize("align_corners", [True, False])
def test_frames_that_leave_no_token_are_refused(
    frame: tuple[int, int], text: str, align_corners: bool
) -> None:
    with pytest.raises(InputError, match=text):
        network_size(*frame, align_corners)


@pytest.mark.parametrize(
    ("size", "align_corners", "text"),
    [
        pytest.param((480, 854), True, r"16k \+ 1; the nearest size is 481x849", id="aligned"),
        pytest.param((481, 849), False, "16k; the nearest size is 480x848", id="even"),
    ],
)
def test_size_off_the_stride_is_refused_with_the_nearest_size(
    size: tuple[int, int], align_corners: bool, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        check_size(*size, align_corners)


def test_snapping_takes_the_nearest_size_and_halves_go_to_the_even_multiple() -> None:
    assert snap_size(585, 1040, align_corners=True) == (577, 1041)
    assert snap_size(24, 40, align_corners=False) == (32, 32)


@pytest.mark.parametrize(
    ("text", "size"),
    [("480x854", (480, 854)), (" 480 X 854 ", (480, 854)), ("481×849", (481, 849))],
    ids=["plain", "spaces-and-capital", "multiplication-sign"],
)
def test_sizes_are_read_as_height_x_width(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "480", "480x", "0x854", "-1x2", "480x854x3", "axb", "4.5x3"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="for example 480x854"):
        parse_size(text)


def test_a_video_size_is_read_width_first() -> None:
    assert parse_size("1920x1080", "WxH") == (1080, 1920)
    with pytest.raises(
        InputError, match="expected width x height in pixels, for example 1920x1080"
    ):
        parse_size("1080p", "WxH")


def test_strided_layers_round_up() -> None:
    for side in range(1, 200):
        halved = torch.nn.functional.max_pool2d(torch.zeros(1, 1, side, side), 3, 2, 1).shape[-1]
        assert downsampled(side, 2) == halved


@pytest.mark.parametrize(
    ("frame", "bundle"),
    [
        pytest.param((480, 854), (481, 849), id="davis"),
        pytest.param((1080, 1920), (481, 849), id="16-to-9"),
        pytest.param((60, 100), (65, 97), id="small-frame-with-its-own-bundle"),
        pytest.param((60, 100), (64, 96), id="small-frame-with-its-own-16k-bundle"),
    ],
)
def test_frames_of_nearly_the_bundles_aspect_pass(
    frame: tuple[int, int], bundle: tuple[int, int]
) -> None:
    check_aspect(frame, bundle)


@pytest.mark.parametrize("frame", [(480, 640), (854, 480)], ids=["4-to-3", "portrait"])
def test_frames_of_another_aspect_are_refused_with_both_ways_out(frame: tuple[int, int]) -> None:
    height, width = frame
    text = f"{height}x{width} but the bundle is 481x849.*--size-for {width}x{height}.*--fit stretch"
    with pytest.raises(InputError, match=text):
        check_aspect(frame, (481, 849))


def test_the_aspect_limit_is_exact_on_both_sides() -> None:
    widths = [width for width in range(500, 1500) if _passes((500, width), (500, 1000))]
    assert all(after - before == 1 for before, after in pairwise(widths))
    assert (widths[0], widths[-1]) == (953, 1050)


def _passes(frame: tuple[int, int], bundle: tuple[int, int]) -> bool:
    try:
        check_aspect(frame, bundle)
    except InputError:
        return False
    return True
