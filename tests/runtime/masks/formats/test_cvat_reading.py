"""CVAT's files: shapes, tracks, groups, and what is refused."""

from pathlib import Path

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.formats.cvat_reading import read_cvat
from mavos_deploy.runtime.masks.label_maps import LabelMaps

BOX = '<box label="cat" xtl="2" ytl="3" xbr="8" ybr="9" z_order="1"/>'
POLYGON = '<polygon label="dog" points="2,3;7,3;7,8;2,8" z_order="0"/>'
IMAGE = '<image id="0" name="a/00003.png" width="30" height="20">{}</image>'
SIZE = "<meta><original_size><width>30</width><height>20</height></original_size></meta>"


def read(body: str) -> LabelMaps:
    return read_cvat(Path("a.xml"), f"<annotations>{body}</annotations>".encode())


@pytest.mark.parametrize("shape", [BOX, POLYGON, BOX.replace("/>", ' rotation="180"/>')])
def test_shapes_are_filled(shape: str) -> None:
    labels = read(IMAGE.format(shape)).frames["00003"]()
    assert labels.shape == (20, 30)
    assert labels[3:8, 2:7].all()
    assert 25 <= labels.sum() <= 36


def test_shapes_lie_in_the_order_of_z() -> None:
    maps = read(IMAGE.format(BOX + POLYGON))
    assert maps.names == {1: "dog", 2: "cat"}
    assert maps.frames["00003"]()[5, 5] == 2


def test_an_ellipse_is_filled() -> None:
    shape = '<ellipse label="cat" cx="15" cy="10" rx="10" ry="5"/>'
    labels = read(IMAGE.format(shape)).frames["00003"]()
    assert labels[10, 5:25].all()
    assert not labels[6, 6]


def shape(frame: int, outside: int = 0) -> str:
    return BOX.replace("/>", f' frame="{frame}" keyframe="1" outside="{outside}"/>')


def test_tracks_are_objects_until_they_are_outside() -> None:
    first = f'<track id="0" label="cat">{shape(2)}{shape(5)}{shape(6, 1)}</track>'
    second = f'<track id="1" label="cat">{shape(5).replace("2", "12", 1)}</track>'
    maps = read(SIZE + first + second)
    assert maps.names == {1: "cat", 2: "cat"}
    assert list(maps.frames) == ["00002", "00005", "00006"]
    assert sorted(set(maps.frames["00005"]().ravel().tolist())) == [0, 1, 2]
    assert not maps.frames["00006"]().any()


def test_tracks_of_one_group_are_one_object() -> None:
    tracks = "".join(
        f'<track id="{place}" label="cat" group_id="7">{shape(place)}</track>' for place in range(3)
    )
    maps = read(SIZE + tracks)
    assert maps.names == {7: "cat"}
    assert [make().max() for make in maps.frames.values()] == [7, 7, 7]


@pytest.mark.parametrize(
    ("given", "ids", "note"),
    [
        pytest.param((3, 7), [3, 7], "by their own numbers: 3 (cat), 7 (cat)", id="own"),
        pytest.param((1, 254), [1, 254], "by their own numbers: 1 (cat), 254 (cat)", id="most"),
        pytest.param((0, 5), [1, 6], "by their own numbers + 1: 1 (cat), 6 (cat)", id="from-0"),
        pytest.param((0, 254), [1, 2], "by numbers in order", id="too-many"),
    ],
)
def test_tracks_keep_their_numbers_or_are_raised_by_one(
    given: tuple[int, int], ids: list[int], note: str
) -> None:
    tracks = "".join(f'<track id="{i}" label="cat">{shape(2)}</track>' for i in given)
    maps = read(SIZE + tracks)
    assert list(maps.names) == ids
    assert any(note in line for line in maps.notes)


def task(number: int, width: int) -> str:
    return f"<task><id>{number}</id>{SIZE[6:-7].replace('30', str(width))}</task>"


def of_task(number: int) -> str:
    return f'<track id="{number}" task_id="{number}" label="cat">{shape(2)}</track>'


def test_tracks_of_several_videos_are_refused() -> None:
    tasks = task(5, 30) + task(6, 40)
    with pytest.raises(InputError, match="tracks of 2 videos, tasks 5, 6; export one task"):
        read(f"<meta><project>{tasks}</project></meta>{of_task(5)}{of_task(6)}")
    with pytest.raises(InputError, match="tracks of a video and the shapes of single images"):
        read(f"<meta>{tasks}</meta>{of_task(5)}{IMAGE.format(BOX)}")


def test_tracks_of_one_video_of_a_project_have_the_size_of_theirs() -> None:
    maps = read(f"<meta><project>{task(5, 30)}{task(6, 40)}</project></meta>{of_task(6)}")
    assert maps.frames["00002"]().shape == (20, 40)


def test_tracks_without_a_group_come_behind_those_with_one() -> None:
    first = f'<track id="0" label="cat" group_id="7">{shape(2)}</track>'
    maps = read(SIZE + first + f'<track id="1" label="dog">{shape(3)}</track>')
    assert maps.names == {7: "cat", 9: "dog"}
    assert "by their groups' numbers, and without a group behind them: 7 (cat)" in maps.notes[0]


def test_lines_are_left_out_and_it_is_said() -> None:
    maps = read(IMAGE.format(BOX + '<polyline label="cat" points="1,2;3,4"/>'))
    assert "shapes of these kinds are left out: polyline" in maps.notes


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "no shape of an object in it; annotate"),
        (
            IMAGE.format('<polyline label="a" points="1,2;3,4"/>'),
            "of these kinds .*: polyline.*; draw",
        ),
        (IMAGE.format(BOX.replace('label="cat"', "")), "<box> lacks `label`"),
        (IMAGE.format(BOX).replace('"30"', '"x"'), "`width` is 'x' and no whole number"),
        (IMAGE.format(BOX).replace('"30"', '"99999999"'), "the limit is"),
        (IMAGE.format(BOX) * 2, "two images have the name '00003'"),
        (f'<track id="0" label="a">{shape(1)}</track>', "`meta/original_size` is missing"),
    ],
)
def test_damaged_files_are_refused(body: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(body)


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        (BOX.replace('"2"', '"nan"'), "'nan' is no number"),
        (POLYGON.replace("2,3;", "2;"), "'' is no number"),
        (POLYGON.replace("2,3;7,3;7,8;", ""), "a polygon of 1 points"),
        (
            '<mask label="a" rle="1, 5" left="0" top="0" width="2" height="2"/>',
            "run lengths of 5 pixels for a mask of 2x2",
        ),
        (
            '<mask label="a" rle="1, 3" left="29" top="0" width="2" height="2"/>',
            "at column 29, row 0 of a picture of 20x30",
        ),
    ],
)
def test_damaged_shapes_are_refused(element: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(IMAGE.format(element)).frames["00003"]()


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]>',
        '<!DOCTYPE a SYSTEM "file:///etc/hostname">',
    ],
)
def test_entities_are_refused(head: str) -> None:
    with pytest.raises(InputError, match=r"a\.xml is no CVAT XML that can be read"):
        read_cvat(Path("a.xml"), f"{head}<annotations>{IMAGE.format(BOX)}</annotations>".encode())


def test_another_xml_file_is_refused() -> None:
    with pytest.raises(InputError, match="it begins with <html>"):
        read_cvat(Path("a.xml"), b"<html/>")
