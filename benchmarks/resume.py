"""Kills a run at random moments, lets it go on, and compares its results with those of one run.

    python -m benchmarks.resume BUNDLE --kills 10 --frames 300

Makes a clip and segments it once without a disturbance; then again and again, with `kill -9` at a
random moment and the same command after it. Exits with 1 where a byte differs.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.runs import MAVOS_RUN, make_clip
from mavos_deploy.runtime.bundles.bundle import Bundle

KINDS = ("palette", "coco", "store", "overlay", "matte", "cutouts")


def command(bundle: Path, folder: Path, *options: str) -> list[str]:
    """A command line that segments the clip of a folder into `folder/out`."""
    written = [f"--write={kind}" for kind in KINDS]
    masks = folder / "first.png"
    paths = [str(bundle.resolve()), str(folder / "clip.mp4"), f"--masks={masks}"]
    return [*MAVOS_RUN, *paths, *written, "--quiet", *options]


def contents(folder: Path) -> dict[str, bytes]:
    """Results by path, without the files that the run is saved in."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and ".resume" not in file.name
    }


def kill_after(seconds: float, line: list[str], folder: Path) -> int:
    """Run a command and kill it; returns its exit code."""
    process = subprocess.Popen(line, cwd=folder)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait()


def main() -> None:
    """Run the check."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--save-every", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    saving = ("--resume", f"--save-every={given.save_every}")
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        height, width = Bundle.open(given.bundle).manifest.size
        make_clip(folder, (height // 2 * 2, width // 2 * 2), given.frames, objects=2)
        whole, killed = folder / "whole", folder / "killed"
        whole.mkdir()
        started = time.monotonic()
        subprocess.run(command(given.bundle, folder), cwd=whole, check=True)
        length = time.monotonic() - started
        expected = contents(whole)
        print(f"one run: {length:.1f} s, {len(expected)} files", flush=True)
        for kill in range(1, given.kills + 1):
            shutil.rmtree(killed, ignore_errors=True)
            killed.mkdir()
            line = command(given.bundle, folder, *saving)
            moment = chance.uniform(0, length)
            code = kill_after(moment, line, killed)
            done = len(list(killed.glob("clip-palette/*.png")))
            subprocess.run(line, cwd=killed, check=True)
            found = contents(killed)
            differing = {f for f in {*expected, *found} if expected.get(f) != found.get(f)}
            wrong += bool(differing)
            verdict = f"other bytes: {sorted(differing)[:3]}" if differing else "the same bytes"
            print(f"kill {kill}: {moment:.1f} s, exit {code}, {done} masks: {verdict}", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
