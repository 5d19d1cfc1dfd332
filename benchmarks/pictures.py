"""`mavos-run` over a folder of pictures, on one backend after another, with their masks compared.

    python -m benchmarks.pictures BUNDLE --backend onnxruntime-cuda --backend onnxruntime-cpu \
        --output pictures.json

The time is that of the whole command, from its start to the last mask on the disk; `mavos-run` also
says its frames a second. The agreement is the share of pixels that equal the last backend's, in the
worst frame.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.runs import MAVOS_RUN
from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.runtime.geometry import parse_size
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.system.files import replacing

TOLD = ("frames", "objects", "seconds", "fps", "notes")  # of what `mavos-run` says; no paths


def main() -> int:
    """Run, compare, and write the file; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--backend", action="append", required=True, help="several, if need be")
    parser.add_argument("--size", default="1080x1920", help="of the pictures; default: %(default)s")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    report: dict[str, Any] = {"size": given.size, "frames": given.frames, "backends": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        clip = iter_clip(*parse_size(given.size), given.frames, objects=given.objects)
        for index, (frame, labels) in enumerate(clip):
            Image.fromarray(frame).save(folder / "pictures" / f"{index:05}.jpg", quality=95)
            if index == 0:
                write_mask(folder / "first.png", labels)
        for backend in dict.fromkeys(given.backend):
            report["backends"][backend] = figures = segmented(given.bundle, backend, folder)
            if figures["exit_code"]:
                break
        else:
            reference = folder / given.backend[-1]
            for backend, figures in report["backends"].items():
                figures["agreement"] = min(
                    float(np.mean(pixels(folder / backend / mask.name) == pixels(mask)))
                    for mask in sorted(reference.glob("*.png"))
                )
    with replacing(given.output) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    return int(any(figures["exit_code"] for figures in report["backends"].values()))


def segmented(bundle: Path, backend: str, folder: Path) -> dict[str, Any]:
    """Run the command once, into a folder of the backend's name."""
    command = [*MAVOS_RUN, str(bundle), str(folder / "pictures"), "--backend", backend]
    paths = ["--masks", str(folder / "first.png"), "--output", str(folder / backend)]
    started = time.perf_counter()
    done = subprocess.run([*command, *paths, "--json"], check=False, capture_output=True, text=True)
    seconds = round(time.perf_counter() - started, 2)
    if done.returncode:
        return {"exit_code": done.returncode, "seconds": seconds, "stderr": done.stderr[-2000:]}
    told = json.loads(done.stdout)
    figures = {name: told[name] for name in TOLD}
    return {"exit_code": 0, "seconds": seconds, "mavos_run": figures}


def pixels(mask: Path) -> Any:  # noqa: ANN401
    """Ids of a mask's pixels, uint8 [H, W]."""
    with Image.open(mask) as image:
        return np.array(image)


if __name__ == "__main__":
    sys.exit(main())
