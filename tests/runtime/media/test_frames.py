"""Folders and videos yield the same kind of frames, and what cannot be read is refused."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.part import Part
from tests.made_videos import COUNT, HEIGHT, KINDS, NOISE, WIDTH, read_until_refused, video


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


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 6))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    with open_frames(str(tmp_path)) as source:
        assert source.size == (8, 6)


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
