"""The GStreamer element mavossegment, in pipelines of gst-launch-1.0."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.masks.png import write_mask
from tests.cpp_library import CppLibrary
from tests.made_clips import synthetic_clip
from tests.runtime.cpp.conftest import VARIABLE

FRAMES = 4
SIZE = (97, 97)


class Gst:
    """Calls the tools of GStreamer with the built element in their path."""

    def __init__(self, plugins: Path, folder: Path) -> None:
        self._folder = folder
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


def test_files_give_the_labels_of_python(gst: Gst, tiny_bundle: Path, tmp_path: Path) -> None:
    clip = synthetic_clip(*SIZE, FRAMES, objects=2, seed=3)
    for index, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(tmp_path / f"{index:05d}.png")
    write_mask(tmp_path / "first.png", clip.labels[0])
    ran = gst.launch(
        f"multifilesrc location=%05d.png index=0 stop-index={FRAMES - 1} "
        "caps=image/png,framerate=10/1 ! pngdec ! videoconvert ! "
        f"mavossegment bundle={tiny_bundle} masks=first.png threads=1 output=labels ! "
        "multifilesink location=labels-%d.raw"
    )
    assert ran.returncode == 0, ran.stderr
    python = Segmenter.open(tiny_bundle, threads=1)
    state = python.start(clip.frames[0], clip.labels[0])
    stride = -(-SIZE[1] // 4) * 4  # GStreamer's rows of one byte a pixel begin at multiples of four
    for index in range(FRAMES):
        expected = clip.labels[0]
        if index:
            expected, state = python.step(clip.frames[index], state)
        raw = np.fromfile(tmp_path / f"labels-{index}.raw", np.uint8).reshape(SIZE[0], stride)
        np.testing.assert_array_equal(raw[:, : SIZE[1]], expected)


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
