"""Sequences are read by one set of rules, and a full disk is no fault of a sequence."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.prediction import (
    OutputError,
    SequenceReader,
    segment_sequence,
    vanishing,
)
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from tests.made_sequences import write_clips

SIZE = (64, 96)


@pytest.fixture
def sequence(tmp_path: Path) -> VideoSequence:
    """Four frames; object 1 starts in the second one, object 2 in the third one."""
    (found,) = open_dataset(write_clips(tmp_path / "DAVIS", ["a"], SIZE, 4)).sequences
    for stem, ids in zip(found.annotations, ([], [1], [1, 2], [1, 2]), strict=True):
        labels = np.zeros(SIZE, np.uint8)
        for object_id in ids:
            labels[10 * object_id : 10 * object_id + 5] = object_id
        Image.fromarray(labels).save(found.annotations[stem])
    return found


def any_size(own: tuple[int, int]) -> None:
    del own


def test_frames_come_with_the_labels_of_the_objects_that_start_in_them(
    sequence: VideoSequence,
) -> None:
    seen: list[None] = []
    reader = SequenceReader(sequence, any_size, on_picture=lambda: seen.append(None))
    frames = list(reader)
    assert len(seen) == 4
    assert [frame.stem for frame in frames] == ["00001", "00002", "00003"]
    assert [frame.starts for frame in frames] == [(1,), (2,), ()]
    assert [frame.follows for frame in frames] == [(), (1,), (1, 2)]
    assert [None if f.given is None else set(np.unique(f.given)) for f in frames] == [
        {0, 1},
        {0, 2},
        None,
    ]
    assert {frame.rgb.shape for frame in frames} == {(*SIZE, 3)}
    assert not reader.problems


@pytest.mark.parametrize(
    ("stem", "size", "lost", "said"),
    [
        pytest.param("00001", None, [1], "frame left out, and with it object 1 (", id="damaged"),
        pytest.param("00001", (32, 48), [1], "32x48 pixels, but its annotation has 64", id="mask"),
        pytest.param("00003", (32, 48), [], "but earlier frames have 64x96", id="other-size"),
        pytest.param("00003", (10, 20), [], "but earlier frames have 64x96", id="before-the-fit"),
    ],
)
def test_a_picture_that_cannot_be_used_is_left_out_or_raised(
    sequence: VideoSequence, stem: str, size: tuple[int, int] | None, lost: list[int], said: str
) -> None:
    picture = sequence.images[stem]
    if size is None:
        picture.write_bytes(b"")
    else:
        Image.new("RGB", size[::-1]).save(picture)
    reader = SequenceReader(sequence, any_size)
    assert stem not in [frame.stem for frame in reader]
    assert (reader.skipped, reader.lost) == ([stem], lost)
    assert said in reader.problems[0].found
    with pytest.raises(InputError, match=f"{stem}.jpg"):
        list(SequenceReader(sequence, any_size, strict=True))


def test_a_size_that_does_not_fit_is_left_out_or_raised(sequence: VideoSequence) -> None:
    def fits(own: tuple[int, int]) -> None:
        raise InputError(f"{own[0]} is too high")

    reader = SequenceReader(sequence, fits)
    assert not list(reader)
    assert reader.skipped == ["00001", "00002"]  # the last one has nothing to follow
    with pytest.raises(InputError, match=r"^64 is too high$"):
        list(SequenceReader(sequence, fits, strict=True))


def test_a_damaged_annotation_is_a_problem_of_the_truth_or_raised(sequence: VideoSequence) -> None:
    sequence.annotations["00002"].write_bytes(b"")
    reader = SequenceReader(sequence, any_size)
    assert [frame.starts for frame in reader] == [(1,), (), (2,)]
    assert "unusable annotation" in reader.truth.problems[0].found
    with pytest.raises(InputError, match="a 00002: unusable annotation"):
        list(SequenceReader(sequence, any_size, strict=True))


def test_a_mask_that_cannot_be_written_is_no_fault_of_the_sequence(
    sequence: VideoSequence, tiny: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    segmenter: Any = SimpleNamespace(bundle=tiny, start=lambda rgb, labels: None)
    with pytest.raises(OutputError, match="a part of the path is a file"):
        segment_sequence(
            segmenter, sequence, tmp_path / "file", stretch=True, on_frame=lambda: None
        )


def test_it_is_said_how_annotations_were_read(
    sequence: VideoSequence, tiny: Bundle, tmp_path: Path
) -> None:
    for path in sequence.annotations.values():
        Image.fromarray((np.asarray(Image.open(path)) == 1).astype(np.uint8) * 255).save(path)
    state = SimpleNamespace(confidence={})
    segmenter: Any = SimpleNamespace(
        bundle=tiny,
        start=lambda rgb, labels: state,
        step=lambda rgb, state, given: (np.ones(rgb.shape[:2], np.uint8), state),
    )
    predicted = segment_sequence(segmenter, sequence, tmp_path, stretch=True, on_frame=lambda: None)
    assert predicted.frames == ("00001", "00002", "00003")
    assert predicted.notes == ("annotations are 0 and 255: object 1",)


@pytest.mark.parametrize("stretch", [True, False])
def test_a_picture_too_small_for_a_bundle_of_any_size_is_left_out(
    tiny: Bundle, tmp_path: Path, stretch: bool
) -> None:
    (sequence,) = open_dataset(write_clips(tmp_path / "DAVIS", ["a"], SIZE, 2)).sequences
    for folder, kind in ((sequence.images, "RGB"), (sequence.annotations, "L")):
        for path in folder.values():
            Image.fromarray(np.ones((7, 96), np.uint8)).convert(kind).save(path)
    dynamic: Any = SimpleNamespace(
        bundle=replace(tiny, manifest=replace(tiny.manifest, dynamic=True))
    )
    predicted = segment_sequence(
        dynamic, sequence, tmp_path, stretch=stretch, on_frame=lambda: None
    )
    assert predicted.skipped == ("00000",)
    assert predicted.lost == (1,)
    assert "a side is shorter than 8 pixels" in predicted.problems[0].found


def test_objects_of_which_the_network_sees_nothing_are_named() -> None:
    labels = np.zeros((480, 854), np.uint8)
    labels[100:200, 100:200] = 1
    labels[301, 301] = 2
    (problem,) = vanishing("a", "00003", labels, (241, 433))
    assert str(problem).startswith("a 00003: object 2 has 1 pixels, of which 0 are left")
    assert "mavos-export --size" in problem.found
    assert vanishing("a", "00003", labels, (481, 849)) == []


def test_how_pictures_are_turned_is_said_once(sequence: VideoSequence) -> None:
    stored = Image.new("RGB", SIZE)  # 96 rows and 64 columns, shown with 64 rows
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for picture in sequence.images.values():
        stored.save(picture, exif=exif)
    reader = SequenceReader(sequence, any_size)
    assert {frame.rgb.shape for frame in reader} == {(*SIZE, 3)}
    assert reader.truth.notes == [
        "images are shown turned by 90 degrees to the right, as their EXIF blocks say, and their "
        "masks are, too"
    ]
