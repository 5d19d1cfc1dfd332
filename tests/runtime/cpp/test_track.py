"""The command mavos-track beside mavos-run."""

import json
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream
from PIL import ExifTags, Image, ImageFilter

from benchmarks.runs import MAVOS_RUN
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.media.frames import open_frames
from tests.cpp_library import CppLibrary
from tests.made_clips import synthetic_clip
from tests.made_videos import HEIGHT, NOISE, WIDTH, spoil, transformed, video
from tests.runtime.cpp.conftest import built_program

FRAMES = 6
LATE = 3


@pytest.fixture
def program(cpp: CppLibrary) -> Path:
    return built_program("mavos-track")


def write_frames(folder: Path, frames: np.ndarray) -> None:
    """Make a folder of PNGs that are named by their numbers."""
    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{index:05d}.png")


def test_a_folder_of_frames_gives_the_masks_of_python(
    program: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    clip = synthetic_clip(97, 97, FRAMES, objects=2, late_objects=1, late_frame=LATE, seed=3)
    write_frames(tmp_path / "frames", clip.frames)
    (tmp_path / "masks").mkdir()
    first = clip.labels[0]
    late = np.where(np.isin(clip.labels[LATE], np.unique(first)), 0, clip.labels[LATE])
    known = {0: first, LATE: late.astype(np.uint8)}
    for index, labels in known.items():
        write_mask(tmp_path / f"masks/{index:05d}.png", labels)
    command: list[str | Path] = [
        program,
        tiny_bundle,
        "frames",
        "--masks",
        "masks",
        "--output",
        "out",
    ]
    command += ["--overlay", "overlay.avi", "--threads", "1", "--save-state", "state"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert (report["frames"], report["objects"]) == (FRAMES, 3)
    assert (tmp_path / "overlay.avi").stat().st_size > 0
    python = Segmenter.open(tiny_bundle, threads=1)
    state = python.start(clip.frames[0], first)
    for index in range(FRAMES):
        expected = first
        if index:
            expected, state = python.step(clip.frames[index], state, known.get(index))
        picture = Image.open(tmp_path / f"out/{index:05d}.png")
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), expected)
    assert python.load(tmp_path / "state").frame == FRAMES - 1


@pytest.mark.parametrize(
    ("stems", "said"),
    [
        (["0", "00005", "00010", "11"], ""),
        (["0.04", "0.08", "0.12", "0.2"], "are times with decimals"),
        (["9.5", "9.5333671", "9.56673", "9.7"], "are times with decimals"),
        (["9.1333669999", "9.5", "10.0"], "are times with decimals"),
        (["7.5304", "7.25301", "7.98021", "7.175300"], ""),
        (["f_-10", "f_-2", "f_-1", "f_0", "f_3"], "are numbers below zero and above"),
        (["f_-1", "f_-2", "g_0"], ""),
    ],
)
def test_frames_come_in_the_order_of_python(
    program: Path, tiny_bundle: Path, tmp_path: Path, stems: list[str], said: str
) -> None:
    clip = synthetic_clip(97, 97, len(stems), objects=1, seed=3)
    (tmp_path / "frames").mkdir()
    for stem, frame in zip(stems, clip.frames, strict=True):
        Image.fromarray(frame).save(tmp_path / f"frames/{stem}.png")
    write_mask(tmp_path / "frames/mask.png", clip.labels[0])  # which is no frame
    own: list[str | Path] = [tiny_bundle, "frames", "--masks", "frames/mask.png", "--threads", "1"]
    starts: dict[str, list[str | Path]] = {"cpp": [program], "python": [*MAVOS_RUN]}
    for name, start in starts.items():
        command = [*start, *own, "--output", name]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        assert said in ran.stderr, ran.stderr
        assert bool(said) == ("and the order is that of" in ran.stderr)
    for stem in stems:
        cpp, python = (np.asarray(Image.open(tmp_path / f"{name}/{stem}.png")) for name in starts)
        np.testing.assert_array_equal(cpp, python)


