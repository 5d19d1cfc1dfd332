"""`mavos-run` says how it read its input, does all that can be done, and exits with 1 at damage."""

import json
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mavos_deploy.cli import run
from mavos_deploy.runtime.masks.png import write_mask
from tests.made_videos import COUNT, HEIGHT, NOISE, WIDTH, seconds_of, shown_at, spoil, video
from tests.stand_in_segmenter import StandInSegmenter

Ended = subprocess.CompletedProcess[str]
Run = Callable[..., Ended]
GROUPS = {"g": "10"}


@pytest.fixture
def segment(
    call: Callable[..., Ended], hollow: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Run `mavos-run` with a segmenter without a network, and the mask of a square."""
    monkeypatch.setattr(run, "open_segmenter", lambda *_, **named: StandInSegmenter())
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8:24, 8:24] = 1
    write_mask(tmp_path / "mask.png", labels)

    def segmented(source: str | Path, *options: str | Path) -> Ended:
        masks = () if "--masks" in options else ("--masks", tmp_path / "mask.png")
        return call("mavos-run", hollow, source, *masks, *options)

    return segmented


def _stems(folder: Path) -> list[int]:
    return sorted(int(file.stem) for file in folder.glob("*.png"))


def _frames(folder: Path, count: int = 6) -> Path:
    folder.mkdir()
    for index in range(count):
        Image.fromarray(np.roll(NOISE, index, 1)).save(folder / f"{index:05d}.jpg")
    return folder


def test_damaged_frames_are_named_and_all_else_is_done(segment: Run, tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", count=40, coding=GROUPS, sound_seconds=4)
    (lost,) = spoil(path, [15])
    ended = segment(path, "--output", "o", "--overlay", "o.mp4")
    assert ended.returncode == 1
    assert f"warning: {path}: damaged and left out: frame {lost:05d}" in ended.stderr
    kept = [number for number in range(40) if number != lost]
    assert _stems(tmp_path / "o") == kept
    with av.open(str(tmp_path / "o.mp4")) as container:
        times = [shown_at(frame) for frame in container.decode(video=0)]
        assert times == [Fraction(number, 10) for number in kept]
        assert container.streams.audio


def test_the_document_names_damage_and_notes(segment: Run, tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", count=30, coding=GROUPS, pixel_aspect=Fraction(2))
    spoil(path, [15])
    ended = segment(path, "--json")
    assert ended.returncode == 1
    document = json.loads(ended.stdout)
    assert document["frames"] == 29
    assert "damaged and left out" in document["damaged"][0]
    assert any("not square" in note for note in document["notes"])


def test_masks_and_overlay_have_the_shown_shape(segment: Run, tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", pixel_aspect=Fraction(2))
    ended = segment(path, "--output", "o", "--overlay", "o.mp4")
    assert ended.returncode == 0
    assert f"stores {HEIGHT}x{WIDTH} pixels that are not square" in ended.stderr
    with Image.open(tmp_path / "o/00000.png") as mask:
        assert mask.size == (2 * WIDTH, HEIGHT)
        assert np.count_nonzero(np.asarray(mask)) == 2 * 16 * 16
    with av.open(str(tmp_path / "o.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (2 * WIDTH, HEIGHT)
        assert stream.sample_aspect_ratio in (None, 1)


def test_an_overlay_has_the_times_of_a_variable_rate(segment: Run, tmp_path: Path) -> None:
    times = [0, 40, 300, 310, 900, 1500, 1510, 1600, 2500, 2600, 3000, 4000]
    path = video(tmp_path / "a.mp4", times=times)
    assert segment(path, "--overlay", "o.mp4").returncode == 0
    with av.open(str(tmp_path / "o.mp4")) as container:
        found = [shown_at(frame) for frame in container.decode(video=0)]
    assert found == [Fraction(time, 1000) for time in times]


def test_a_part_keeps_numbers_and_has_its_own_sound(segment: Run, tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", count=40, coding=GROUPS, sound_seconds=4)
    options = ("--start", "1.5s", "--end", "30", "--every", "5", "--output", "o")
    ended = segment(path, *options, "--overlay", "o.mp4")
    assert ended.returncode == 0
    assert _stems(tmp_path / "o") == [15, 20, 25, 30]
    with av.open(str(tmp_path / "o.mp4")) as container:
        times = [shown_at(frame) for frame in container.decode(video=0)]
        assert times == [0, Fraction(1, 2), 1, Fraction(3, 2)]
        assert abs(seconds_of(container) - 2) < 0.3


def test_a_part_of_the_objects_and_frames_is_written(segment: Run, tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4")
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8:24, 8:24], labels[8:24, 32:48] = 1, 2
    write_mask(tmp_path / "two.png", labels)
    assert segment(path, "--masks", tmp_path / "two.png", "--output", "all").returncode == 0
    given = ("--masks", tmp_path / "two.png", "--objects", "2", "--write-from", "4")
    ended = segment(path, *given, "--output", "o")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"{COUNT - 4} masks of ")
    assert _stems(tmp_path / "o") == list(range(4, COUNT))
    for file in (tmp_path / "o").iterdir():
        whole = np.asarray(Image.open(tmp_path / "all" / file.name))
        assert np.array_equal(np.asarray(Image.open(file)), np.where(whole == 2, 2, 0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(("--objects", "1,x"), "--objects 1,x: expected ids", id="no-id"),
        pytest.param(("--objects", "255"), "expected ids from 1 to 254", id="void"),
        pytest.param(("--objects", "1", "--resume"), "--objects would write other", id="resume"),
        pytest.param(("--write-from", "99"), "--write-from 99: the video has no", id="beyond"),
    ],
)
def test_a_part_that_cannot_be_written_is_refused(
    segment: Run, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    ended = segment(video(tmp_path / "a.mp4"), *options)
    assert ended.returncode == 2
    assert words in ended.stderr


def test_an_object_that_nobody_followed_is_said(segment: Run, tmp_path: Path) -> None:
    ended = segment(video(tmp_path / "a.mp4"), "--objects", "1,7", "--output", "o")
    assert ended.returncode == 0
    assert "warning: --objects: no object 7 was followed" in ended.stderr


def test_a_broken_picture_is_named_and_all_else_is_done(segment: Run, tmp_path: Path) -> None:
    frames = _frames(tmp_path / "frames")
    (frames / "00003.jpg").write_bytes(b"")
    ended = segment(frames, "--output", "o")
    assert ended.returncode == 1
    assert "warning: frame 00003 is left out" in ended.stderr
    assert _stems(tmp_path / "o") == [0, 1, 2, 4, 5]


def test_a_mask_among_the_frames_is_no_frame(segment: Run, tmp_path: Path) -> None:
    frames = _frames(tmp_path / "frames")
    (tmp_path / "mask.png").rename(frames / "000.png")
    ended = segment(frames, "--masks", frames / "000.png", "--output", "o")
    assert ended.returncode == 0
    assert f"{frames / '000.png'} is the mask that was given, so it is no frame" in ended.stderr
    assert _stems(tmp_path / "o") == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("pattern", ["*.jpg", "%05d.jpg"])
def test_a_pattern_is_an_input_whose_results_are_named_after_its_folder(
    segment: Run, tmp_path: Path, pattern: str
) -> None:
    frames = _frames(tmp_path / "frames")
    assert segment(frames / pattern).returncode == 0
    assert len(_stems(tmp_path / "frames-masks")) == 6


def test_a_pattern_that_the_shell_resolved_gets_a_hint(
    refused: Callable[..., str], hollow: Path, tmp_path: Path
) -> None:
    files = sorted(_frames(tmp_path / "frames").iterdir())
    reason = refused("mavos-run", hollow, *files, "--masks", "m.png")
    assert "put a pattern such as 'frames/*.png' in quotes" in reason


def test_sound_that_cannot_be_copied_is_said(segment: Run, tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", "mpeg4", sound_seconds=2, sound_codec="pcm_s16le")
    ended = segment(path, "--overlay", "o.mp4")
    assert ended.returncode == 0
    assert "(pcm_s16le) is not copied, because mp4 can't hold it" in ended.stderr
    assert len(_stems(tmp_path / "a-masks")) == COUNT


def test_damage_before_the_end_of_a_run_that_fails_is_named(segment: Run, tmp_path: Path) -> None:
    frames = _frames(tmp_path / "frames")
    (frames / "00002.jpg").write_bytes(b"")
    Image.new("RGB", (8, 8)).save(frames / "00004.jpg")
    ended = segment(frames, "--output", "o")
    assert ended.returncode == 2
    assert "frame 00002 is left out" in ended.stderr
    assert "frame 00004 is 8x8" in ended.stderr
    assert _stems(tmp_path / "o") == [0, 1, 3]


def test_grey_images_of_16_bits_are_said_and_levels_are_taken(segment: Run, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    values = (NOISE[..., 0].astype(np.uint16) * 10 + 7000).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "frames/0.png")
    ended = segment(tmp_path / "frames")
    assert "7000 becomes black, 9550 white, the range of the clip" in ended.stderr
    ended = segment(tmp_path / "frames", "--levels", "7500,8000", "--overwrite")
    assert ended.returncode == 0
    assert "7500 becomes black, 8000 white" in ended.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--start", "x"), "--start 'x': expected the number of a frame"),
        (("--start", "9", "--end", "3"), "ends at frame 3, before it starts at frame 9"),
        (("--levels", "9"), "--levels '9': expected the values that become black and white"),
        (("--levels", "1,2"), "levels 1,2 are for grey frames of more than 8 bits"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    refused: Callable[..., str], hollow: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    path = video(tmp_path / "a.mp4")
    assert said in refused("mavos-run", hollow, path, "--masks", "m.png", *options)


@pytest.mark.parametrize("kind", ["file", "folder", "animation"])
@pytest.mark.parametrize(
    ("options", "start"), [((), 1), (("--start", "2"), 4), (("--direction", "both"), 1)], ids=str
)
def test_a_mask_that_steps_pass_over_is_named_with_a_start_that_takes_it(
    segment: Run, tmp_path: Path, kind: str, options: tuple[str, ...], start: int
) -> None:
    if kind == "file":
        source = video(tmp_path / "a.mp4", count=12)
    elif kind == "folder":
        source = _frames(tmp_path / "frames", 12)
    else:
        source = tmp_path / "a.webp"
        first, *others = (Image.fromarray(np.roll(NOISE, index, 1)) for index in range(12))
        first.save(source, save_all=True, append_images=others, lossless=True, duration=100)
    (tmp_path / "masks").mkdir()
    (tmp_path / "mask.png").rename(tmp_path / "masks/00007.png")
    given = ("--masks", "masks", "--every", "3", "--output", "o")
    ended = segment(source, *given, *options)
    assert ended.returncode == 2
    said = f"frame 00007 has a mask, and --every leaves the frame out; give --start {start}, "
    assert said in ended.stderr
    rest = options if "--start" not in options else ()
    again = segment(source, *given, *rest, "--start", str(start))
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "o/00007.png").exists()


def test_a_mask_of_a_frame_that_is_not_there_is_not_put_down_to_steps(
    segment: Run, tmp_path: Path
) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "mask.png").rename(tmp_path / "masks/00040.png")
    source = _frames(tmp_path / "frames", 12)
    ended = segment(source, "--masks", "masks", "--every", "3")
    assert ended.returncode == 2
    assert "--every" not in ended.stderr
    assert "no mask belongs to" in ended.stderr


@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_two_masks_of_one_number_are_refused_before_anything_is_written(
    segment: Run, tmp_path: Path, kind: str
) -> None:
    if kind == "video":
        source, names = video(tmp_path / "a.mp4"), ("0", "00000")
    else:
        source, names = _frames(tmp_path / "a"), ("0", "000")
    (tmp_path / "masks").mkdir()
    for name in names:
        content = (tmp_path / "mask.png").read_bytes()
        (tmp_path / "masks" / f"{name}.png").write_bytes(content)
    refused = segment(source, "--masks", tmp_path / "masks", "--output", "o")
    assert refused.returncode == 2
    assert f"masks {names[0]} and {names[1]} both have the number 0" in refused.stderr
    assert not (tmp_path / "o").exists()
    (tmp_path / "masks/0.png").unlink()
    assert segment(source, "--masks", tmp_path / "masks", "--output", "o").returncode == 0
