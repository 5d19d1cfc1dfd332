"""The GStreamer element mavossegment, in pipelines of gst-launch-1.0."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.evaluation.scenes.clip import Clip
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.objects import Labels
from tests.cpp_library import CppLibrary
from tests.made_clips import synthetic_clip
from tests.runtime.cpp.conftest import VARIABLE

FRAMES = 4
SIZE = (97, 97)
PICTURES = (
    f"multifilesrc location=%05d.png index=0 stop-index={FRAMES - 1} "
    "caps=image/png,framerate=10/1 ! pngdec ! videoconvert !"
)


class Gst:
    """Calls the tools of GStreamer with the built element in their path."""

    def __init__(self, plugins: Path, folder: Path) -> None:
        self._folder = folder
        self._prints_metadata = plugins / "tests" / "mavos_gst"
        self._environment = {
            **os.environ,
            "GST_PLUGIN_PATH": str(plugins),
            "GST_REGISTRY": str(folder / "registry.bin"),
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def launch(self, pipeline: str) -> subprocess.CompletedProcess[str]:
        return self.run("gst-launch-1.0", "-q", *pipeline.split())

    def metadata(self, pipeline: str, seek_after: int = 0) -> list[list[str]]:
        """What the frames of a pipeline carry, in words; it ends in `fakesink name=out`."""
        ran = self.run(str(self._prints_metadata), pipeline, str(seek_after))
        assert ran.returncode == 0, ran.stderr
        return [line.split() for line in ran.stdout.splitlines()]


@pytest.fixture
def gst(cpp: CppLibrary, tmp_path: Path) -> Gst:
    plugins = Path(os.environ[VARIABLE])
    if not (plugins / "libgstmavos.so").exists() or shutil.which("gst-launch-1.0") is None:
        pytest.skip(
            "the element was not built, which needs libgstreamer-plugins-base1.0-dev, "
            "gstreamer1.0-tools and gstreamer1.0-plugins-good"
        )
    return Gst(plugins, tmp_path)


def test_the_element_describes_itself(gst: Gst) -> None:
    ran = gst.run("gst-inspect-1.0", "mavossegment")
    assert ran.returncode == 0, ran.stderr
    for name in ("bundle", "masks", "threads", "provider", "output", "drop-late"):
        assert f"  {name} " in ran.stdout


def write_clip(folder: Path, frames: int = FRAMES) -> Clip:
    """A clip, whose frames and first mask are files in a folder."""
    clip = synthetic_clip(*SIZE, frames, objects=2, seed=3)
    for index, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(folder / f"{index:05d}.png")
    write_mask(folder / "first.png", clip.labels[0])
    return clip


def labels_of_python(bundle: Path, clip: Clip) -> list[Labels]:
    python = Segmenter.open(bundle, threads=1)
    found, state = [clip.labels[0]], python.start(clip.frames[0], clip.labels[0])
    for frame in clip.frames[1:]:
        labels, state = python.step(frame, state)
        found.append(labels)
    return found


def in_words(labels: Labels) -> list[str]:
    """Size, checksum and boxes of a mask, as `mavos_gst` prints them."""
    checksum = 14695981039346656037
    for byte in labels.tobytes():
        checksum = (checksum ^ byte) * 1099511628211 % 2**64
    words = [f"{labels.shape[1]}x{labels.shape[0]}:{checksum:016x}"]
    for identity in np.unique(labels[labels > 0]):
        ys, xs = np.nonzero(labels == identity)
        width, height = np.ptp(xs) + 1, np.ptp(ys) + 1
        words.append(f"{identity}:{xs.min()},{ys.min()},{width},{height}")
    return words


def test_files_give_the_labels_of_python(gst: Gst, tiny_bundle: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path)
    ran = gst.launch(
        f"{PICTURES} mavossegment bundle={tiny_bundle} masks=first.png threads=1 output=labels ! "
        "multifilesink location=labels-%d.raw"
    )
    assert ran.returncode == 0, ran.stderr
    stride = -(-SIZE[1] // 4) * 4  # GStreamer's rows of one byte a pixel begin at multiples of four
    for index, expected in enumerate(labels_of_python(tiny_bundle, clip)):
        raw = np.fromfile(tmp_path / f"labels-{index}.raw", np.uint8).reshape(SIZE[0], stride)
        np.testing.assert_array_equal(raw[:, : SIZE[1]], expected)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_an_overlay_colours_the_objects(
    gst: Gst, tiny_bundle: Path, tmp_path: Path, order: str
) -> None:
    clip = write_clip(tmp_path)
    # Two elements get the same pictures, and each has to draw into its own.
    element = f"mavossegment bundle={tiny_bundle} masks=first.png threads=1"
    ran = gst.launch(
        f"{PICTURES} video/x-raw,format={order} ! tee name=both ! queue ! {element} ! "
        "videoconvert ! video/x-raw,format=RGB ! pngenc ! multifilesink location=overlay-%d.png "
        f"both. ! queue ! {element} ! fakesink"
    )
    assert ran.returncode == 0, ran.stderr
    palette = Image.open(tmp_path / "first.png").getpalette()
    assert palette is not None
    colors = np.array(palette, int).reshape(-1, 3)
    for index, labels in enumerate(labels_of_python(tiny_bundle, clip)):
        expected = clip.frames[index].astype(int)
        seen = labels > 0
        expected[seen] = (expected[seen] + colors[labels[seen]]) // 2
        got = np.asarray(Image.open(tmp_path / f"overlay-{index}.png"))
        np.testing.assert_array_equal(got, expected)


def test_masks_and_boxes_are_metadata(gst: Gst, tiny_bundle: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path)
    # Through a conversion, which has to hand the metadata on.
    found = gst.metadata(
        f"{PICTURES} mavossegment bundle={tiny_bundle} masks=first.png threads=1 output=metadata ! "
        "videoconvert ! video/x-raw,format=I420 ! fakesink name=out"
    )
    times = [str(100 * index) for index in range(FRAMES)]
    assert [words[0] for words in found] == times
    wanted = [in_words(labels) for labels in labels_of_python(tiny_bundle, clip)]
    assert [words[1:] for words in found] == wanted


def test_scaled_pictures_lose_masks_and_keep_boxes(
    gst: Gst, tiny_bundle: Path, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path)
    found = gst.metadata(
        f"{PICTURES} mavossegment bundle={tiny_bundle} masks=first.png threads=1 output=metadata ! "
        "videoscale ! video/x-raw,width=40,height=40 ! fakesink name=out"
    )
    assert [words[1] for words in found] == ["none"] * FRAMES
    for words, labels in zip(found, labels_of_python(tiny_bundle, clip), strict=True):
        for word, whole in zip(words[2:], in_words(labels)[1:], strict=True):
            (identity, box), (wanted, at) = word.split(":"), whole.split(":")
            assert identity == wanted
            scaled = np.array(at.split(","), int) * 40 / np.array([*SIZE, *SIZE])
            assert np.abs(np.array(box.split(","), int) - scaled).max() <= 1


def test_a_seek_starts_anew_with_the_mask(gst: Gst, tiny_bundle: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path, frames=12)
    ran = gst.launch(
        "multifilesrc location=%05d.png index=0 stop-index=11 caps=image/png,framerate=5/1 ! "
        "pngdec ! videoconvert ! jpegenc ! avimux ! filesink location=clip.avi"
    )
    assert ran.returncode == 0, ran.stderr
    pipeline = (
        "filesrc location=clip.avi ! avidemux ! jpegdec ! videoconvert ! "
        f"mavossegment bundle={tiny_bundle} masks=first.png threads=1 output=metadata ! "
        "fakesink name=out sync=true"
    )
    through = gst.metadata(pipeline)
    assert [words[0] for words in through] == [str(200 * index) for index in range(12)]
    sought = gst.metadata(pipeline, seek_after=3)
    assert len(sought) > len(through)  # it went back
    assert through[0][1:] == in_words(clip.labels[0])
    assert sought[-12:] == through


def test_a_live_source_runs(gst: Gst, tiny_bundle: Path, tmp_path: Path) -> None:
    write_mask(tmp_path / "first.png", synthetic_clip(*SIZE, 1, objects=2, seed=3).labels[0])
    ran = gst.launch(
        "videotestsrc is-live=true num-buffers=6 ! "
        f"video/x-raw,width={SIZE[1]},height={SIZE[0]},framerate=10/1 ! videoconvert ! "
        f"mavossegment bundle={tiny_bundle} masks=first.png threads=1 drop-late=true ! "
        "videoconvert ! fakesink sync=true"
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param("", "set the properties bundle and masks", id="nothing-set"),
        pytest.param("bundle=nothing masks=first.png", "nothing does not exist", id="no-bundle"),
    ],
)
def test_a_refusal_is_a_message(gst: Gst, tmp_path: Path, options: str, said: str) -> None:
    write_mask(tmp_path / "first.png", np.ones(SIZE, np.uint8))
    ran = gst.launch(
        f"videotestsrc num-buffers=2 ! videoconvert ! mavossegment {options} ! fakesink"
    )
    assert ran.returncode != 0
    assert said in ran.stderr + ran.stdout


def test_a_stream_of_another_size_is_refused(gst: Gst, tiny_bundle: Path, tmp_path: Path) -> None:
    write_mask(tmp_path / "first.png", np.ones(SIZE, np.uint8))
    ran = gst.launch(
        "videotestsrc num-buffers=2 ! video/x-raw,width=320,height=240 ! videoconvert ! "
        f"mavossegment bundle={tiny_bundle} masks=first.png ! fakesink"
    )
    assert ran.returncode != 0
    assert "first.png is 97x97 and the stream 320x240" in ran.stderr + ran.stdout
