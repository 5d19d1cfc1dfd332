"""The page of mavos-studio in a real browser, from an empty project to files."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.evaluation.scenes.clip import Clip
from mavos_deploy.runtime.masks.runs import box_of
from mavos_deploy.runtime.objects import Labels
from tests.browser import INSTALLED, complaints
from tests.studio_page import COMMAND, FRAMES, SIDE, Page, Process

pytestmark = pytest.mark.skipif(not INSTALLED, reason="needs chromium, chromedriver and selenium")

MIDDLE = 50


@pytest.fixture
def studio(tiny_bundle: Path, scene_video: Path, tmp_path: Path) -> Iterator[Process]:
    started = Process(tiny_bundle, scene_video, tmp_path / "clip.mavos")
    yield started
    started.kill()


def overlap(first: Labels, second: Labels) -> float:
    """Intersection over union of where two label maps have something."""
    one, other = first > 0, second > 0
    return float((one & other).sum() / (one | other).sum())


def test_from_a_box_to_files(
    page: Page, studio: Process, scene: Clip, tiny_bundle: Path, tmp_path: Path
) -> None:
    page.open(studio.address)
    page.shot("open")
    assert "tiny was trained on made-up scenes" in page.text("about")
    truth = np.where(scene.labels == 1, scene.labels, 0)

    # A box, and more of it with the brush.
    page.go(MIDDLE)
    left, top, width, height = box_of(truth[MIDDLE] > 0)
    right, bottom = left + width, top + height
    page.drag((left - 3, top - 3), ((left + right) / 2, top), (right + 3, bottom + 3))
    boxed = page.mask(MIDDLE)
    assert overlap(boxed, truth[MIDDLE]) > 0.6
    page.shot("box")
    page.keys("b")
    page.drag((left - 9, top - 9), (left - 9, top - 2))
    brushed = page.mask(MIDDLE)
    assert brushed[top - 5, left - 9] == 1
    assert page.project["keyframes"] == [MIDDLE]
    page.shot("brush")
    page.keys("e")
    page.drag((left - 9, top - 9), (left - 9, top - 2))
    assert page.mask(MIDDLE)[top - 5, left - 9] == 0
    assert page.project["undo"]

    # Both ways, and the page loaded anew in the middle of it.
    page.keys("a")
    page.until(lambda: page.project["following"]["done"] > 3)
    page.keys(".")
    page.until(lambda: page.project["following"]["state"] == "paused")
    page.shot("following")
    page.browser.refresh()
    page.ready()
    assert page.text("speed").startswith("Paused.")
    assert page.project["following"]["state"] == "paused"
    page.keys(".")
    page.browser.refresh()
    page.ready()
    page.followed()
    assert page.project["masks"] == [[0, FRAMES - 1]]
    first = page.masks()
    values = page.ask(f"/api/confidence?from=0&to={FRAMES - 1}")["objects"]["1"]
    assert [frame for frame in range(FRAMES) if values[frame] is None] == [MIDDLE]
    page.until(lambda: page.colours_of_confidence() > FRAMES)
    page.shot("followed")

    # A correction goes on from its frame and leaves those before alone.
    later = MIDDLE + 21
    page.go(later)
    page.keys("b")
    page.drag((20, SIDE - 20), (40, SIDE - 20), (40, SIDE - 40))
    page.until(lambda: "Press F to follow on from this mask" in page.text("hint"))
    assert page.run("return !document.getElementById('fuse').hidden"), "two masks were made"
    page.shot("corrected")
    page.keys("f")
    page.until(lambda: page.project["undo"] == f"following forward from frame {later}")
    page.followed()
    second = page.masks()
    kept = -(-later // 7)
    assert second[:kept] == first[:kept]
    assert second[kept:] != first[kept:]

    # Undo and redo take following back and forth without computing.
    revision = page.project["revision"]
    page.keys("zz")  # at once: the second waits for the first
    page.until(lambda: page.project["revision"] == revision + 2)
    assert page.masks() == first
    for _ in range(2):
        revision = page.project["revision"]
        page.keys("Z")
        page.until_other_than(revision)
    page.until(lambda: page.masks() == second)
    assert not complaints(page.browser)

    # The server dies while it follows, and is started again.
    page.go(later)
    page.press("Follow backward")
    page.until(lambda: page.project["following"]["direction"] == "backward")
    page.until(lambda: page.project["following"]["done"] > 2)
    known = page.project
    studio.kill()
    page.until(lambda: page.run("return !document.getElementById('connection').hidden"))
    assert "lost" in page.text("connection")
    page.shot("server gone")
    before = studio.address
    studio.start()
    assert studio.address == before
    page.until(lambda: page.run("return document.getElementById('connection').hidden"))
    page.until(lambda: page.known == page.project["revision"])
    lost = complaints(page.browser)
    assert all("/api/" in line for line in lost), "only requests that found no server"
    assert page.project["keyframes"] == known["keyframes"]
    assert page.project["masks"] == [[0, FRAMES - 1]]
    page.keys("z")
    page.until(lambda: page.masks() == second)

    export_and_compare(page, tiny_bundle, tmp_path)
    assert not complaints(page.browser)


def export_and_compare(page: Page, bundle: Path, folder: Path) -> None:
    """Write palette PNGs with the page and with the command that it shows; they are the same."""
    page.keys("w")
    page.run(
        "const r = document.getElementById('result'); r.value = 'palette';"
        "r.dispatchEvent(new Event('change'))"
    )
    page.until(lambda: "palette" in page.text("command"))
    page.shot("export")
    command = page.text("command")
    assert "same bytes" in page.text("command-why")
    page.press("Write")
    page.until(lambda: page.project["exports"] and page.project["exports"][-1]["state"] == "done")
    page.until(lambda: "Written" in page.text("export-state"))
    page.shot("written")
    name, *words = shlex.split(command)
    assert (name, words[0]) == ("mavos-run", str(bundle))
    subprocess.run([sys.executable, "-c", COMMAND.format("run"), *words], cwd=folder, check=True)
    written = Path(page.project["exports"][-1]["path"])
    other = folder / shlex.split(command)[-1].partition("=")[2]
    names = sorted(file.name for file in written.iterdir() if file.suffix == ".png")
    assert len(names) == FRAMES
    assert {name: (written / name).read_bytes() for name in names} == {
        file.name: file.read_bytes() for file in other.iterdir() if file.suffix == ".png"
    }
