"""Pictures that are read, and those that are refused."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media import pictures
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.pictures import SUBFILE, mode_of, open_image, read_rgb


def test_a_picture_of_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    with pytest.raises(InputError, match=r"a\.png: 40x30 pixels; the limit is 1000"):
        open_image(tmp_path / "a.png")


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"a\.png: too many pixels"):
        open_image(tmp_path / "a.png")


def test_a_picture_of_16_bits_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="more than 8 bits per channel"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_picture_that_is_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"a\.png: not a readable picture, or damaged"):
        open_image(tmp_path / "a.png")


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.png does not exist"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM"])
def test_a_picture_may_be_of_every_format_that_is_named(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png", format=kind)
    assert open_image(tmp_path / "a.png").format == kind


@pytest.mark.parametrize("kind", ["EPS", "GIF", "TGA"])
def test_no_decoder_of_another_format_is_reached(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png", format=kind)
    with pytest.raises(InputError, match=r"a\.png: not a readable picture"):
        open_image(tmp_path / "a.png")


def _with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    chunk = kind + content
    whole = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:33] + whole + png[33:]


def test_a_broken_exif_block_is_named_and_nothing_else_comes_out(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(_with_chunk(whole, b"eXIf", b"Exif\0\0XX\0*\0\0\0\x08"))
    with pytest.raises(InputError, match=r"a\.png: its EXIF block.*is damaged.*save the picture"):
        read_rgb(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").size == (4, 3)  # a mask isn't turned


@pytest.mark.parametrize("error", [TypeError("float"), KeyError(3), RuntimeError(), MemoryError()])
def test_whatever_a_decoder_raises_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.tif")

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("PIL.TiffImagePlugin.TiffImageFile.load", broken)
    for read in (open_image, read_rgb):
        with pytest.raises(InputError, match=r"a\.tif: "):
            read(tmp_path / "a.tif")


def test_a_pipe_is_no_picture_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert mode_of(tmp_path / "a.png") is None
    with pytest.raises(InputError, match=r"a\.png: not a readable picture.*it is a pipe"):
        open_image(tmp_path / "a.png")


def test_only_the_formats_that_are_asked_for_are_read(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png", format="TIFF")
    with pytest.raises(InputError, match=r"expected PNG, JPEG"):
        read_rgb(tmp_path / "a.png", formats=pictures.SERVED)


def test_pillow_does_not_write_its_warnings_to_the_terminal(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 3))
    image.save(tmp_path / "a.tif")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    (directory,) = struct.unpack("<I", content[4:8])
    struct.pack_into("<HHII", content, directory + 2, 0x010E, 2, 9999, 0xFFFFFF)  # beyond the end
    (tmp_path / "a.tif").write_bytes(content)
    code = (
        "import sys; from pathlib import Path; from mavos_deploy.runtime.media.pictures import *\n"
        "try: read_rgb(Path(sys.argv[1]))\n"
        "except InputError: pass"
    )
    arguments = [sys.executable, "-W", "default", "-c", code, str(tmp_path / "a.tif")]
    ran = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert ran.stderr == ""


def _several(path: Path, kind: str | None = None) -> Path:
    several = [Image.new("RGB", (8, 6), (60 * n, 90, 200)) for n in range(3)]
    several[0].save(path, save_all=True, append_images=several[1:], format=kind)
    return path


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.tif", "save each as a PNG"),
        ("a.webp", "give the file itself as the video, or save each as a PNG"),
        ("a.png", "give the file itself as the video, or save each as a PNG"),
    ],
)
def test_several_pictures_in_one_file_are_no_frame(tmp_path: Path, name: str, advice: str) -> None:
    path = _several(tmp_path / name)
    with pytest.raises(InputError) as refusal:
        read_rgb(path)
    assert str(refusal.value) == f"{path}: 3 pictures in one file, but a frame is one; {advice}"
    with pytest.raises(InputError) as refusal, open_frames(str(tmp_path)):
        pass
    assert str(refusal.value) == f"{path}: 3 pictures in one file, but a frame is one; {advice}"


def test_a_photograph_may_hold_smaller_pictures_beside_the_one_that_is_shown(
    tmp_path: Path,
) -> None:
    photograph = _several(tmp_path / "a.jpg", "MPO")
    assert read_rgb(photograph).shape == (6, 8, 3)
    scan = tmp_path / "a.tif"
    large, small = Image.new("RGB", (8, 6), (1, 2, 3)), Image.new("RGB", (4, 3))
    small.encoderinfo = {"tiffinfo": {SUBFILE: 1}}
    large.save(scan, save_all=True, append_images=[small])
    with Image.open(scan) as image:
        assert getattr(image, "n_frames", 1) == 2
    assert read_rgb(scan)[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("suffix", "common"),
    [(".png", True), (".jpg", True), (".bmp", True), (".tif", False), (".webp", False)],
)
def test_a_new_process_reads_every_format_and_imports_rare_ones_where_needed(
    tmp_path: Path, suffix: str, common: bool
) -> None:
    path = tmp_path / f"frame{suffix}"
    Image.new("RGB", (40, 30), (200, 100, 50)).save(path)
    code = (
        "import sys; from pathlib import Path; "
        "from mavos_deploy.runtime.media.pictures import read_rgb; "
        "print(read_rgb(Path(sys.argv[1])).shape, 'PIL.PsdImagePlugin' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout == f"(30, 40, 3) {not common}\n", ended.stderr
