"""A project belongs to one video, and to one server at a time."""

from pathlib import Path

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.access import open_clip
from mavos_deploy.runtime.studio.project import IMPORT, Project, folder_of
from tests.made_videos import video
from tests.studio_server import stand_in


def test_the_folder_lies_beside_the_video(tmp_path: Path) -> None:
    assert folder_of(str(tmp_path / "clip.mp4")) == tmp_path / "clip.mavos"
    frames = tmp_path / "v1.2"
    frames.mkdir()
    assert folder_of(str(frames)) == tmp_path / "v1.2.mavos"


def test_a_project_knows_the_video_that_it_was_made_for(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        clip = open_clip(str(video(tmp_path / name)))
        with Project(tmp_path / "p", clip, stand_in()) as project:
            assert project.video == "a.mp4"


def test_the_project_of_another_video_is_refused(tmp_path: Path) -> None:
    clip = open_clip(str(video(tmp_path / "a.mp4")))
    other = open_clip(str(video(tmp_path / "b.mp4", count=5)))
    Project(tmp_path / "p", clip, stand_in()).close()
    with pytest.raises(InputError, match=r"belongs to a video of 12 frames .* has 5 of"):
        Project(tmp_path / "p", other, stand_in())
    Project(tmp_path / "p", clip, stand_in()).close()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("project.json", b"{}", "move .* away to begin anew"),
        ("masks.mavosmasks", b"x", "is no run-length store"),
        ("history.jsonl", b"x\n", "line 1 is damaged"),
    ],
)
def test_a_damaged_project_is_refused_and_can_be_opened_once_it_is_mended(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    clip = open_clip(str(video(tmp_path / "a.mp4")))
    Project(tmp_path / "p", clip, stand_in()).close()
    whole = (tmp_path / "p" / name).read_bytes()
    (tmp_path / "p" / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        Project(tmp_path / "p", clip, stand_in())
    (tmp_path / "p" / name).write_bytes(whole)
    Project(tmp_path / "p", clip, stand_in()).close()


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    clip = open_clip(str(video(tmp_path / "a.mp4")))
    with pytest.raises(InputError, match=r"cannot write .*a part of the path is a file"):
        Project(tmp_path / "a.mp4" / "p", clip, stand_in())


def test_states_of_another_bundle_are_removed(tmp_path: Path) -> None:
    clip = open_clip(str(video(tmp_path / "a.mp4")))
    old = tmp_path / "p" / "states" / "old"
    old.mkdir(parents=True)
    Project(tmp_path / "p", clip, stand_in()).close()
    assert not old.exists()


def test_what_a_killed_import_left_is_removed(tmp_path: Path) -> None:
    clip = open_clip(str(video(tmp_path / "a.mp4")))
    left = tmp_path / "p" / f"{IMPORT}x1"
    left.mkdir(parents=True)
    (left / "import.png").write_bytes(b"half of it")
    Project(tmp_path / "p", clip, stand_in()).close()
    assert not left.exists()
