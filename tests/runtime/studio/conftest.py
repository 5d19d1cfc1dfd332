"""Videos and a browser that tests of mavos-studio share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mavos_deploy.evaluation.scenes.clip import Clip
from mavos_deploy.runtime.media.encoding import VideoWriter
from tests.browser import opened
from tests.made_clips import synthetic_clip
from tests.made_videos import video
from tests.studio_page import FRAMES, SCREENSHOTS, SIDE, Page


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A small video with pictures of all kinds."""
    return video(tmp_path / "clip.mp4", coding={"g": "4", "bf": "2"})


@pytest.fixture(scope="module")
def scene() -> Clip:
    """A made-up video with its truth."""
    return synthetic_clip(SIDE, SIDE, FRAMES, objects=2, seed=3)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A browser."""
    shots = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    with opened(tmp_path / "browser") as browser:
        yield Page(browser, shots)


@pytest.fixture
def scene_video(scene: Clip, tmp_path: Path) -> Path:
    """A file of it."""
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, (SIDE, SIDE)) as writer:
        for frame in scene.frames:
            writer.write(frame)
    return path
