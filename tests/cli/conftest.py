"""A small untrained bundle, a small video in several forms, and ways to call the commands."""

import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from PIL import Image

from mavos_deploy.cli.entry import COMMANDS as MODULES
from mavos_deploy.runtime.masks.png import write_mask
from tests.bundles import copy_to_change, hollow_bundle
from tests.made_clips import synthetic_clip

if TYPE_CHECKING:
    from tests.exports import Exports

VIDEO = (64, 96)  # pixels; the bundle below is made for this size
FRAMES = 10
LATE = 5  # frame in which object 3 joins
COMMANDS = {
    "mavos": import_module("mavos_deploy.cli.program").main,
    **{
        f"mavos-{name}": import_module(f"mavos_deploy.cli.{module}").main
        for name, module in MODULES.items()
    },
}

Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def bundle(exported: "Exports") -> Path:
    return exported("mobilenet", (65, 97), 2, "cpu")


@pytest.fixture(scope="session")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without graphs, for what is refused before they load."""
    return hollow_bundle(tmp_path_factory.mktemp("hollow"))


@pytest.fixture
def own_bundle(bundle: Path, tmp_path: Path) -> Path:
    """A copy to spoil; replace its graphs, for they are links to the other's."""
    return copy_to_change(bundle, tmp_path / "bundle")


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One video of two objects and a late third one."""
    folder = tmp_path_factory.mktemp("video")
    made = SimpleNamespace(
        frames=folder / "frames",
        clip=folder / "clip.mp4",
        truth=folder / "truth",  # masks of every frame
        mask=folder / "first.png",
    )
    made.frames.mkdir()
    made.truth.mkdir()
    clip = synthetic_clip(*VIDEO, FRAMES, objects=2, late_objects=1, late_frame=LATE)
    for index, (frame, labels) in enumerate(zip(clip.frames, clip.labels, strict=True)):
        Image.fromarray(frame).save(made.frames / f"{index:05d}.png")
        write_mask(made.truth / f"{index:05d}.png", labels)
    write_mask(made.mask, clip.labels[0])
    write_video(made.clip, clip.frames)
    return made


def write_video(path: Path, frames: np.ndarray, codec: str = "libx264") -> None:
    # With its index first, an MP4 file that is cut off still opens.
    options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, Fraction(10))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def encode() -> Callable[..., None]:
    return write_video


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """Run a command in this process, in the test's folder."""

    def run(command: str, *arguments: str | Path) -> Ended:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
        capfd.readouterr()
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as ended:
                COMMANDS[command]()
        finally:
            signal.signal(signal.SIGTERM, before)
        said = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended([command], code, said.out, said.err)

    return run


@pytest.fixture
def refused(call: Callable[..., Ended], tmp_path: Path) -> Callable[..., str]:
    """Run a command that must change nothing, exit with 2 and say why in one line."""

    def run(command: str, *arguments: str | Path) -> str:
        before = _contents(tmp_path)
        ended = call(command, *arguments)
        assert _contents(tmp_path) == before
        return reason(ended, command)

    return run


@pytest.fixture(scope="session")
def one_line() -> Callable[[Ended, str], str]:
    return reason


def reason(ended: Ended, command: str) -> str:
    """The one line that a command gives as its reason to refuse."""
    assert ended.returncode == 2, ended
    lines = [line for line in ended.stderr.splitlines() if "UNTRAINED WEIGHTS" not in line]
    assert len(lines) == 1, ended.stderr
    prefix = f"{command}: error: "
    assert lines[0].startswith(prefix)
    return lines[0].removeprefix(prefix)


def _contents(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in folder.rglob("*")
        if not path.is_dir()
    } | {str(path): (0, 0, 0) for path in folder.rglob("*") if path.is_dir()}
