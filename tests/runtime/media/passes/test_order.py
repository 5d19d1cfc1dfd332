"""Frames come in order of time whichever way the passes go, and each pass is exact."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.formats.store import MaskStore
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.source import MaskSource
from mavos_deploy.runtime.media import video as video_module
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.outputs import Outputs, parse_wanted
from mavos_deploy.runtime.media.part import Part
from mavos_deploy.runtime.media.passes import clip as clip_module
from mavos_deploy.runtime.media.passes.directions import Direction, Fuse, Passes
from mavos_deploy.runtime.media.summary import Summary
from mavos_deploy.runtime.media.video import segment_video
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame
from tests.made_clips import synthetic_clip
from tests.made_videos import video
from tests.stand_in_segmenter import Counting, StandInSegmenter, StandInState

COUNT = 16


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_module, "MOST", 5)


@dataclass
class Made:
    """Frames and masks of a made-up clip, forward and reversed in time."""

    folder: Path
    truth: list[Labels]

    def masks(self, name: str, *numbers: int, objects: tuple[int, ...] = (1, 2)) -> Path:
        """A folder with the truth of some frames, of some objects alone."""
        (self.folder / name).mkdir()
        for number in numbers:
            labels = self.truth[number]
            kept = np.where(np.isin(labels, objects), labels, 0).astype(np.uint8)
            write_mask(self.folder / name / f"{number:05d}.png", kept)
        return self.folder / name

    def reversed_masks(self, masks: Path) -> Path:
        """The same masks for the reversed clip."""
        folder = masks.with_name(masks.name + "-reversed")
        folder.mkdir()
        for file in masks.iterdir():
            name = f"{COUNT - 1 - int(file.stem):05d}.png"
            (folder / name).write_bytes(file.read_bytes())
        return folder


@pytest.fixture
def made(tmp_path: Path) -> Made:
    clip = synthetic_clip(64, 96, COUNT, objects=2, seed=5)
    for name, frames in (("frames", clip.frames), ("reversed", clip.frames[::-1])):
        (tmp_path / name).mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / name / f"{number:05d}.png")
    return Made(tmp_path, list(clip.labels))


def _run(
    source: Path, masks: Path, passes: Passes | None, part: Part | None = None
) -> tuple[dict[int, Labels], Summary]:
    """Labels of all frames by number, in the order in which they were written."""
    place = masks.with_name(f"{masks.name}-{source.name}-out")
    results = [parse_wanted(f"{kind}={place}{end}", "x") for kind, end in OUT.items()]
    with open_frames(str(source), part) as frames:
        summary = segment_video(
            StandInSegmenter(),
            frames,
            MaskSource(masks, frames.size, frames.stems),
            Outputs(results, overwrite=True),
            passes=passes,
        )
    with MaskStore(f"{place}.mavosmasks") as store:
        return dict(store.items()), summary


OUT = {"store": ".mavosmasks", "overlay": ".mp4", "palette": ""}
BACKWARD, BOTH = Passes(Direction.BACKWARD), Passes(Direction.BOTH)


@pytest.mark.parametrize("keyframes", [(COUNT - 1,), (9,), (3, 9, 12)], ids=str)
def test_backward_is_forward_through_the_reversed_clip(
    made: Made, keyframes: tuple[int, ...]
) -> None:
    masks = made.masks("masks", *keyframes)
    found, summary = _run(made.folder / "frames", masks, BACKWARD)
    expected, _ = _run(made.folder / "reversed", made.reversed_masks(masks), None)
    assert list(found) == list(range(keyframes[-1] + 1))
    for number, labels in found.items():
        np.testing.assert_array_equal(labels, expected[COUNT - 1 - number])
    assert summary.corrected == [f"{number:05d}" for number in reversed(keyframes[:-1])]
    assert summary.frames == keyframes[-1] + 1


def test_backward_through_a_video_file_is_forward_through_its_frames_reversed(
    made: Made, tmp_path: Path
) -> None:
    path = video(tmp_path / "clip.mp4", count=COUNT, coding={"g": "6", "bf": "2"})
    (tmp_path / "turned").mkdir()
    with open_frames(str(path)) as source:
        for frame in source:
            name = f"turned/{COUNT - 1 - frame.index:05d}.png"
            Image.fromarray(frame.rgb).save(tmp_path / name)
    masks = tmp_path / "masks"
    masks.mkdir()
    labels = np.zeros((48, 64), np.uint8)
    labels[8:30, 10:40] = 1
    write_mask(masks / f"{COUNT - 1:05d}.png", labels)
    found, _ = _run(path, masks, BACKWARD)
    expected, _ = _run(tmp_path / "turned", made.reversed_masks(masks), None)
    assert list(found) == list(range(COUNT))
    for number, labels in found.items():
        np.testing.assert_array_equal(labels, expected[COUNT - 1 - number])


@pytest.mark.parametrize("keyframes", [(0,), (7,), (7, 11), (COUNT - 1,)], ids=str)
def test_both_ways_are_a_backward_and_a_forward_run_in_one(
    made: Made, keyframes: tuple[int, ...]
) -> None:
    masks = made.masks("masks", *keyframes)
    first = made.masks("first", keyframes[0])
    found, summary = _run(made.folder / "frames", masks, BOTH)
    after, _ = _run(made.folder / "frames", made.masks("again", *keyframes), None)
    before, _ = _run(made.folder / "frames", first, BACKWARD)
    assert list(found) == list(range(COUNT))
    for number, labels in found.items():
        expected = before if number <= keyframes[0] else after
        np.testing.assert_array_equal(labels, expected[number])
    assert summary.start == f"{keyframes[0]:05d}"
    assert summary.objects == (1, 2)


def test_a_start_in_the_middle_is_a_run_of_the_frames_from_there(made: Made) -> None:
    masks = made.masks("masks", 6)
    found, _ = _run(made.folder / "frames", masks, None)
    part, _ = _run(made.folder / "frames", masks, None, Part(start=6))
    assert list(found) == list(range(6, COUNT))
    for number, labels in found.items():
        np.testing.assert_array_equal(labels, part[number])


def test_parts_and_steps_keep_their_numbers_backward(made: Made) -> None:
    masks = made.masks("masks", 11)
    found, _ = _run(made.folder / "frames", masks, BACKWARD, Part(start=2, end=12, every=3))
    assert list(found) == [2, 5, 8, 11]


def test_a_pass_backward_from_the_first_frame_has_its_objects(made: Made) -> None:
    found, summary = _run(made.folder / "frames", made.masks("masks", 0), BACKWARD)
    assert list(found) == [0]
    assert summary.objects == (1, 2)


def test_an_object_that_joins_on_the_way_back_is_named(made: Made) -> None:
    masks = made.masks("masks", 12, objects=(1,))
    write_mask(masks / "00004.png", np.where(made.truth[4] == 2, 2, 0).astype(np.uint8))
    found, summary = _run(made.folder / "frames", masks, BACKWARD)
    assert summary.added == {2: "00004"}
    assert 2 not in found[5]
    assert 2 in found[4]


def test_frames_behind_the_last_mask_are_left_out_and_it_is_said(made: Made) -> None:
    masks = MaskSource(made.masks("masks", 2, 9))
    with open_frames(str(made.folder / "frames")) as frames:
        results = [parse_wanted(f"store={made.folder}/o.mavosmasks", "x")]
        summary = segment_video(
            StandInSegmenter(), frames, masks, Outputs(results, False), passes=BACKWARD
        )
    assert summary.frames == 10
    note = "the last mask is that of frame 00009; 6 frames behind it are left out"
    assert any(note in line for line in masks.notes)


class Coarse(StandInSegmenter):
    """Sees frames at half their size."""

    def input_size(self, video: Size) -> Size:
        return video[0] // 2, video[1] // 2


@pytest.mark.parametrize(("tiny", "refused"), [(3, False), (9, True)])
def test_it_is_the_last_mask_that_must_be_large_enough_to_begin_backward(
    made: Made, tiny: int, refused: bool
) -> None:
    masks = made.masks("masks", 3, 9)
    speck = np.zeros_like(made.truth[0])
    speck[1, 1] = 1
    write_mask(masks / f"{tiny:05d}.png", speck)
    wanted = [parse_wanted(f"store={made.folder}/o.mavosmasks", "x")]
    with open_frames(str(made.folder / "frames")) as frames:
        source, outputs = MaskSource(masks), Outputs(wanted, False)
        if refused:
            with pytest.raises(InputError, match="object 1 has 1 pixels, of which 0 are left"):
                segment_video(Coarse(), frames, source, outputs, passes=BACKWARD)
            return
        summary = segment_video(Coarse(), frames, source, outputs, passes=BACKWARD)
    assert summary.frames == 10
    assert any("object 1 has 1 pixels" in note for note in summary.notes)


@pytest.mark.parametrize("keyframes", [(3, 9), (3, COUNT - 1)], ids=str)
def test_every_stream_is_ended(made: Made, keyframes: tuple[int, ...]) -> None:
    segmenter = Counting()
    wanted = [parse_wanted(f"store={made.folder}/o.mavosmasks", "x")]
    with open_frames(str(made.folder / "frames")) as frames:
        source = MaskSource(made.masks("masks", *keyframes))
        passes = Passes(Direction.BOTH, Fuse.NEAREST)
        segment_video(segmenter, frames, source, Outputs(wanted, False), passes=passes)
    assert segmenter.open == 0


def test_the_time_of_passes_before_the_first_result_counts(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = StandInSegmenter()
    clock = SimpleNamespace(perf_counter=lambda: float(segmenter.steps))
    monkeypatch.setattr(video_module, "time", clock)
    wanted = [parse_wanted(f"store={made.folder}/o.mavosmasks", "x")]
    with open_frames(str(made.folder / "frames")) as frames:
        masks = MaskSource(made.masks("masks", 9))
        summary = segment_video(segmenter, frames, masks, Outputs(wanted, False), passes=BACKWARD)
    assert summary.seconds == 9


@pytest.mark.parametrize(("last", "whole"), [(7, False), (COUNT - 1, True)])
def test_sound_behind_the_last_frame_that_is_shown_is_left_out(
    tmp_path: Path, last: int, whole: bool
) -> None:
    path = video(tmp_path / "clip.mp4", count=COUNT)
    labels = np.zeros((48, 64), np.uint8)
    labels[8:30, 10:40] = 1
    (tmp_path / "masks").mkdir()
    write_mask(tmp_path / f"masks/{last:05d}.png", labels)
    outputs = Outputs([parse_wanted(f"store={tmp_path}/o.mavosmasks", "x")], False)
    with open_frames(str(path)) as frames:
        masks = MaskSource(tmp_path / "masks")
        segment_video(StandInSegmenter(), frames, masks, outputs, passes=BACKWARD)
        assert frames.original.ended == whole


def test_an_error_in_the_first_pass_leaves_no_results(made: Made) -> None:
    class Failing(StandInSegmenter):
        def step(
            self, frame: RgbFrame, state: StandInState, annotation: Labels | None = None
        ) -> NoReturn:
            raise InputError("no more")

    masks = MaskSource(made.masks("masks", 9))
    wanted = [parse_wanted(f"{kind}={made.folder}/o{end}", "x") for kind, end in OUT.items()]
    with open_frames(str(made.folder / "frames")) as frames, pytest.raises(InputError) as failure:
        segment_video(Failing(), frames, masks, Outputs(wanted, False), passes=BOTH)
    assert str(failure.value) == "no more"
    left = {file.name for file in made.folder.iterdir()} - {"frames", "reversed", "masks"}
    assert left <= {"o"}
    assert not any(file.suffix == ".png" for file in (made.folder / "o").iterdir())


def test_between_keyframes_the_pass_of_the_nearer_one_counts(made: Made) -> None:
    masks = made.masks("masks", 2, 7, 12)
    found, summary = _run(made.folder / "frames", masks, Passes(Direction.BOTH, Fuse.NEAREST))
    after, _ = _run(made.folder / "frames", made.masks("again", 2, 7, 12), None)
    before = {
        number: _run(made.folder / "frames", made.masks(f"to{number}", number), BACKWARD)[0]
        for number in (2, 7, 12)
    }
    assert list(found) == list(range(COUNT))
    sources = {2: (0, 1), 7: (5, 6), 12: (10, 11)}
    for number, labels in found.items():
        expected = next((before[k] for k, near in sources.items() if number in near), after)
        np.testing.assert_array_equal(labels, expected[number])
    for number in (2, 7, 12):
        np.testing.assert_array_equal(found[number], made.truth[number])
    assert summary.frames == COUNT
    assert summary.corrected == ["00007", "00012"]


def test_keyframes_side_by_side_are_kept(made: Made) -> None:
    masks = made.masks("masks", 0, 1, 2, COUNT - 1)
    found, _ = _run(made.folder / "frames", masks, Passes(Direction.BOTH, Fuse.NEAREST))
    assert list(found) == list(range(COUNT))
    for number in (0, 1, 2, COUNT - 1):
        np.testing.assert_array_equal(found[number], made.truth[number])


@pytest.mark.parametrize("known", [(1, 2), (2, 1)])
def test_an_object_that_only_one_keyframe_knows_is_kept(made: Made, known: tuple[int, int]) -> None:
    masks = made.masks("masks", 3, objects=known[:1])
    other = np.where(made.truth[10] == known[1], known[1], 0).astype(np.uint8)
    write_mask(masks / "00010.png", other)
    found, _ = _run(made.folder / "frames", masks, Passes(Direction.BOTH, Fuse.NEAREST))
    for number in range(4, 10):
        assert set(np.unique(found[number])) == {0, 1, 2}


def test_blend_without_logits_is_refused(made: Made) -> None:
    with pytest.raises(InputError, match="blend needs the network's logits, which a server keeps"):
        _run(made.folder / "frames", made.masks("m", 0), Passes(Direction.BOTH, Fuse.BLEND))


def test_an_object_that_the_later_keyframe_brings_joins_where_it_is_first_seen(made: Made) -> None:
    masks = made.masks("masks", 3, objects=(1,))
    other = np.where(made.truth[10] == 2, 2, 0).astype(np.uint8)
    write_mask(masks / "00010.png", other)
    found, summary = _run(made.folder / "frames", masks, Passes(Direction.BOTH, Fuse.NEAREST))
    assert 2 not in found[3]
    assert 2 in found[4]
    assert summary.added == {2: "00004"}
    assert summary.objects == (1, 2)


def test_an_object_that_is_in_no_frame_between_joins_with_its_keyframe(made: Made) -> None:
    class Forgetting(StandInSegmenter):
        """Loses object 2 unless it is given."""

        def step(
            self, frame: RgbFrame, state: StandInState, annotation: Labels | None = None
        ) -> tuple[Labels, StandInState]:
            labels, following = super().step(frame, state, annotation)
            if annotation is None:
                labels = np.where(labels == 2, 0, labels).astype(np.uint8)
            return labels, replace(following, labels=labels)

    masks = made.masks("masks", 3, objects=(1,))
    write_mask(masks / "00010.png", np.where(made.truth[10] == 2, 2, 0).astype(np.uint8))
    wanted = [parse_wanted(f"store={made.folder}/o.mavosmasks", "x")]
    with open_frames(str(made.folder / "frames")) as frames:
        passes = Passes(Direction.BOTH, Fuse.NEAREST)
        outputs = Outputs(wanted, False)
        summary = segment_video(Forgetting(), frames, MaskSource(masks), outputs, passes=passes)
    assert summary.added == {2: "00010"}


@pytest.mark.parametrize(("keyframes", "said"), [((4,), True), ((4, 9), False)], ids=str)
def test_one_keyframe_has_nothing_to_fuse_and_it_is_said(
    made: Made, keyframes: tuple[int, ...], said: bool
) -> None:
    masks = MaskSource(made.masks("masks", *keyframes))
    wanted = [parse_wanted(f"store={made.folder}/o.mavosmasks", "x")]
    with open_frames(str(made.folder / "frames")) as frames:
        passes = Passes(Direction.BOTH, Fuse.NEAREST)
        segment_video(StandInSegmenter(), frames, masks, Outputs(wanted, False), passes=passes)
    note = "frame 00004 alone has a mask with an object, so --fuse nearest has nothing to fuse"
    assert any(note in line for line in masks.notes) == said
