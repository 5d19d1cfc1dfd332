"""What any writer writes, its reader reads as it was, bit for bit; and so does every pair."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from mavos_deploy.runtime.masks.label_maps import LabelMaps
from mavos_deploy.runtime.masks.opening import open_label_maps
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.media.convert import Conversion, convert
from mavos_deploy.runtime.media.outputs import Outputs, parse_wanted
from mavos_deploy.runtime.media.results import RESULTS, Target, Trait
from mavos_deploy.runtime.objects import Labels
from tests.made_clips import synthetic_clip
from tests.made_labels import videos

KINDS = [name for name, kind in RESULTS.items() if kind.masks]
NAMES = {1: "cat", 3: "dog"}
each_kind = pytest.mark.parametrize("kind", KINDS)


def _write(folder: Path, kind: str, frames: dict[str, Labels], names: dict[int, str]) -> Path:
    path = folder / f"masks{RESULTS[kind].suffix if kind not in _FOLDERS else ''}"
    outputs = Outputs([parse_wanted(f"{kind}={path}", "v")], overwrite=False)
    with outputs.open(Target(Legend("v", names))) as files:
        for number, (stem, labels) in enumerate(frames.items()):
            files.write(LabelledFrame(number, stem, labels))
    return path


_FOLDERS = ("palette", "binary", "labelme")


def _convert(source: Path, kind: str, path: Path) -> Conversion:
    outputs = Outputs([parse_wanted(f"{kind}={path}", "v")], overwrite=False)
    return convert(open_label_maps(source), "v", outputs, lambda done: None)


def _labels(maps: LabelMaps) -> dict[str, Labels]:
    return {stem: read() for stem, read in maps.frames.items()}


def _assert_equal(found: dict[str, Labels], expected: dict[str, Labels]) -> None:
    assert list(found) == list(expected)
    for stem, labels in expected.items():
        assert found[stem].dtype == np.uint8
        assert np.array_equal(found[stem], labels), stem


@each_kind
@settings(max_examples=25, deadline=None)
@given(videos())
def test_random_videos_come_back_as_they_were(
    kind: str, tmp_path_factory: pytest.TempPathFactory, labels: list[Labels]
) -> None:
    labels[0].flat[0] = 1  # a file without any object says nothing
    frames = {f"{number:05d}": one for number, one in enumerate(labels)}
    path = _write(tmp_path_factory.mktemp("masks"), kind, frames, {})
    if Trait.EMPTY not in RESULTS[kind].holds:
        frames = {stem: one for stem, one in frames.items() if one.any()}
    _assert_equal(_labels(open_label_maps(path)), frames)


@pytest.fixture(scope="module")
def video() -> dict[str, Labels]:
    clip = synthetic_clip(65, 97, 3, objects=2, late_objects=1, late_frame=1, seed=2)
    return {f"{number:05d}": labels for number, labels in enumerate(clip.labels)}


@pytest.mark.parametrize("target", KINDS)
@each_kind
def test_every_format_becomes_every_other(
    kind: str, target: str, tmp_path: Path, video: dict[str, Labels]
) -> None:
    source = _write(tmp_path, kind, video, NAMES)
    path = tmp_path / f"other{RESULTS[target].suffix if target not in _FOLDERS else ''}"
    done = _convert(source, target, path)
    assert (done.frames, done.objects) == (3, (1, 2, 3))
    read = open_label_maps(path)
    _assert_equal(_labels(read), video)
    held = RESULTS[kind].holds, RESULTS[target].holds
    if all(Trait.NAMES in holds for holds in held):
        assert {i: name for i, name in read.names.items() if name != "object"} == NAMES
        assert not done.lost
    elif Trait.NAMES in held[0]:
        assert done.lost == (f"{target} holds no class names: 2 are left out",)


def _palette_pngs(folder: Path, frames: dict[str, Labels], palette: bytes | None = None) -> Path:
    outputs = Outputs([parse_wanted(f"palette={folder}", "v")], overwrite=False)
    with outputs.open(Target(Legend("v", palette=palette))) as files:
        for number, (stem, labels) in enumerate(frames.items()):
            files.write(LabelledFrame(number, stem, labels))
    return folder


def test_everything_that_a_format_cannot_hold_is_counted(tmp_path: Path) -> None:
    labels = np.zeros((4, 5), np.uint8)
    labels[1, 1:3] = 255
    labels[2, 2] = 7
    frames = {"frame_3": labels, "frame_4": np.zeros((4, 5), np.uint8), "frame_9": labels}
    palette = bytes([0] * 21 + [1, 2, 3])
    source = _palette_pngs(tmp_path / "in", frames, palette)
    done = _convert(source, "mots", tmp_path / "out.txt")
    assert done.lost == (
        "mots holds no void pixels (255): 4 are background now",
        "mots holds no names of frames: 3 are replaced by the frames' numbers",
        "mots holds no frames without an object: 1 are left out",
        "mots holds no colours of objects: 1 are those of the standard palette now",
    )
    assert list(open_label_maps(tmp_path / "out.txt").frames) == ["00003", "00009"]
    assert not _convert(source, "store", tmp_path / "out.mavosmasks").lost
    read = open_label_maps(tmp_path / "out.mavosmasks")
    _assert_equal(_labels(read), frames)
    assert (read.palette() or b"")[:24] == palette


def test_frames_of_two_sizes_are_refused_where_a_format_has_one(tmp_path: Path) -> None:
    frames = {"00000": np.ones((4, 5), np.uint8), "00001": np.ones((5, 5), np.uint8)}
    source = _palette_pngs(tmp_path / "in", frames)
    with pytest.raises(Exception, match="YouTube-VIS holds videos of one size"):
        _convert(source, "youtube-vis", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    assert not _convert(source, "coco", tmp_path / "out.json").lost
    _assert_equal(_labels(open_label_maps(tmp_path / "out.json")), frames)


def test_names_without_a_number_are_replaced_by_their_places_and_it_is_said(tmp_path: Path) -> None:
    frames = {stem: np.ones((4, 6), np.uint8) for stem in ("b", "c")}
    done = _convert(_write(tmp_path, "coco", frames, {}), "mots", tmp_path / "a.txt")
    assert "2 are replaced by their places from 0 on, as no number" in "".join(done.lost)


@pytest.mark.parametrize("kind", ["palette", "binary", "coco", "store"])
def test_a_frame_without_a_name_is_not_written_hidden(kind: str, tmp_path: Path) -> None:
    both = np.repeat(np.array([[1, 2]], np.uint8), 3, axis=1).repeat(4, axis=0)
    masks = {name: np.where(both == number, 255, 0) for number, name in enumerate("ab", 1)}
    _palette_pngs(tmp_path / "in", {name: one.astype(np.uint8) for name, one in masks.items()})
    path = tmp_path / f"out{RESULTS[kind].suffix if kind not in _FOLDERS else ''}"
    _convert(tmp_path / "in", kind, path)
    _assert_equal(_labels(open_label_maps(path)), {"first": both})
