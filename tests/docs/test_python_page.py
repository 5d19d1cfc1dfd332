"""The programs of docs/python.md run as they stand, with a segmenter that needs no network."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.masks.formats.store import StoreWriter
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.media.encoding import VideoWriter
from tests.made_clips import synthetic_clip
from tests.stand_in_segmenter import StandInSegmenter

PAGE = (Path(__file__).resolve().parents[2] / "docs/python.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^## (.*?)\n.*?^```python\n(.*?)^```", PAGE, re.M | re.S))
KEYFRAMES = (Path(__file__).resolve().parents[2] / "docs/keyframes.md").read_text(encoding="utf-8")
FRAMES = 7
CLIP = synthetic_clip(64, 96, FRAMES, objects=2, seed=5)

Program = Callable[[str], str]


@pytest.fixture
def program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Program:
    """Runs the program below a heading in a folder with a clip and its first mask."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Segmenter, "open", lambda path: StandInSegmenter())
    write_mask(tmp_path / "first.png", CLIP.labels[0])
    _encode(tmp_path / "clip.mp4")

    def run(heading: str) -> str:
        exec(compile(PROGRAMS[heading], f"docs/python.md: {heading}", "exec"), {})
        return capsys.readouterr().out

    return run


def _encode(path: Path) -> None:
    with VideoWriter(path, (64, 96)) as video:
        for frame in CLIP.frames:
            video.write(frame)


def _pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgba") for frame in container.decode(video=0)]


def test_faces_are_blurred_in_each_video_that_can_be_used(program: Program, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        _encode(tmp_path / f"videos/{name}.mp4")
        write_mask(tmp_path / f"videos/{name}.png", CLIP.labels[0])
    (tmp_path / "videos/broken.mp4").write_bytes(b"no video")
    said = program("Blur faces in a folder of videos")
    assert "videos/broken.mp4: videos/broken.mp4 cannot be opened" in said
    for name in ("a", "b"):
        assert f"blurred/{name}.mp4: {FRAMES} frames, objects (1, 2)" in said
        first = _pictures(tmp_path / f"blurred/{name}.mp4")[0][..., :3].astype(int)
        changed = np.abs(first - CLIP.frames[0]).mean(2)
        objects = CLIP.labels[0] > 0
        assert changed[objects].mean() > 2 * changed[~objects].mean()


def test_the_page_on_keyframes_goes_both_ways_from_one_state(
    program: Program, tmp_path: Path
) -> None:
    (tmp_path / "masks").mkdir()
    write_mask(tmp_path / "masks/00004.png", CLIP.labels[4])
    (text,) = re.findall(r"^```python\n(.*?)^```", KEYFRAMES, re.M | re.S)
    names: dict[str, dict[int, np.ndarray]] = {}
    exec(compile(text, "docs/keyframes.md", "exec"), names)
    assert sorted(names["found"]) == list(range(FRAMES))
    for labels in names["found"].values():
        assert set(np.unique(labels)) == {0, 1, 2}


def test_every_fifth_frame_is_a_picture_with_annotations(program: Program, tmp_path: Path) -> None:
    program("COCO JSON for training")
    document = json.loads((tmp_path / "train.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["00000.jpg", "00005.jpg"]
    assert {category["name"] for category in document["categories"]} == {"cat", "dog"}
    assert len(document["annotations"]) == 4
    for image in document["images"]:
        picture = Image.open(tmp_path / "train" / image["file_name"])
        assert picture.size == (image["width"], image["height"])


def test_one_object_alone_is_in_the_matte_and_opaque(program: Program, tmp_path: Path) -> None:
    program("A matte for a compositor")
    matte = _pictures(tmp_path / "matte.mp4")
    alpha = [picture[..., 3] for picture in _pictures(tmp_path / "actor.mov")]
    assert len(matte) == len(alpha) == FRAMES
    actor = CLIP.labels[0] == 2
    assert (matte[0][actor, 0] > 128).mean() > 0.95
    assert (matte[0][~actor, 0] > 128).mean() < 0.05
    assert np.array_equal(alpha[0] > 128, actor)


def test_corrections_override_what_was_found(program: Program, tmp_path: Path) -> None:
    (tmp_path / "corrected").mkdir()
    corrected = np.zeros((64, 96), np.uint8)
    corrected[:10, :20] = 2
    write_mask(tmp_path / "corrected/00001.png", CLIP.labels[1])
    write_mask(tmp_path / "corrected/00004.png", corrected)
    StandInSegmenter.save = lambda self, state, path: Path(path).touch()  # type: ignore[attr-defined]
    try:
        program("Correct and go on")
    finally:
        del StandInSegmenter.save  # type: ignore[attr-defined]
    written = {f.stem: np.array(Image.open(f)) for f in (tmp_path / "masks").iterdir()}
    assert sorted(written) == [f"{number:05d}" for number in range(1, FRAMES)]
    assert np.array_equal(written["00001"], CLIP.labels[1])
    assert (written["00004"][:10, :20] == 2).all()
    assert (tmp_path / "clip.safetensors").exists()


def test_a_peer_is_scored_beside_ours(program: Program, tmp_path: Path) -> None:
    for name in ("truth", "peer"):
        (tmp_path / name).mkdir()
    with StoreWriter(tmp_path / "ours.mavosmasks", Legend()) as ours:
        for number, labels in enumerate(CLIP.labels):
            stem = f"{number:05d}"
            write_mask(tmp_path / f"truth/{stem}.png", labels)
            ours.write(LabelledFrame(number, stem, labels))
            if number != 3:
                write_mask(tmp_path / f"peer/{stem}.png", np.roll(labels, 4, 1))
    said = program("Score a peer")
    assert "ours.mavosmasks J&F 1.000 {1: 1.0, 2: 1.0}" in said
    assert "peer lacks 1 frames, which count as empty" in said
    peer = re.search(r"^peer J&F (0\.\d+)", said, re.M)
    assert peer is not None
    assert 0.05 < float(peer[1]) < 0.8


def test_every_program_of_the_page_is_run_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", PAGE, re.M)
    assert len(headings) == 5
    for heading in headings:
        assert f'program("{heading}")' in source
