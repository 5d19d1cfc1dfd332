"""Make masks of a sequence on the page of mavos-studio, with one box and one stroke, for scoring.

    python -m benchmarks.studio_page BUNDLE DATA bear --output masks --screenshots shots
    mavos-eval DATA --results masks --split train --sequences bear

Does in Chromium what a person would: opens the page, draws a box around the object of the first
frame (that of the true mask, 5% of its sides wider on each side), follows, writes the overlay
video, goes to the frame in which the tracker is least confident, draws one stroke there, placed by
the rule of `studio_masks.py`, follows again, and writes palette PNGs, which become
`masks/<sequence>`. Takes a picture of each step. Needs chromium, chromedriver and selenium.
"""

import argparse
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.studio_masks import box_around, corrective_stroke, least_certain, truth_of
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from tests.browser import complaints, opened
from tests.studio_page import Page, Process


def main() -> None:
    """Make masks of the sequence."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path, help="bundle folder")
    parser.add_argument("data", type=Path, help="folder of a data set")
    parser.add_argument("sequence", help="name of a sequence, such as bear")
    parser.add_argument("--split", default="train", help="its split (default: train)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the masks")
    parser.add_argument("--screenshots", type=Path, required=True, help="folder for pictures")
    options = parser.parse_args()
    dataset = open_dataset(options.data, split=options.split)
    (sequence,) = (each for each in dataset.sequences if each.name == options.sequence)
    images = next(iter(sequence.images.values())).parent
    options.screenshots.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        process = Process(options.bundle, images, Path(folder) / "project")
        try:
            with opened(Path(folder) / "browser") as browser:
                page = Page(browser, options.screenshots)
                page.open(process.address)
                written = annotate(page, sequence)
                assert not complaints(browser)
            shutil.rmtree(options.output / sequence.name, ignore_errors=True)
            shutil.copytree(written, options.output / sequence.name)
        finally:
            process.kill()


def annotate(page: Page, sequence: VideoSequence) -> Path:
    """Make the masks of a sequence; the folder that the page wrote."""
    stems = list(sequence.images)
    started = time.perf_counter()
    page.shot("open")
    left, top, right, bottom = box_around(truth_of(sequence, stems[0]))
    page.drag((left, top), ((left + right) / 2, bottom), (right, bottom))
    page.shot("box")
    follow(page)
    page.shot("followed")
    write(page, "overlay")
    last = page.project["frames"] - 1
    values = page.ask(f"/api/confidence?from=1&to={last}")["objects"]["1"]
    worst = 1 + least_certain(values)
    page.go(worst)
    page.shot("least confident")
    stroke = corrective_stroke(page.mask(worst) > 0, truth_of(sequence, stems[worst]))
    page.keys("s")
    if not stroke.foreground:
        page.keys("x")
    page.drag(*stroke.points)
    page.shot("stroke")
    follow(page)
    page.shot("followed again")
    written = write(page, "palette")
    seconds = time.perf_counter() - started
    print(f"{sequence.name}: stroke in frame {worst} of {last + 1}; {seconds:.0f} s in all")
    return written


def follow(page: Page) -> None:
    """Follow forward, to the end."""
    revision = page.project["revision"]
    page.keys("f")
    page.until_other_than(revision)
    page.followed()


def write(page: Page, kind: str) -> Path:
    """Write a result; its file or folder."""
    page.keys("w")
    page.run(
        "const r = document.getElementById('result'); r.value = arguments[0];"
        "r.dispatchEvent(new Event('change'))",
        kind,
    )
    page.until(lambda: kind in page.text("command"))
    page.press("Write")
    page.until(lambda: page.project["exports"] and page.project["exports"][-1]["kind"] == kind)
    page.until(lambda: page.project["exports"][-1]["state"] == "done")
    page.until(lambda: "Written" in page.text("export-state"))
    page.shot(kind)
    page.press("Close")
    return Path(page.project["exports"][-1]["path"])


if __name__ == "__main__":
    main()
