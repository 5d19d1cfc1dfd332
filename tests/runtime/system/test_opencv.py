"""OpenCV is named where it is missing, by everything that needs it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.masks.picture_files import CutoutWriter
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.media.encoding import VideoWriter
from mavos_deploy.runtime.media.overlay import draw_objects
from mavos_deploy.runtime.resize import resize_frame

RGB = np.zeros((48, 64, 3), np.uint8)
LABELS = np.ones((48, 64), np.uint8)


def _cut_out(folder: Path) -> None:
    CutoutWriter(folder, Legend("v"), together=True).write(LabelledFrame(0, "0", LABELS, RGB))


def _grey_video(folder: Path) -> None:
    with VideoWriter(folder / "matte.mp4", (48, 64)) as video:
        video.write(LABELS)


@pytest.mark.parametrize(
    "use",
    [
        lambda _: resize_frame(RGB, 49, 65),
        lambda _: draw_objects(RGB, LABELS, np.zeros((256, 3), np.uint16)),
        _cut_out,
        _grey_video,
    ],
)
def test_a_missing_opencv_is_refused_with_what_to_install(
    use: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BackendError, match="pip install --force-reinstall opencv-python-headless"):
        use(tmp_path)
    assert not list(tmp_path.iterdir())


def test_commands_do_not_import_it_before_they_need_it() -> None:
    code = "import sys, mavos_deploy.cli.run; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits addresses")
@pytest.mark.parametrize("threads", [None, "2"])
@pytest.mark.parametrize("left", range(20, 380, 40))
def test_limited_memory_ends_no_process_without_a_word(left: int, threads: str | None) -> None:
    code = f"""
import os, resource, sys
from pathlib import Path
from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.system.opencv import opencv
pages = int(Path("/proc/self/statm").read_text().split()[0])
most = pages * os.sysconf("SC_PAGE_SIZE") + {left} * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    print("loaded", opencv().__name__, os.environ.get("OPENBLAS_NUM_THREADS"))
except BackendError as error:
    print(error)
"""
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    if threads:
        environment["OPENBLAS_NUM_THREADS"] = threads
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    if left < 200:
        assert "of addresses, and " in ended.stdout
        assert "raise the limit (`ulimit -v`" in ended.stdout
    elif left > 240:
        assert ended.stdout == f"loaded cv2 {threads}\n"