def test_frames_whose_order_is_unclear_are_refused(
    program: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    for stem in ("7.5", "7.25", "7.98", "7.175"):
        Image.new("RGB", (97, 97)).save(tmp_path / f"frames/{stem}.png")
    write_mask(tmp_path / "mask.png", np.ones((97, 97), np.uint8))
    command: list[str | Path] = [program, tiny_bundle, "frames", "--masks", "mask.png"]
    command += ["--output", "out"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2, ran.stderr
    assert "rename them all with 3 digits behind the dot, such as 7.500.png if" in ran.stderr


def write_video(path: Path, frames: np.ndarray, rotation: int) -> None:
    """Write a video whose stream says that its colours are BT.709's, as most of HD do."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "3", "crf": "10"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = Colorspace.ITU709
        if rotation:
            stream.set_display_rotation(rotation)
        for index, frame in enumerate(frames):
            rgb = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = rgb.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("rotation", "spoilt"),
    [
        pytest.param(0, False, id="whole"),
        pytest.param(90, False, id="turned"),
        pytest.param(0, True, id="damaged"),
    ],
)
def test_a_video_gives_the_masks_of_python(
    program: Path, tiny_bundle: Path, tmp_path: Path, rotation: int, spoilt: bool
) -> None:
    clip = synthetic_clip(144, 160, FRAMES, objects=3, seed=5)
    write_video(tmp_path / "clip.mp4", clip.frames, rotation)
    if spoilt:
        spoil(tmp_path / "clip.mp4", [4])
    first = np.ascontiguousarray(np.rot90(clip.labels[0], rotation // 90))
    write_mask(tmp_path / "first.png", first)
    codes: list[int] = []
    said: list[str] = []
    for own, options in (([str(program)], []), (MAVOS_RUN, ["--fit", "stretch"])):
        folder = f"masks-{len(codes)}"
        command = [*own, str(tiny_bundle), "clip.mp4", "--masks", "first.png", "--output", folder]
        ran = subprocess.run(
            [*command, "--threads", "1", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        codes.append(ran.returncode)
        said.append(ran.stderr)
    assert codes == [int(spoilt), int(spoilt)], said
    assert ("shown turned by 90 degrees to the left" in said[0]) == bool(rotation)
    if spoilt:
        assert "clip.mp4: damaged and left out: frame 0000" in said[0]
    files = [sorted(p.name for p in (tmp_path / f"masks-{i}").glob("*.png")) for i in range(2)]
    assert files[0] == files[1]
    assert len(files[0]) == FRAMES - spoilt
    for name in files[0]:
        ours, theirs = (np.asarray(Image.open(tmp_path / f"masks-{i}" / name)) for i in range(2))
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("matrix", "mirrored"),
    [((0, 1, 1, 0), True), ((1, 0, 0, -1), True), ((0.9848, 0.1736, -0.1736, 0.9848), False)],
)
def test_a_mirrored_video_gives_the_masks_and_the_lines_of_python(
    program: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    matrix: tuple[float, float, float, float],
    mirrored: bool,
) -> None:
    transformed(video(tmp_path / "clip.mp4", count=3), matrix)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:30, 10:40] = 1
    write_mask(tmp_path / "first.png", labels.T if matrix[0] == 0 else labels)
    said: list[str] = []
    for own, options in (([str(program)], []), (MAVOS_RUN, ["--fit", "stretch"])):
        folder = f"masks-{len(said)}"
        command = [*own, str(tiny_bundle), "clip.mp4", "--masks", "first.png", "--output", folder]
        ran = subprocess.run(
            [*command, "--threads", "1", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        (line,) = (
            line for line in ran.stderr.splitlines() if "as its file" in line or "matri" in line
        )
        said.append(line.removeprefix("mavos-track: "))
    assert said[0] == said[1]
    assert ("mirrored" in said[0]) == mirrored
    for index in range(3):
        ours, theirs = (
            np.asarray(Image.open(tmp_path / f"masks-{i}/{index:05d}.png")) for i in range(2)
        )
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_pictures_that_exif_turns_are_said_as_in_python(
    program: Path, tiny_bundle: Path, tmp_path: Path, suffix: str
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, number in enumerate((6, 5, 7, 8, 6)):
        about = Image.Exif()
        about[ExifTags.Base.Orientation] = number
        Image.fromarray(NOISE).save(folder / f"{index}.{suffix}", exif=about)
    labels = np.zeros((WIDTH, HEIGHT), np.uint8)  # the sides are swapped
    labels[10:40, 10:30] = 1
    write_mask(tmp_path / "first.png", labels)
    ran = subprocess.run(
        [program, tiny_bundle, "frames", "--masks", "first.png", "--output", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    with open_frames(str(folder)) as source:
        assert len(list(source)) == 5
    assert len(source.told.notes) == 4
    assert ran.stderr.splitlines() == [f"mavos-track: {note}" for note in source.told.notes]


def test_a_mask_that_exif_turns_is_refused(
    program: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    Image.fromarray(NOISE).save(tmp_path / "frames/0.png")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 3
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:30, 10:40] = 1
    Image.fromarray(labels).save(tmp_path / "first.png", exif=turned)
    command: list[str | Path] = [program, tiny_bundle, "frames", "--masks", "first.png"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "the mask is shown turned by 180 degrees; save it as it is shown" in ran.stderr


def test_what_is_known_late_is_said_before_a_refusal(
    program: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 3
    Image.fromarray(NOISE).save(tmp_path / "frames/0.jpg")
    Image.fromarray(NOISE).save(tmp_path / "frames/1.jpg", exif=turned)
    Image.fromarray(NOISE[:-8]).save(tmp_path / "frames/2.jpg")
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:30, 10:40] = 1
    write_mask(tmp_path / "first.png", labels)
    command: list[str | Path] = [program, tiny_bundle, "frames", "--masks", "first.png"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    late, refusal = ran.stderr.splitlines()
    assert "1.jpg, unlike images before it, is shown turned by 180 degrees" in late
    assert "frame 2 has another size than the first one" in refusal


@pytest.mark.parametrize("wanted", [1, 2, FRAMES, FRAMES + 1])
def test_at_most_so_many_frames(
    program: Path, tiny_bundle: Path, tmp_path: Path, wanted: int
) -> None:
    clip = synthetic_clip(97, 97, FRAMES, objects=2, seed=3)
    write_frames(tmp_path / "frames", clip.frames)
    write_mask(tmp_path / "first.png", clip.labels[0])
    command: list[str | Path] = [program, tiny_bundle, "frames", "--masks", "first.png"]
    command += ["--output", "out", "--threads", "1", "--max-frames", str(wanted)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    taken = min(wanted, FRAMES)
    assert json.loads(ran.stdout)["frames"] == taken
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{index:05d}.png" for index in range(taken)]


@pytest.mark.parametrize(
    ("most", "code"),
    [
        pytest.param([], 2, id="all"),
        pytest.param(["--max-frames", "4"], 0, id="those-before-the-cut"),
    ],
)
def test_a_cut_off_video_gives_the_frames_and_the_exit_code_of_python(
    program: Path, tiny_bundle: Path, tmp_path: Path, most: list[str], code: int
) -> None:
    source = video(tmp_path / "clip.mp4", count=14, coding={"bf": "2", "g": "14", "refs": "2"})
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    times = [packet.pts or 0 for packet in packets]
    # Behind the cut is a frame that is shown before the last one that is left.
    cut = next(n for n in range(6, 13) if times[n + 1] < times[n])
    end = packets[cut + 1].pos
    assert end is not None
    source.write_bytes(source.read_bytes()[: end + 4])
    first = np.zeros((HEIGHT, WIDTH), np.uint8)
    first[10:30, 10:40] = 1
    write_mask(tmp_path / "first.png", first)
    found: list[tuple[int, list[str]]] = []
    for own, options in (([str(program)], []), (MAVOS_RUN, ["--fit", "stretch"])):
        folder = f"masks-{len(found)}"
        command = [*own, str(tiny_bundle), "clip.mp4", "--masks", "first.png", "--output", folder]
        ran = subprocess.run(
            [*command, "--threads", "1", *options, *most],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        names = sorted(path.name for path in (tmp_path / folder).glob("*.png"))
        found.append((ran.returncode, names))
    assert found[0] == found[1]
    assert found[0][0] == code
    assert found[0][1][0] == "00000.png"


def test_a_device_is_no_file(program: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    ran = subprocess.run(
        [program, tiny_bundle, "/dev/null", "--masks", "first.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "mavos-track: /dev/null can't be opened as a video" in ran.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["nothing", "video"], "--masks is missing", id="no-masks"),
        pytest.param(["one", "--masks", "m"], "expected a bundle and a video", id="no-video"),
        pytest.param(["b", "v", "--masks"], "--masks needs a value", id="no-value"),
        pytest.param(["b", "v", "--mask", "m"], "no option --mask", id="unknown-option"),
        pytest.param(["b", "v", "--threads", "x"], "expected a number from 1", id="no-number"),
        pytest.param(
            ["b", "v", "--masks", "m"], "b does not exist; give a bundle's", id="no-bundle"
        ),
    ],
)
def test_a_refusal_is_one_line(program: Path, tmp_path: Path, words: list[str], said: str) -> None:
    ran = subprocess.run(
        [program, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_masks_among_the_frames_are_no_frames(
    program: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    clip = synthetic_clip(97, 97, FRAMES, objects=2, seed=3)
    frames = tmp_path / "frames"
    frames.mkdir()
    for index, frame in enumerate(clip.frames):
        noise = np.random.default_rng(index).integers(0, 9, frame.shape)
        speckled = np.clip(frame.astype(np.int64) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(speckled).save(frames / f"frame_{index:05d}.jpg")
    write_mask(tmp_path / "mask.png", clip.labels[0])

    def run(output: str) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [program, tiny_bundle, "frames", "--masks", "mask.png"]
        command += ["--output", output]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    for name in ("first.png", "frame_00000_mask.png", "frame_00006.png"):
        (frames / name).write_bytes((tmp_path / "mask.png").read_bytes())
        taken = run(name)
        assert taken.returncode == 0, taken.stderr
        assert f"{name} has the content of a mask that was given, mask.png" in taken.stderr
        assert len(list((tmp_path / name).iterdir())) == FRAMES
        other = Image.fromarray(np.roll(clip.labels[0], 1, 0) * 80).convert("RGB")
        other.save(frames / name)  # another mask
        refused = run("out")
        assert refused.returncode == 2
        assert f"{name} of frames may be a mask among the frames; move what is" in refused.stderr
        assert not (tmp_path / "out").exists()
        (frames / name).unlink()
    soft = Image.fromarray(clip.labels[0] * 80).resize((485, 485), Image.Resampling.NEAREST)
    soft = soft.filter(ImageFilter.GaussianBlur(2))
    for mask in (Image.fromarray(clip.labels[0] * 0), soft, soft.convert("RGB")):
        mask.save(frames / "b_00009.png")
        assert "b_00009.png of frames may be a mask among" in run("out").stderr
    (frames / "b_00009.png").unlink()
    with Image.open(frames / "frame_00000.jpg") as image:
        image.save(frames / "b_00009.png")  # of another camera
        image.save(frames / "frame_00008.png")  # of an editor
        image.save(frames / "frame_00007.tif")
    ordinary = run("ordinary")
    assert "frames: frame_00007.tif is not read as a frame; convert it to PNG" in ordinary.stderr
    assert len(list((tmp_path / "ordinary").iterdir())) == FRAMES + 2
    (frames / "frame_00000.png").write_bytes((frames / "frame_00008.png").read_bytes())
    twice = run("out")
    assert twice.returncode == 2
    assert "each stem names one frame and its mask; remove one of them" in twice.stderr


def test_a_folder_of_given_masks_alone_is_said(
    program: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    write_mask(tmp_path / "mask.png", np.ones((HEIGHT, WIDTH), np.uint8))
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames/0.png").write_bytes((tmp_path / "mask.png").read_bytes())
    command: list[str | Path] = [program, tiny_bundle, "frames", "--masks", "mask.png"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "frames holds no frames but masks that --masks gives (0.png)" in ran.stderr
