"""Peak memory of a run backward through a long video file, beside that of a run forward.

    python -m benchmarks.backward_memory BUNDLE --minutes 10 --rate 1

Makes a 1080p clip with a key frame every 250 frames, segments it with `mavos-run` both ways, each
in a process of its own, and prints their peaks. The peak doesn't depend on the rate.
"""

import argparse
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from mavos_deploy.runtime.masks.png import write_mask

GROUP = 250  # frames between key frames, the encoder's own default
RUN = """
import resource, sys
from mavos_deploy.cli.run import main
sys.argv[0] = "mavos-run"
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def make_clip(path: Path, height: int, width: int, frames: int, rate: int) -> None:
    """Write a clip of blocks that move."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3))
    still = noise.astype(np.uint8).repeat(16, 0).repeat(16, 1)[:height, :width]
    options = {"preset": "ultrafast", "g": str(GROUP), "bf": "2"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate), options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(np.roll(still, 8 * index, 1), format="rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def peak(bundle: Path, folder: Path, keyframe: int, direction: str, size: tuple[int, int]) -> float:
    """Peak memory of a run from one keyframe, in MB."""
    labels = np.zeros(size, np.uint8)
    labels[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    masks = folder / direction
    masks.mkdir()
    write_mask(masks / f"{keyframe:05d}.png", labels)
    command = [sys.executable, "-c", RUN, str(bundle.resolve()), str(folder / "clip.mp4")]
    command += [f"--masks={masks}", f"--direction={direction}", "--quiet", "--threads=1"]
    command += ["--fit=stretch"]  # the bundle may have any size
    command += [f"--write=store={folder / direction}.mavosmasks"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(ran.stderr)
    return int(ran.stderr.split()[-1]) / 1024


def main() -> None:
    """Run both ways and print the peaks."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=int, default=1, help="frames per second (default: 1)")
    parser.add_argument("--size", default="1080x1920", help="height and width (default: 1080x1920)")
    given = parser.parse_args()
    height, width = map(int, given.size.split("x"))
    frames = round(60 * given.minutes * given.rate)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_clip(folder / "clip.mp4", height, width, frames, given.rate)
        ways = {"forward": 0, "backward": frames - 1}
        peaks = {
            way: peak(given.bundle, folder, keyframe, way, (height, width))
            for way, keyframe in ways.items()
        }
    print(
        f"{frames} frames of {height}x{width}: "
        + ", ".join(f"{w} {m:.0f} MB" for w, m in peaks.items())
    )
    print(f"backward takes {peaks['backward'] - peaks['forward']:.0f} MB more")


if __name__ == "__main__":
    main()
