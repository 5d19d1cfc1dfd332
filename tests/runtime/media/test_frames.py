"""Folders and videos yield the same kind of frames, and what cannot be read is refused."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from PIL import ExifTags, Image, ImageOps

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.access import open_clip
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.levels import Levels
from mavos_deploy.runtime.media.part import Part
from mavos_deploy.runtime.media.turning import OF_EXIF, STORED
from tests.made_videos import COUNT, HEIGHT, KINDS, NOISE, WIDTH, read_until_refused, video

EXIF = [
    (1, None),
    (2, "mirrored left to right"),
    (3, "turned by 180 degrees"),
    (4, "mirrored top to bottom"),
    (5, "turned by 90 degrees to the right, then mirrored left to right"),
    (6, "turned by 90 degrees to the right"),
    (7, "turned by 90 degrees to the left, then mirrored left to right"),
    (8, "turned by 90 degrees to the left"),
    (9, None),  # no number of EXIF's
]


def _images(folder: Path, names: list[str], size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    folder.mkdir(exist_ok=True)
    for value, name in enumerate(names):
        Image.new("RGB", size, (value, 0, 0)).save(folder / name)
    return folder


# Folders of images


def test_images_come_in_natural_order_with_their_stems(tmp_path: Path) -> None:
    folder = _images(
        tmp_path / "clip", ["1.png", "2.jpg", "10.bmp", "11.webp", "a2.tif", "a10.png"]
    )
    (folder / ".0.png").touch()
    (folder / "notes.txt").touch()
    with open_frames(str(folder)) as source:
        assert (source.kind, source.size, source.length) == ("images", (HEIGHT, WIDTH), 6)
        assert source.name == str(folder)
        assert source.original.rate is None
        given = list(source)
    assert [frame.stem for frame in given] == ["1", "2", "10", "11", "a2", "a10"]
    assert [frame.index for frame in given] == list(range(6))
    assert all(frame.rgb.shape == (HEIGHT, WIDTH, 3) for frame in given)
    assert all(frame.rgb.dtype == np.uint8 for frame in given)
    assert given[2].rgb[0, 0].tolist() == [2, 0, 0]


def test_thinned_images_keep_their_numbers(tmp_path: Path) -> None:
    folder = _images(tmp_path / "clip", [f"{index:05d}.png" for index in range(8)])
    with open_frames(str(folder), Part(every=3, max_frames=2)) as source:
        assert source.length == 2
        assert [(frame.index, frame.stem) for frame in source] == [(0, "00000"), (3, "00003")]


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_images_of_every_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    Image.new("RGB", (8, 6), (255, 255, 255)).convert(mode).save(tmp_path / f"a.{suffix}")
    with open_frames(str(tmp_path)) as source:
        (frame,) = source
    assert frame.rgb.shape == (6, 8, 3)
    assert (frame.rgb == 255).all()


@pytest.mark.parametrize("kind", ["rgb.png", "rgb.tif", "I;16.png", "I;16.tif"])
@pytest.mark.parametrize(("number", "words"), EXIF)
def test_exif_is_applied_and_said_once(
    tmp_path: Path, kind: str, number: int, words: str | None
) -> None:
    mode, suffix = kind.split(".")
    for name in "ab":
        picture = Image.fromarray(NOISE)
        if mode == "I;16":
            picture = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
        about = picture.getexif()
        about[ExifTags.Base.Orientation] = number
        picture.save(tmp_path / f"{name}.{suffix}", exif=about)
    shown = np.asarray(ImageOps.exif_transpose(_with_tag(NOISE, number)))
    levels = Levels(0, 255 * 257) if mode == "I;16" else None
    with open_frames(str(tmp_path), levels=levels) as source:
        frames = list(source)
        notes = [note for note in source.told.notes if "shown" in note]
        assert source.told.turn == OF_EXIF.get(number, STORED)
    assert len(frames) == 2
    for frame in frames:
        expected = shown[..., :1].repeat(3, 2) if levels else shown
        assert np.array_equal(frame.rgb, expected)
    said = f"images are shown {words}, as their EXIF blocks say, and their masks are, too"
    assert notes == ([said] if words else [])
    clip = open_clip(str(tmp_path))
    assert clip.told.turn == OF_EXIF.get(number, STORED)


def _with_tag(pixels: np.ndarray, number: int) -> Image.Image:
    picture = Image.fromarray(pixels)
    picture.getexif()[ExifTags.Base.Orientation] = number
    return picture


def test_pictures_of_one_folder_that_are_turned_in_several_ways_are_named(tmp_path: Path) -> None:
    for index, number in enumerate((1, 1, 3, 2, 3, 1)):
        about = Image.Exif()
        about[ExifTags.Base.Orientation] = number
        Image.fromarray(NOISE).save(tmp_path / f"{index}.jpg", exif=about)
    with open_frames(str(tmp_path)) as source:
        assert source.told.notes == []
        assert len(list(source)) == 6
        assert source.told.notes == [
            f"{name}.jpg, unlike images before it, is shown {words}, as its EXIF block says, "
            "and its mask is, too"
            for name, words in ((2, "turned by 180 degrees"), (3, "mirrored left to right"))
        ]


def test_an_image_of_another_size_is_named_with_both_sizes(tmp_path: Path) -> None:
    _images(tmp_path, ["0.png", "1.png"])
    _images(tmp_path, ["2.png"], size=(10, 20))
    given = read_until_refused(tmp_path, r"frame 2 is 20x10 but the first one is 48x64")
    assert len(given) == 2


def test_two_images_of_one_stem_are_refused(tmp_path: Path) -> None:
    _images(tmp_path, ["0.png", "0.jpg"])
    with pytest.raises(InputError, match=r"holds 0\.jpg and 0\.png"):
        open_frames(str(tmp_path))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(InputError, match=r"holds no images; images are read from \.jpg, "):
        open_frames(str(tmp_path))


def test_a_single_image_is_refused_with_advice(tmp_path: Path) -> None:
    _images(tmp_path, ["0.png"])
    with pytest.raises(InputError, match="is a single image; give the folder"):
        open_frames(str(tmp_path / "0.png"))


# Video files


@pytest.mark.parametrize(("name", "codec"), KINDS)
def test_every_frame_of_a_whole_video_is_given(tmp_path: Path, name: str, codec: str) -> None:
    path = video(tmp_path / name, codec)
    with open_frames(str(path)) as source:
        assert (source.kind, source.size) == ("video", (HEIGHT, WIDTH))
        assert source.original.rate == 10
        assert source.length in (COUNT, None)
        given = list(source)
    assert [frame.stem for frame in given] == [f"{index:05d}" for index in range(COUNT)]
    for index, frame in enumerate(given):
        assert np.abs(np.roll(NOISE, 3 * index, 1).astype(int) - frame.rgb).mean() < 60


def test_thinned_videos_keep_their_numbers(tmp_path: Path) -> None:
    with open_frames(str(video(tmp_path / "a.mp4")), Part(every=5)) as source:
        assert source.length == 3
        assert source.original.rate == 2
        assert [frame.stem for frame in source] == ["00000", "00005", "00010"]
    with open_frames(str(tmp_path / "a.mp4"), Part(max_frames=4)) as source:
        assert source.length == 4
        assert len(list(source)) == 4


def test_a_video_that_changes_its_size_is_refused(tmp_path: Path) -> None:
    first, second = (tmp_path / "a.ts", tmp_path / "b.ts")
    video(first)
    with av.open(str(second), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
        for index in range(COUNT):
            picture = av.VideoFrame(96, 80, "yuv420p")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    given = read_until_refused(first, "frame 000.. is 80x96 but the first one is 48x64")
    # FFmpeg drops what its decoder holds at the change: three, and one for each of its threads.
    assert len(given) >= COUNT // 2


@pytest.mark.parametrize("name", ["12:30.mp4", "100%d.mp4", "ü b.mp4"])
def test_odd_file_names_are_only_names(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    video(tmp_path / "a.mp4", count=2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with open_frames(name) as source:
        assert len(list(source)) == 2


def test_a_missing_path_is_refused_with_what_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clip\.mp4 does not exist; expected a video file"):
        open_frames(str(tmp_path / "clip.mp4"))


def test_a_folder_named_like_a_camera_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _images(tmp_path / "0", ["0.png"])
    monkeypatch.chdir(tmp_path)
    with open_frames("0") as source:
        assert source.kind == "images"


def test_a_video_whose_size_changes_is_refused_with_the_command_that_scales_it(
    tmp_path: Path,
) -> None:
    large, small, path = (tmp_path / f"{name}.mkv" for name in "abc")
    for file, side in ((large, 64), (small, 32)):
        with av.open(str(file), "w") as container:
            stream = container.add_stream("libvpx", rate=10)
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = side, side - 9, "yuv420p"
            for _ in range(3):
                picture = np.full((side - 9, side, 3), 99, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode(None))
    with av.open(str(large)) as first, av.open(str(small)) as second, av.open(str(path), "w") as to:
        into = to.add_stream_from_template(first.streams.video[0])
        for number, packet in enumerate([*first.demux(video=0), *second.demux(video=0)]):
            if packet.size:
                packet.pts = packet.dts = 100 * number
                packet.stream = into
                to.mux(packet)
    with open_frames(str(path)) as source, pytest.raises(InputError) as refusal:
        list(source)
    assert str(refusal.value) == (
        f"{path}: frame 00003 is 23x32 but the first one is 55x64; all frames of a video must have "
        "one size; scale them: ffmpeg -i IN -vf scale=64:54,setsar=1 -crf 12 OUT.mp4"
    )
