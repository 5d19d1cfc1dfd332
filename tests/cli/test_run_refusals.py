"""`mavos-run` refuses what it can't use in one line, and changes nothing on the disk."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.masks.png import write_mask
from tests.made_videos import add_sound

Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]
Refused = Callable[..., str]


def _save(path: Path, labels: np.ndarray, mode: str = "L") -> None:
    Image.fromarray(labels).convert(mode).save(path)


def _bad_mask(kind: str, path: Path, labels: np.ndarray) -> None:
    if kind == "small":
        _save(path, labels[:32, :40])
    elif kind == "empty":
        _save(path, np.zeros_like(labels))
    elif kind == "void":
        _save(path, np.where(labels == 2, 255, labels).astype(np.uint8))
    elif kind == "turned":
        _save(path, np.rot90(labels))
    elif kind == "jpeg":
        Image.fromarray(labels).save(path, format="JPEG")
    elif kind == "text":
        path.write_text("not a picture\n")
    elif kind == "cut":
        _save(path, labels)
        path.write_bytes(path.read_bytes()[:120])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        pytest.param("small", "the mask is 32x40 but its frame is 64x96", id="another-size"),
        pytest.param("empty", "no object in the mask", id="no-object"),
        pytest.param("void", "pixels are 255, and 255 marks void", id="void"),
        pytest.param("turned", "is 96x64 but its frame is 64x96, turned by 90", id="turned"),
        pytest.param("jpeg", "a picture in JPEG, whose compression changes object ids", id="jpeg"),
        pytest.param("text", "not a readable picture", id="text"),
        pytest.param("cut", "not a readable picture, or damaged", id="cut-off"),
        pytest.param("missing", "does not exist; expected a mask", id="missing"),
    ],
)
@pytest.mark.parametrize("named", ["first.png", "[i] given/00000.png"], ids=["file", "folder"])
def test_a_first_mask_that_cannot_be_used_is_refused(
    refused: Refused,
    bundle: Path,
    video: SimpleNamespace,
    tmp_path: Path,
    kind: str,
    said: str,
    named: str,
) -> None:
    path = tmp_path / named
    if kind != "missing":
        path.parent.mkdir(exist_ok=True)
        _bad_mask(kind, path, read_mask(video.mask).labels)
    masks = path if path.parent == tmp_path else path.parent
    reason = refused(
        "mavos-run", bundle, video.frames, "--masks", masks, "--output", "o", "--overlay", "o.mp4"
    )
    assert said in reason
    assert str(masks) in reason


@pytest.mark.parametrize(
    ("arguments", "said"),
    [pytest.param((), "--masks is missing; give the first frame's mask", id="no-masks")],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    refused: Refused, hollow: Path, video: SimpleNamespace, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused("mavos-run", hollow, video.frames, *arguments)


def test_a_folder_whose_masks_belong_to_no_frame_is_refused(
    refused: Refused, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/99999.png").write_bytes(video.mask.read_bytes())
    reason = refused("mavos-run", bundle, video.frames, "--masks", "given")
    assert "no mask belongs to a frame of this video" in reason


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        pytest.param("small", "the mask is 32x40 but its frame is 64x96", id="another-size"),
        pytest.param("cut", "not a readable picture", id="cut-off"),
    ],
)
def test_a_later_mask_that_cannot_be_used_ends_the_run_and_keeps_what_is_whole(
    call: Call,
    one_line: Callable[[Ended, str], str],
    bundle: Path,
    video: SimpleNamespace,
    tmp_path: Path,
    kind: str,
    said: str,
) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/00000.png").write_bytes(video.mask.read_bytes())
    _bad_mask(kind, tmp_path / "given/00004.png", read_mask(video.mask).labels)
    ended = call(
        "mavos-run",
        bundle,
        video.frames,
        "--masks",
        "given",
        "--output",
        "o",
        "--overlay",
        "o.mp4",
    )
    reason = one_line(ended, "mavos-run")
    assert "given/00004.png: " in reason
    assert said in reason
    assert reason.endswith("; 4 masks are whole and kept")
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [f"0000{i}.png" for i in range(4)]
    for path in (tmp_path / "o").iterdir():
        assert read_mask(path).labels.shape == (64, 96)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given", "o", "o.mp4"]
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4


def _bad_input(kind: str, folder: Path) -> str:
    """Make an unusable input and return its name."""
    path = folder / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "unreadable":
        path.mkdir()
        (path / "00000.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    elif kind == "huge":
        path.mkdir()
        Image.new("1", (12000, 12000)).save(path / "00000.png")
    elif kind == "text.mp4":
        path.write_text("hello\n" * 100)
    elif kind == "empty.mp4":
        path.touch()
    elif kind == "sound.mp4":
        with av.open(str(path), "w") as container:
            add_sound(container, container.add_stream("aac", rate=8000), 1)
    elif kind == "picture.png":
        Image.new("RGB", (96, 64)).save(path)
    return kind


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        pytest.param("folder", "folder holds no images", id="empty-folder"),
        pytest.param("unreadable", "unreadable/00000.png: not a readable", id="unreadable-image"),
        pytest.param("huge", "12000x12000 pixels; the limit is", id="huge-image"),
        pytest.param("text.mp4", "text.mp4 cannot be opened: not a video", id="text-as-video"),
        pytest.param("empty.mp4", "empty.mp4 cannot be opened: not a video", id="empty-file"),
        pytest.param("sound.mp4", "sound.mp4 holds no video", id="sound-alone"),
        pytest.param("picture.png", "picture.png is a single image", id="one-picture"),
        pytest.param("no [such] file.mp4", "no [such] file.mp4 does not exist", id="missing"),
        pytest.param("77", "camera 77 does not exist", id="no-such-camera"),
        pytest.param("nonsense://host/x", "nonsense://host/x cannot be opened", id="protocol"),
    ],
)
def test_an_input_that_cannot_be_used_is_refused(
    refused: Refused, hollow: Path, video: SimpleNamespace, tmp_path: Path, kind: str, said: str
) -> None:
    source = _bad_input(kind, tmp_path)
    reason = refused("mavos-run", hollow, source, "--masks", video.mask, "--overlay", "o.mp4")
    assert said in reason


def test_a_stream_that_refuses_is_named(
    refused: Refused, hollow: Path, video: SimpleNamespace
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, and nobody listens
        address = f"rtsp://127.0.0.1:{closed.getsockname()[1]}/live"
        reason = refused("mavos-run", hollow, address, "--masks", video.mask)
    assert reason.startswith(f"{address} cannot be opened (")


def test_a_stream_address_may_be_longer_than_a_file_name(
    refused: Refused, hollow: Path, video: SimpleNamespace
) -> None:
    address = f"nonsense://host/{'x' * 500}"
    reason = refused("mavos-run", hollow, address, "--masks", video.mask)
    assert reason.startswith(f"{address} cannot be opened (")


def _cut(encode: Callable[..., None], path: Path, codec: str, share: float) -> None:
    random = np.random.default_rng(0)
    encode(path, random.integers(0, 255, (20, 64, 96, 3), np.uint8), codec)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        pytest.param("cut.mp4", "libx264", id="mp4"),
        pytest.param("cut.avi", "mpeg4", id="avi"),
    ],
)
def test_a_video_that_is_cut_off_gives_the_frames_it_has(
    call: Call,
    one_line: Callable[[Ended, str], str],
    bundle: Path,
    video: SimpleNamespace,
    encode: Callable[..., None],
    tmp_path: Path,
    name: str,
    codec: str,
) -> None:
    _cut(encode, tmp_path / name, codec, 0.6)
    reason = one_line(
        call("mavos-run", bundle, name, "--masks", video.mask, "--output", "o"), "mavos-run"
    )
    kept = len(list((tmp_path / "o").iterdir()))
    assert 0 < kept < 20
    assert reason.startswith(f"{name}: the file is cut off at frame {kept:05d}")
    assert reason.endswith(f"; {kept} masks are whole and kept")


def test_a_video_whose_index_is_cut_off_is_refused(
    refused: Refused,
    hollow: Path,
    video: SimpleNamespace,
    encode: Callable[..., None],
    tmp_path: Path,
) -> None:
    _cut(encode, tmp_path / "cut.mov", "libx264", 0.6)
    (tmp_path / "cut.mov").rename(tmp_path / "cut.mp4")
    reason = refused("mavos-run", hollow, "cut.mp4", "--masks", video.mask)
    assert "cut.mp4 cannot be opened: its index (moov) is missing" in reason


def test_frames_of_several_sizes_end_the_run_at_the_first_other_one(
    call: Call,
    one_line: Callable[[Ended, str], str],
    bundle: Path,
    video: SimpleNamespace,
    tmp_path: Path,
) -> None:
    (tmp_path / "mixed").mkdir()
    for index in range(3):
        content = (video.frames / f"{index:05d}.png").read_bytes()
        (tmp_path / f"mixed/{index:05d}.png").write_bytes(content)
    Image.new("RGB", (98, 64)).save(tmp_path / "mixed/00002.png")
    reason = one_line(
        call("mavos-run", bundle, "mixed", "--masks", video.mask, "--output", "o"), "mavos-run"
    )
    assert "frame 00002 is 64x98 but the first one is 64x96" in reason
    assert reason.endswith("; 2 masks are whole and kept")


def test_a_video_of_another_shape_is_refused(
    refused: Refused, bundle: Path, encode: Callable[..., None], tmp_path: Path
) -> None:
    encode(tmp_path / "wide.mp4", np.zeros((2, 32, 96, 3), np.uint8))
    write_mask(tmp_path / "first.png", np.ones((32, 96), np.uint8))
    reason = refused("mavos-run", bundle, "wide.mp4", "--masks", "first.png")
    assert "frames are 32x96 but the bundle is 65x97" in reason
    assert "--size-for 96x32" in reason
    assert "--fit stretch" in reason


@pytest.mark.parametrize(
    ("output", "overwrite", "said"),
    [
        pytest.param("masks", False, "pass --overwrite to replace its masks", id="masks"),
        pytest.param("notes", False, "notes exists and is not empty", id="other-files"),
        pytest.param("notes", True, "holds more than masks (a.txt)", id="other-files-overwritten"),
        pytest.param("photos", True, "photos/b.png is no palette mask", id="a-photo"),
        pytest.param("grey", True, "grey/a.PNG is no palette mask", id="a-grey-picture"),
        pytest.param("renamed", True, "renamed/a.png is no palette mask", id="a-gif-named-png"),
        pytest.param("masks", True, "masks/00000.png is no palette mask", id="not-a-picture"),
        pytest.param("file", True, "file is a file; give a folder", id="file"),
        pytest.param("file/below", True, "a part of the path is a file", id="below-a-file"),
        pytest.param("frames", True, "frames is an input and would be", id="the-frames"),
        pytest.param("given", True, "given/first.png is an input", id="the-mask"),
        pytest.param("x" * 300, True, "File name too long", id="long-name"),
    ],
)
def test_an_output_that_cannot_be_used_is_refused(
    refused: Refused,
    bundle: Path,
    video: SimpleNamespace,
    tmp_path: Path,
    output: str,
    overwrite: bool,
    said: str,
) -> None:
    for name in ("masks", "notes", "frames", "given", "photos", "grey", "renamed"):
        (tmp_path / name).mkdir()
    (tmp_path / "photos/a.png").write_bytes(video.mask.read_bytes())
    Image.new("RGB", (96, 64)).save(tmp_path / "photos/b.png")
    Image.new("L", (96, 64)).save(tmp_path / "grey/a.PNG")
    Image.new("P", (96, 64)).save(tmp_path / "renamed/a.png", format="GIF")
    (tmp_path / "file").touch()
    (tmp_path / "masks/00000.png").write_bytes(b"mask")
    (tmp_path / "notes/a.txt").touch()
    (tmp_path / "given/first.png").write_bytes(video.mask.read_bytes())
    for path in video.frames.iterdir():
        (tmp_path / "frames" / path.name).write_bytes(path.read_bytes())
    reason = refused(
        "mavos-run",
        bundle,
        "frames",
        "--masks",
        "given/first.png",
        "--output",
        output,
        *(["--overwrite"] if overwrite else []),
    )
    assert said in reason


@pytest.mark.parametrize(
    ("overlay", "overwrite", "said"),
    [
        pytest.param("old.mp4", False, "old.mp4 exists; pass --overwrite", id="exists"),
        pytest.param("clip.mp4", True, "clip.mp4 is an input and would be", id="the-video"),
        pytest.param("seen.avi", True, "seen.avi: the name must end in .mp4", id="not-mp4"),
    ],
)
def test_an_overlay_that_cannot_be_written_is_refused(
    refused: Refused,
    hollow: Path,
    video: SimpleNamespace,
    tmp_path: Path,
    overlay: str,
    overwrite: bool,
    said: str,
) -> None:
    (tmp_path / "old.mp4").write_bytes(b"old")
    (tmp_path / "clip.mp4").write_bytes(video.clip.read_bytes())
    reason = refused(
        "mavos-run",
        hollow,
        "clip.mp4",
        "--masks",
        video.mask,
        "--overlay",
        overlay,
        *(["--overwrite"] if overwrite else []),
    )
    assert said in reason


@pytest.mark.parametrize(
    ("option", "value"),
    [("--threads", "2"), ("--backend", "auto"), ("--backend", "onnxruntime-cpu")],
)
def test_options_of_the_server_are_refused_also_where_they_name_the_default(
    refused: Refused, video: SimpleNamespace, option: str, value: str
) -> None:
    arguments = ("--server", "nowhere:1", video.frames, "--masks", video.mask, option, value)
    reason = refused("mavos-run", *arguments)
    assert reason == f"{option} is the server's own; leave it out with --server"


def test_a_missing_onnx_runtime_names_its_extra(
    one_line: Callable[[Ended, str], str], hollow: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    script = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from mavos_deploy.cli.run import main\n"
        "main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, hollow, video.frames, "--masks", video.mask],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pip install 'mavos-deploy[cpu]'" in one_line(ended, "mavos-run")
    assert not list(tmp_path.iterdir())
