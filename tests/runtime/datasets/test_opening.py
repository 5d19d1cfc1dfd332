"""Sequences, frames and spans are found in every layout, and what is wrong is named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.datasets.annotations import Truth
from mavos_deploy.runtime.datasets.opening import detect_layout, open_dataset
from mavos_deploy.runtime.datasets.sequences import Layout, VideoSequence
from mavos_deploy.runtime.media.folders import natural_order
from tests import made_sequences
from tests.annotation_files import segmentation
from tests.made_sequences import write_frames, write_masks

SIZE = (12, 16)


def masks(count: int, *objects: tuple[int, int]) -> np.ndarray:
    """Label maps in which each (id, first frame) has a pixel of its own from that frame on."""
    labels = np.zeros((count, *SIZE), np.uint8)
    for place, (object_id, first) in enumerate(objects):
        labels[first:, 2, place] = object_id
    return labels


def davis(root: Path) -> Path:
    made = {"b": made_sequences.lost_object(), "a": made_sequences.lost_object()}
    return made_sequences.write_davis(root, made)[0]


def youtube_vos(root: Path) -> Path:
    stems = [f"{index:05d}" for index in range(0, 30, 5)]
    write_frames(root / "valid/JPEGImages/0a1", stems, SIZE)
    write_masks(root / "valid/Annotations/0a1", stems[1:], masks(5, (1, 0), (4, 2)))
    meta = {
        "videos": {
            "0a1": {
                "objects": {
                    "1": {"category": "cat", "frames": stems[1:5]},
                    "4": {"category": "dog", "frames": stems[3:]},
                }
            }
        }
    }
    (root / "valid/meta.json").write_text(json.dumps(meta))
    return root


def lvos(root: Path) -> Path:
    stems = [f"{index:08d}" for index in range(1, 31, 5)]
    write_frames(root / "val/JPEGImages/vid", stems, SIZE)
    write_masks(root / "val/Annotations/vid", stems, masks(6, (1, 0), (2, 1)))
    objects = {
        "1": {"frame_range": {"start": "1", "end": "26", "frame_nums": "6"}},
        "2": {"frame_range": {"start": "6", "end": "21", "frame_nums": "4"}},
    }
    (root / "val/val_meta.json").write_text(json.dumps({"videos": {"vid": {"objects": objects}}}))
    (root / "val/val_expression_meta.json").write_text("{}")
    return root


def long_time_video(root: Path) -> Path:
    stems = [f"{index:05d}" for index in range(20)]
    write_frames(root / "JPEGImages/rat", stems, SIZE)
    write_masks(root / "Annotations/rat", stems[::6], masks(4, (1, 0)))
    return root


def davis_2016(root: Path) -> Path:
    """Lists of paths, and masks of 0 and 255, one of them with an alpha channel."""
    stems, lines = [f"{index:05d}" for index in range(6)], []
    for name in ("b", "a"):
        write_frames(root / "JPEGImages/480p" / name, stems, SIZE)
        folder = root / "Annotations/480p" / name
        folder.mkdir(parents=True)
        for stem, mask in zip(stems, masks(6, (1, 0)), strict=True):
            Image.fromarray(mask * 255).convert("LA" if stem == "00003" else "L").save(
                folder / f"{stem}.png"
            )
            lines.append(f"/JPEGImages/480p/{name}/{stem}.jpg /Annotations/480p/{name}/{stem}.png ")
    (root / "ImageSets/480p").mkdir(parents=True)
    (root / "ImageSets/480p/val.txt").write_text("\n".join(lines))
    return root


def mose(root: Path) -> Path:
    stems = [f"{index:05d}" for index in range(5)]
    for split in ("train", "valid"):
        write_frames(root / split / "JPEGImages/0a1", stems, SIZE)
        write_masks(root / split / "Annotations/0a1", stems, masks(5, (1, 0), (2, 3)))
    return root


def visor(root: Path) -> Path:
    stems = [f"P01_01_frame_{140 * index:010d}" for index in range(4)]
    write_frames(root / "JPEGImages/480p/P01_01_seq_00001", stems, SIZE)
    write_masks(root / "Annotations/480p/P01_01_seq_00001", stems, masks(4, (1, 0)))
    (root / "ImageSets/2022").mkdir(parents=True)
    (root / "ImageSets/2022/val.txt").write_text("P01_01_seq_00001\n")
    return root


def burst(root: Path) -> Path:
    """Three of six frames have masks; object 2 joins in the second of them."""
    write_frames(root / "frames/val/AVA/clip", [f"frame{index:04d}" for index in range(6)], SIZE)
    entry = {
        "dataset": "AVA",
        "seq_name": "clip",
        "height": SIZE[0],
        "width": SIZE[1],
        "annotated_image_paths": [f"frame{index:04d}.jpg" for index in (1, 3, 4)],
        "segmentations": [
            {
                str(number): {"rle": segmentation(labels, number, True)["counts"], "is_gt": True}
                for number in (1, 2)
                if number in labels
            }
            for labels in masks(3, (1, 0), (2, 1))
        ],
    }
    (root / "val").mkdir()
    (root / "val/all_classes.json").write_text(json.dumps({"sequences": [entry], "categories": []}))
    return root


MAKERS: dict[Layout, Callable[[Path], Path]] = {
    Layout.DAVIS: davis,
    Layout.YOUTUBE_VOS: youtube_vos,
    Layout.LVOS: lvos,
    Layout.LONG_TIME_VIDEO: long_time_video,
    Layout.DAVIS_2016: davis_2016,
    Layout.MOSE: mose,
    Layout.VISOR: visor,
    Layout.BURST: burst,
}
each_layout = pytest.mark.parametrize("layout", Layout, ids=lambda layout: layout.value)


def only(path: Path, split: str = "val") -> VideoSequence:
    (sequence,) = open_dataset(path, split=split).sequences
    return sequence


@each_layout
def test_the_layout_is_found_out(tmp_path: Path, layout: Layout) -> None:
    path = MAKERS[layout](tmp_path)
    assert detect_layout(path) is layout
    dataset = open_dataset(path)
    assert dataset.layout is layout
    assert dataset.problems == ()
    assert not dataset.reference_only


def test_davis_2016_has_the_sequences_of_its_list_of_paths(tmp_path: Path) -> None:
    dataset = open_dataset(davis_2016(tmp_path))
    assert [sequence.name for sequence in dataset.sequences] == ["b", "a"]
    sequence = dataset.sequences[0]
    assert sequence.scored(1, "00000") == ("00001", "00002", "00003", "00004")
    truth = Truth(sequence)
    for stem, mask in zip(sequence.expected, masks(6, (1, 0)), strict=True):
        labels, _ = truth.read(stem)
        assert labels is not None
        assert np.array_equal(labels, mask)
    assert truth.close() == []


@pytest.mark.parametrize("maker", [davis_2016, mose, visor])
def test_the_only_split_is_taken_for_the_default_one_and_it_is_said(
    tmp_path: Path, maker: Callable[[Path], Path]
) -> None:
    root = maker(tmp_path)
    for file in root.glob("ImageSets/*/val.txt"):
        file.rename(file.with_name("train.txt"))
    shutil.rmtree(root / "valid", ignore_errors=True)
    dataset = open_dataset(root)
    assert dataset.split == "train"
    assert dataset.notes == (f"{root} has no split val; train is its only one, and is taken",)
    assert open_dataset(root, split="train").notes == ()
    with pytest.raises(InputError):
        open_dataset(root, split="test")
    with pytest.raises(InputError, match="has no split val; it has train"):
        open_dataset(root, split="val")


def test_mose_has_a_folder_for_each_split(tmp_path: Path) -> None:
    sequence = only(mose(tmp_path))
    assert sequence.images["00000"] == tmp_path / "valid/JPEGImages/0a1/00000.jpg"
    assert only(tmp_path, "train").images["00000"].parts[-4] == "train"
    assert sequence.starting("00003", [0, 1, 2], known=[1]) == [2]


def test_burst_has_masks_of_some_frames_in_one_file(tmp_path: Path) -> None:
    sequence = only(burst(tmp_path))
    assert sequence.name == "AVA_clip"
    assert list(sequence.images) == [f"frame{index:04d}" for index in range(1, 5)]
    assert sequence.expected == ("frame0001", "frame0003", "frame0004")
    assert sequence.scored(1, "frame0001") == ("frame0003", "frame0004")
    truth = Truth(sequence)
    for stem, mask in zip(sequence.expected, masks(3, (1, 0), (2, 1)), strict=True):
        labels, new = truth.read(stem)
        assert labels is not None
        assert np.array_equal(labels, mask)
        assert new == {"frame0001": [1], "frame0003": [2]}.get(stem, [])
    assert truth.close() == []


def test_burst_with_first_masks_only_scores_nothing(tmp_path: Path) -> None:
    burst(tmp_path)
    file = tmp_path / "val/all_classes.json"
    data = json.loads(file.read_text())
    for masks_of_frame in data["sequences"][0]["segmentations"][1:]:
        masks_of_frame.pop("1", None)
    data["sequences"][0]["segmentations"][2] = {}
    file.with_name("first_frame_annotations.json").write_text(json.dumps(data))
    file.unlink()
    dataset = open_dataset(tmp_path)
    assert dataset.layout is Layout.BURST
    assert dataset.reference_only


def with_names(
    root: Path, layout: Layout, stems: list[str], annotated: list[str], frames: list[str]
) -> None:
    """Write a data set of one object whose pictures have these names."""
    folder = root / {Layout.YOUTUBE_VOS: "valid"}.get(layout, ".")
    images, annotations = folder / "JPEGImages", folder / "Annotations"
    if layout is Layout.DAVIS:
        images, annotations = images / "480p", annotations / "480p"
        (root / "ImageSets/2017").mkdir(parents=True)
        (root / "ImageSets/2017/val.txt").write_text("a\n")
    write_frames(images / "a", stems, SIZE)
    write_masks(annotations / "a", annotated, masks(len(annotated), (1, 0)))
    if layout is Layout.YOUTUBE_VOS:
        meta = {"videos": {"a": {"objects": {"1": {"category": "cat", "frames": frames}}}}}
        (folder / "meta.json").write_text(json.dumps(meta))


BY_TIME = ["0.04", "0.08", "0.12", "0.2", "0.24"]
BELOW_ZERO = ["f_-10", "f_-2", "f_-1", "f_0", "f_3"]


@pytest.mark.parametrize("stems", [BY_TIME, BELOW_ZERO])
@pytest.mark.parametrize("layout", [Layout.DAVIS, Layout.YOUTUBE_VOS])
def test_frames_are_ordered_by_time_as_in_a_folder(
    tmp_path: Path, layout: Layout, stems: list[str]
) -> None:
    with_names(tmp_path, layout, stems, stems, stems[::-1])
    sequence = only(tmp_path)
    assert list(sequence.images) == stems
    assert list(sequence.annotations) == stems
    assert list(sequence.expected) == stems
    assert sequence.scored(1, stems[0])[:3] == tuple(stems[1:4])


@pytest.mark.parametrize("stems", [BY_TIME, BELOW_ZERO])
@pytest.mark.parametrize("layout", [Layout.LONG_TIME_VIDEO, Layout.YOUTUBE_VOS])
def test_annotations_of_some_frames_are_in_the_order_of_all(
    tmp_path: Path, layout: Layout, stems: list[str]
) -> None:
    some = stems[1:3] + stems[4:]  # which by themselves would be ordered otherwise
    with_names(tmp_path, layout, stems, some, some[::-1])
    dataset = open_dataset(tmp_path, layout=layout)
    (sequence,) = dataset.sequences
    assert dataset.problems == ()
    assert list(sequence.annotations) == some
    assert list(sequence.expected) == some
    assert [stem for stem in sequence.images if stem in some] == some


def test_a_name_without_a_picture_changes_no_order(tmp_path: Path) -> None:
    with_names(tmp_path, Layout.YOUTUBE_VOS, BY_TIME, BY_TIME, ["other", *BY_TIME])
    dataset = open_dataset(tmp_path)
    (sequence,) = dataset.sequences
    assert list(sequence.images) == BY_TIME
    assert list(sequence.expected) == [*BY_TIME, "other"]
    assert "without a picture: other" in dataset.problems[0].found


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    with_names(tmp_path, Layout.YOUTUBE_VOS, BY_TIME, BY_TIME, ["", *BY_TIME])
    with pytest.raises(InputError, match="an object's `frames` are"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("segmentations", [], "0 masks of 3 pictures"),
        ("seq_name", "../clip", "is not the name of a sequence's folder"),
        ("annotated_image_paths", ["a.jpg", "b.jpg", "c.jpg"], "pictures are missing: a, b, c"),
    ],
)
def test_a_damaged_sequence_of_burst_is_named(
    tmp_path: Path, key: str, value: object, said: str
) -> None:
    file = burst(tmp_path) / "val/all_classes.json"
    data = json.loads(file.read_text())
    data["sequences"][0][key] = value
    file.write_text(json.dumps(data))
    with pytest.raises(InputError, match=said):
        open_dataset(tmp_path)


def test_visor_scores_the_last_frame_too(tmp_path: Path) -> None:
    sequence = only(visor(tmp_path))
    assert sequence.scored(1, sequence.expected[0]) == sequence.expected[1:]


def test_davis_scores_every_frame_but_the_first_and_the_last(tmp_path: Path) -> None:
    dataset = open_dataset(davis(tmp_path))
    assert [sequence.name for sequence in dataset.sequences] == ["b", "a"]  # the list's order
    sequence = dataset.sequences[0]
    assert sequence.expected == tuple(f"{index:05d}" for index in range(6))
    assert sequence.scored(1, "00000") == ("00001", "00002", "00003", "00004")


def test_an_object_that_starts_late_is_scored_from_the_next_frame(tmp_path: Path) -> None:
    sequence = open_dataset(davis(tmp_path)).sequences[0]
    assert sequence.starting("00002", [0, 1, 3, 255], known=[1]) == [3]
    assert sequence.scored(3, "00002") == ("00003", "00004")
    assert sequence.scored(3, "00005") == ()


def test_youtube_vos_scores_the_frames_of_the_metadata_to_the_last(tmp_path: Path) -> None:
    sequence = only(youtube_vos(tmp_path))
    assert sequence.scored(1, "00005") == ("00010", "00015", "00020")
    assert sequence.scored(4, "00015") == ("00020", "00025")
    assert list(sequence.images) == ["00005", "00010", "00015", "00020", "00025"]
    assert sequence.starting("00005", [1, 4], known=[]) == [1]  # 4 starts later, it says


def test_every_frame_of_youtube_vos_comes_from_the_folder_beside(tmp_path: Path) -> None:
    youtube_vos(tmp_path)
    stems = [f"{index:05d}" for index in range(30)]
    write_frames(tmp_path / "valid_all_frames/JPEGImages/0a1", stems, SIZE)
    sequence = only(tmp_path, "valid_all_frames")
    assert list(sequence.images) == stems[5:26]
    assert sequence.expected == ("00005", "00010", "00015", "00020", "00025")


def test_lvos_leaves_out_the_first_and_the_last_frame_of_each_object(tmp_path: Path) -> None:
    sequence = only(lvos(tmp_path))
    assert sequence.scored(1, "00000001") == ("00000006", "00000011", "00000016", "00000021")
    assert sequence.scored(2, "00000006") == ("00000011", "00000016")


def test_long_time_video_scores_annotated_frames_only(tmp_path: Path) -> None:
    sequence = only(long_time_video(tmp_path))
    assert len(sequence.images) == 20
    assert sequence.scored(1, "00000") == ("00006", "00012")


@pytest.mark.parametrize("maker", [youtube_vos, lvos], ids=["youtube-vos", "lvos"])
def test_the_folder_of_a_split_will_do(tmp_path: Path, maker: Callable[[Path], Path]) -> None:
    folder = next(path for path in maker(tmp_path).iterdir() if path.is_dir())
    assert only(folder).name in ("0a1", "vid")


def test_a_list_chooses_the_sequences_of_long_time_video(tmp_path: Path) -> None:
    long_time_video(tmp_path)
    write_masks(tmp_path / "Annotations/other", ["00000"], masks(1, (1, 0)))
    assert len(open_dataset(tmp_path).sequences) == 2
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets/val.txt").write_text("rat\n\n")
    assert only(tmp_path).name == "rat"


def test_sets_with_reference_masks_only_are_known_as_such(tmp_path: Path) -> None:
    data = davis(tmp_path / "davis")
    for folder in (data / "Annotations/480p").iterdir():
        for file in sorted(folder.iterdir())[1:]:
            file.unlink()
    dataset = open_dataset(data)
    assert dataset.reference_only
    assert dataset.problems == ()
    data = youtube_vos(tmp_path / "youtube")
    for name in ("00010", "00020", "00025"):
        (data / f"valid/Annotations/0a1/{name}.png").unlink()
    assert open_dataset(data).reference_only


def test_annotations_alone_are_enough_to_score(tmp_path: Path) -> None:
    data = davis(tmp_path)
    shutil.rmtree(data / "JPEGImages")
    sequence = open_dataset(data).sequences[0]
    assert not sequence.images
    assert len(sequence.expected) == 6


def test_missing_annotations_are_named(tmp_path: Path) -> None:
    data = davis(tmp_path)
    for name in ("00002", "00004"):
        (data / f"Annotations/480p/a/{name}.png").unlink()
    (problem,) = open_dataset(data).problems
    assert str(problem) == (
        "a 00002: 2 annotations are missing (00002, 00004); expected one for each frame"
    )


def test_a_sequence_without_annotations_is_named_and_the_rest_is_found(tmp_path: Path) -> None:
    data = davis(tmp_path)
    shutil.rmtree(data / "Annotations/480p/b")
    dataset = open_dataset(data)
    assert [sequence.name for sequence in dataset.sequences] == ["a"]
    assert str(dataset.problems[0]).startswith("b: no annotation in ")


@pytest.mark.parametrize(
    ("maker", "folder", "said"),
    [
        (davis, "JPEGImages/480p/a", "00003.jpg and 00003.png"),
        (youtube_vos, "valid/JPEGImages/0a1", "00010.jpg and 00010.png"),
        (burst, "frames/val/AVA/clip", "frame0001.jpg and frame0001.png"),
    ],
    ids=["list", "metadata", "burst"],
)
def test_two_pictures_of_one_frame_are_named(
    tmp_path: Path, maker: Callable[[Path], Path], folder: str, said: str
) -> None:
    root = maker(tmp_path)
    pictures = root / folder
    shutil.copy(pictures / said.split()[0], pictures / said.split()[-1])
    if maker is davis:  # the other sequence is found
        dataset = open_dataset(root)
        assert [sequence.name for sequence in dataset.sequences] == ["b"]
        (problem,) = dataset.problems
        assert f"a: {pictures} holds {said}, two pictures of one frame" in str(problem)
        return
    with pytest.raises(InputError, match=f"holds {said}, two pictures of one frame"):
        open_dataset(root)


def test_annotations_without_a_frame_are_named(tmp_path: Path) -> None:
    data = davis(tmp_path)
    (data / "JPEGImages/480p/a/00003.jpg").unlink()
    (problem,) = open_dataset(data).problems
    assert str(problem).startswith("a 00003: annotations without a frame: 00003; ")


def test_frames_of_the_metadata_without_a_picture_are_named(tmp_path: Path) -> None:
    data = youtube_vos(tmp_path)
    (data / "valid/JPEGImages/0a1/00020.jpg").unlink()
    (problem,) = open_dataset(data).problems
    assert "0a1 00020: frames of meta.json without a picture: 00020" in str(problem)


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        pytest.param({"x": {"frames": ["00005"]}}, "object id 'x'", id="id"),
        pytest.param({"255": {"frames": ["00005"]}}, "ids go from 1 to 254", id="void-id"),
        pytest.param({"1": {"frames": []}}, "`frames` are []", id="no-frames"),
        pytest.param({"1": {"frames": [5]}}, "`frames` are [5]", id="numbers"),
        pytest.param({"1": 5}, "an object's entry is 5", id="no-entry"),
        pytest.param({"9" * 5000: {"frames": ["00005"]}}, "object id '999", id="giant-id"),
        pytest.param({"1": {"frames": ["9" * 5000]}}, "`frames` are ['999", id="giant-stem"),
        pytest.param({"1": {"frames": ["../5"]}}, "`frames` are ['../5']", id="stem-leads-out"),
    ],
)
def test_metadata_of_a_sequence_that_makes_no_sense_is_named(
    tmp_path: Path, objects: dict[str, object], said: str
) -> None:
    data = youtube_vos(tmp_path)
    good = json.loads((data / "valid/meta.json").read_text())["videos"]["0a1"]
    write_masks(data / "valid/Annotations/bad", ["00005"], masks(1, (1, 0)))
    meta = {"videos": {"0a1": good, "bad": {"objects": objects}}}
    (data / "valid/meta.json").write_text(json.dumps(meta))
    dataset = open_dataset(data)
    assert [sequence.name for sequence in dataset.sequences] == ["0a1"]
    assert said in str(dataset.problems[0])


def test_an_object_of_lvos_that_starts_nowhere_is_named(tmp_path: Path) -> None:
    data = lvos(tmp_path)
    file = data / "val/val_meta.json"
    file.write_text(file.read_text().replace('"start": "6"', '"start": "7"'))
    with pytest.raises(InputError, match="an object starts at frame 7, which is not there"):
        open_dataset(data)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("{", "is not valid JSON", id="cut-off"),
        pytest.param("[]", "lists no videos", id="no-videos"),
        pytest.param('{"videos": {}}', "`videos`: expected `object` of length >= 1", id="empty"),
        pytest.param(
            '{"videos": {"v": {}}}',
            "`objects` is missing in `videos.v`; get it again",
            id="no-objects",
        ),
        pytest.param(
            '{"videos": {"v": {"objects": {}}}}',
            "`videos.v.objects`: expected `object` of length >= 1",
            id="no-object",
        ),
        pytest.param(
            '{"videos": {"../v": {"objects": {"1": {}}}}}', "is not the name of", id="leads-out"
        ),
        pytest.param(
            '{"videos": {"v": {"objects": {"1": {}}}}}', "no object has `frames`", id="no-spans"
        ),
        pytest.param(
            f'{{"videos": {{"{"A" * 300}": {{"objects": {{"1": {{}}}}}}}}}}',
            "is not the name of",
            id="long-name",
        ),
        pytest.param(
            '{"videos": {"v": {"objects": {"1": {"frame_range": {"start": Infinity}}}}}}',
            "Infinity is no number",
            id="endless",
        ),
    ],
)
def test_damaged_metadata_are_refused(tmp_path: Path, text: str, said: str) -> None:
    data = youtube_vos(tmp_path)
    (data / "valid/meta.json").write_text(text)
    with pytest.raises(InputError, match=said):
        open_dataset(data)


@pytest.mark.parametrize(
    ("split", "said"),
    [
        pytest.param("train", "the splits of this data set are: val", id="unknown"),
        pytest.param("../val", "give the name of a split", id="path"),
    ],
)
def test_a_split_that_is_not_there_is_refused(tmp_path: Path, split: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_dataset(davis(tmp_path), split=split)


def test_names_that_lead_out_of_the_data_set_are_refused(tmp_path: Path) -> None:
    data = davis(tmp_path)
    (data / "ImageSets/2017/val.txt").write_text("../../secret\n")
    with pytest.raises(InputError, match="is not the name of a sequence's folder"):
        open_dataset(data)


@pytest.mark.parametrize("name", ["valid/meta.json", "ImageSets/2017/val.txt"])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    data = youtube_vos(tmp_path) if name.endswith("json") else davis(tmp_path)
    (data / name).unlink()
    os.mkfifo(data / name)
    with pytest.raises(InputError):
        open_dataset(data)


def test_names_with_thousands_of_digits_have_an_order() -> None:
    names = ["a2.png", f"a{'9' * 5000}.png", "a10.png", "a02.png"]
    ordered = sorted(map(Path, names), key=natural_order)
    assert [path.name[:4] for path in ordered] == ["a02.", "a2.p", "a10.", "a999"]


def test_chosen_sequences_must_exist(tmp_path: Path) -> None:
    data = davis(tmp_path)
    assert [s.name for s in open_dataset(data, names=["a"]).sequences] == ["a"]
    with pytest.raises(InputError, match="no sequence c in its split val; it has b, a"):
        open_dataset(data, names=["a", "c"])


def test_a_folder_of_no_known_layout_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ImageSets/2017, 480p or 2022 .*, val/meta.json"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        open_dataset(tmp_path / "nowhere")


def test_a_forced_layout_needs_its_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no meta\.json for the split val"):
        open_dataset(davis(tmp_path), Layout.LVOS)
