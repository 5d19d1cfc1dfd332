"""Sizes of a bench's clip; test_timing.py runs the runners."""

from mavos_deploy.export.bench.runners import video_size


def test_the_size_of_a_video_is_even_and_maps_to_the_bundle() -> None:
    assert video_size((481, 849)) == (480, 848)
    assert video_size((480, 848)) == (480, 848)
