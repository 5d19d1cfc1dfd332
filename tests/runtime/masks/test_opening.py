"""Annotation files of every format give the label maps that they were made of."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.opening import FORMATS, open_label_maps, read_annotations
from mavos_deploy.runtime.masks.source import MaskSource
from tests import annotation_files
from tests.annotation_files import FILES, labelme
from tests.runtime.masks.test_kinds import SIZE, three

each_file = pytest.mark.parametrize("kind", FILES)


def frames() -> dict[str, NDArray[np.uint8]]:
    """Three frames; the second is empty, and object 2 is hidden in the last one."""
    hidden = np.where(three() == 2, 0, three())
    return {"00000": three(), "00004": three() * 0, "00010": hidden[::-1].copy()}


@each_file
def test_label_maps_come_out_bit_for_bit(tmp_path: Path, kind: str) -> None:
    suffix, make = FILES[kind]
    path = tmp_path / f"masks{suffix}"
    path.write_bytes(make(frames()))
    maps = open_label_maps(path)
    assert list(maps.frames) == list(frames())
    for stem, labels in frames().items():
        assert np.array_equal(maps.frames[stem](), labels)
    assert maps.names == annotation_files.NAMES
    assert not maps.single
    assert "1 (dog), 2 (cat), 3 (bird)" in maps.notes[-1]


@pytest.mark.parametrize("beside", ["", "00000.jpg", "00000.png"])
def test_a_folder_of_labelme_files_may_lie_beside_the_pictures(tmp_path: Path, beside: str) -> None:
    for stem, labels in frames().items():
        (tmp_path / f"{stem}.json").write_bytes(labelme(labels))
    if beside:
        (tmp_path / beside).touch()
    maps = open_label_maps(tmp_path)
    assert {s: make().tolist() for s, make in maps.frames.items()} == {
        stem: labels.tolist() for stem, labels in frames().items()
    }
    assert maps.names == annotation_files.NAMES


def test_a_single_labelme_file_is_the_first_frame_s(tmp_path: Path) -> None:
    (tmp_path / "first.json").write_bytes(labelme(three()))
    source = MaskSource(tmp_path / "first.json", SIZE)
    mask = source.for_stem("00000", first=True)
    assert mask is not None
    assert np.array_equal(mask.labels, three())


@each_file
def test_masks_meet_their_frames(tmp_path: Path, kind: str) -> None:
    suffix, make = FILES[kind]
    path = tmp_path / f"masks{suffix}"
    path.write_bytes(make(dict(list(frames().items())[1:])))
    source = MaskSource(path, SIZE)
    found = {n: source.for_stem(f"{n:05d}", first=n <= 10) for n in range(12)}
    assert [n for n, mask in found.items() if mask is not None] == [10]
    assert any("passed over: frame 00004" in note for note in source.notes)
    assert source.unmatched({"00010"}) == []


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "cvat-video"])
def test_frames_are_told_by_the_number_that_counts_and_no_other(tmp_path: Path, kind: str) -> None:
    suffix, make = FILES[kind]
    path = tmp_path / f"masks{suffix}"
    ends = ("d41d8cd98f00b204e9800998ecf842a4", "0cc175b9c0f1b6a831c399e269772661")
    path.write_bytes(make({f"a_mp4-{4 * n:04d}_jpg.rf.{e}": three() for n, e in enumerate(ends)}))
    source = MaskSource(path, SIZE)
    found = [n for n in range(9) if source.for_stem(f"{n:05d}", first=False) is not None]
    assert found == [0, 4]
    path.write_bytes(make({"a_f10_t0.4s": three(), "a_f15_t0.6s": three()}))
    with pytest.raises(InputError, match=r"a_f10_t0\.4s, a_f15_t0\.6s: these names hold more than"):
        MaskSource(path, SIZE).for_stem("00004", first=True)


def test_the_first_mask_is_found_behind_empty_ones_in_a_file_of_any_order(tmp_path: Path) -> None:
    path = tmp_path / "masks.json"
    empty = three() * 0
    path.write_bytes(annotation_files.coco({"00005": three(), "00003": three(), "00000": empty}))
    source = MaskSource(path, SIZE)
    found = [n for n in range(4) if source.for_stem(f"{n:05d}", first=n <= 3) is not None]
    assert found == [3]


def test_masks_of_no_frame_are_named_with_the_way_to_name_them(tmp_path: Path) -> None:
    path = tmp_path / "masks.json"
    path.write_bytes(annotation_files.coco({"00004": three()}))
    source = MaskSource(path, SIZE)
    text = r"masks\.json: no mask belongs to frame 00005 or a later one; there is 00004; name the "
    with pytest.raises(InputError, match=text + r"images in the file .*, such as 00005\.jpg$"):
        source.for_stem("00005", first=True)


@pytest.mark.parametrize("content", [b'{"ima', b'{"info": {"year": 2024', b""])
def test_json_that_was_cut_off_before_its_format_shows_is_called_broken(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^a\.json is no annotation file: it is not valid JSON"):
        read_annotations(Path("a.json"), content)
    with pytest.raises(InputError, match="of a known format"):
        read_annotations(Path("a.json"), b'{"info": {}}')


@each_file
@pytest.mark.parametrize("cut", [0, 1, 40, 0.5, -1])
def test_a_file_that_was_cut_off_is_refused_by_name(kind: str, cut: float) -> None:
    suffix, make = FILES[kind]
    content = make(frames())
    content = content[: int(cut * len(content)) if isinstance(cut, float) else cut]
    with pytest.raises(InputError, match=rf"^a{suffix} is no "):
        [draw() for draw in read_annotations(Path(f"a{suffix}"), content).frames.values()]


def test_several_annotation_files_in_a_folder_are_refused(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_bytes(annotation_files.coco(frames()))
    with pytest.raises(InputError, match=r"several annotation files, a\.json and b\.json"):
        open_label_maps(tmp_path)
    (tmp_path / "b.json").unlink()
    assert list(open_label_maps(tmp_path).frames) == list(frames())


def test_pictures_that_an_annotation_file_names_are_its_frames(tmp_path: Path) -> None:
    content = annotation_files.coco(frames()).replace(b".jpg", b".png")
    (tmp_path / "_annotations.coco.json").write_bytes(content)
    (tmp_path / "old.json").mkdir()  # no file
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    for stem in frames():
        Image.fromarray(noise).save(tmp_path / f"{stem}.png")
    maps = open_label_maps(tmp_path)
    assert maps.names == annotation_files.NAMES
    assert maps.notes[-1].endswith("_annotations.coco.json, whose frames are the pictures beside")
    for stem, labels in frames().items():  # masks, as beside a panoptic file
        Image.fromarray(labels).save(tmp_path / f"{stem}.png")
    assert open_label_maps(tmp_path).names == {}
    Image.fromarray(three()).save(tmp_path / "00011.png")
    assert open_label_maps(tmp_path).notes == [
        f"masks lie in {tmp_path} as pictures, so _annotations.coco.json is left out"
    ]


@each_file
def test_a_byte_order_mark_and_blank_lines_at_the_end_change_nothing(
    tmp_path: Path, kind: str
) -> None:
    suffix, make = FILES[kind]
    path = tmp_path / f"masks{suffix}"
    path.write_bytes(b"\xef\xbb\xbf" + make(frames()) + b"\n\n")
    maps = open_label_maps(path)
    assert [make().tolist() for make in maps.frames.values()] == [
        labels.tolist() for labels in frames().values()
    ]


@each_file
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_changes_nothing(tmp_path: Path, kind: str, encoding: str) -> None:
    suffix, make = FILES[kind]
    path = tmp_path / f"masks{suffix}"
    head = '<?xml version="1.0" encoding="utf-16"?>\n' if suffix == ".xml" else ""
    mark = "" if encoding == "utf-16" else "\ufeff"
    text = f"{mark}{head}{make(frames()).decode()}".encode(encoding)
    path.write_bytes(text)
    found = open_label_maps(path).frames
    assert [found[stem]().tolist() for stem in frames()] == [m.tolist() for m in frames().values()]
    path.write_bytes(text + b"\0")
    with pytest.raises(InputError, match=r"is no text in UTF-16 .*; save it as UTF-8"):
        open_label_maps(path)


def test_mots_with_blank_lines_is_read(tmp_path: Path) -> None:
    path = tmp_path / "masks.txt"
    path.write_text("3 2001 2 2 3 04000\n\n4 2001 2 2 3 04000\n\n")
    assert list(open_label_maps(path).frames) == ["00003", "00004"]


@pytest.mark.parametrize("videos", [[], [{"id": 1, "name": "v"}]])
def test_coco_with_videos_is_read_as_coco(videos: list[dict[str, object]]) -> None:
    data = {"videos": videos, **json.loads(annotation_files.coco(frames()))}
    for image in data["images"]:
        image |= {"video_id": 1, "frame_id": 0}
    found = read_annotations(Path("a.json"), json.dumps(data).encode())
    assert list(found.frames) == list(frames())
    data["images"][1]["video_id"] = 2
    with pytest.raises(InputError, match=r"a\.json: 2 videos; save the masks of one in a file"):
        read_annotations(Path("a.json"), json.dumps(data).encode())


def test_youtube_vis_may_have_an_empty_list_of_images() -> None:
    data = json.loads(annotation_files.youtube_vis(frames())) | {"images": []}
    assert list(read_annotations(Path("a.json"), json.dumps(data).encode()).frames) == list(
        frames()
    )
    del data["images"], data["videos"][0]["file_names"]
    with pytest.raises(InputError, match=r"no YouTube-VIS JSON.*`file_names` is missing"):
        read_annotations(Path("a.json"), json.dumps(data).encode())


def test_a_list_of_results_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"image_id": 1, "category_id": 2, "score": 0.5, "segmentation": []}]')
    with pytest.raises(InputError, match="list of COCO's results, whose frames are not in it"):
        open_label_maps(path)


def test_tasks_of_label_studio_may_have_a_field_of_that_name() -> None:
    tasks = json.loads(FILES["label-studio"][1](frames()))
    for task in tasks:
        task["data"]["image_id"] = 12
    found = read_annotations(Path("tasks.json"), json.dumps(tasks).encode())
    assert list(found.frames) == list(frames())


def test_a_pattern_is_refused_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"is a pattern.* give the folder, {tmp_path}, "):
        open_label_maps(tmp_path / "*.png")


def test_json_of_another_kind_is_refused_with_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"masks": 3}')
    with pytest.raises(InputError, match="Label Studio, labelme, YouTube-VIS, COCO"):
        open_label_maps(tmp_path / "a.json")


FOREIGN = {
    "Supervisely": ("a.json", '{"size": {}, "objects": [{"classTitle": "car"}]}'),
    "SA-V": ("a.json", '{"video_id": "sav_1", "masklet": [[]]}'),
    "V7 Darwin": ("a.json", '{"version": "2.0", "item": {"name": "a.jpg"}, "annotations": []}'),
    "VGG Image Annotator": ("a.json", '{"a.jpg1": {"regions": [{"shape_attributes": {}}]}}'),
    "YOLO": ("00000.txt", "0 0.5 0.5 0.25 0.125\n"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_formats_that_are_not_read_are_named_with_a_way_out(tmp_path: Path, kind: str) -> None:
    name, content = FOREIGN[kind]
    (tmp_path / name).write_text(content)
    (tmp_path / "classes.txt").write_text("car\n")
    for given in (tmp_path, tmp_path / name):
        with pytest.raises(InputError, match=rf"like those of {kind}, which .*; export the mask"):
            open_label_maps(given)


def test_every_format_has_a_rule_and_says_how_objects_are_told() -> None:
    assert len({row.name for row in FORMATS}) == len(FORMATS)
    assert all(row.rule and row.objects for row in FORMATS)
