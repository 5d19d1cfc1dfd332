"""Edits, controls and second pages of mavos-studio in a real browser."""

from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.evaluation.scenes.clip import Clip
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.runs import box_of
from tests.browser import INSTALLED, complaints
from tests.studio_page import DELETE, ESCAPE, RIGHT, SIDE, TAB, Page
from tests.studio_server import SlowSegmenter, served, stand_in

pytestmark = pytest.mark.skipif(not INSTALLED, reason="needs chromium, chromedriver and selenium")


def names_of(page: Page, selector: str) -> list[str]:
    """Names that a screen reader says, of all elements that are shown."""
    from selenium.webdriver.common.by import By

    found = page.browser.find_elements(By.CSS_SELECTOR, selector)
    return [element.accessible_name for element in found if element.is_displayed()]


CONTROLS = "button, input, select, [tabindex]"
SHOWN = [
    *("Weights", "Undo", "Redo", "Import masks", "Export", "Keys and help", "Put the note away"),
    *("Box", "Click", "Scribble", "Polygon", "Brush", "Eraser", "Move"),
    *("Masks", "Zoom out", "Fit", "Zoom in", "Picture of the frame; tools draw here"),
    "New object",
    *("Choose object 1", "Hide object 1", "Name and colour of object 1", "Delete object 1"),
    *(
        "Watch",
        "Follow backward",
        "Follow both ways",
        "Follow forward",
        "Until frame",
    ),
    *("Fill holes", "Drop specks", "Grow", "Shrink", "Smooth", "Clear"),
    *("Copy from the frame before", "Forget this keyframe"),
    *("First frame", "Frame before", "Play", "Next frame", "Last frame", "Frame", "Timeline"),
]
EXPORT = [
    *("What", "Option", "From frame", "To frame", "object 1", "Command line"),
    *("Copy the command", "Write", "Close"),
]


def test_every_control_has_a_name_a_place_and_a_visible_focus(
    page: Page, scene_video: Path
) -> None:
    with served(scene_video) as client:
        page.open(client.door.address)
        page.keys("n")
        page.until(lambda: "object 1" in page.text("objects"))
        page.until(lambda: "Draw a box around object 1" in page.text("notices"))
        page.run("document.querySelector('.notice button').click()")
        assert names_of(page, CONTROLS) == SHOWN
        outside = page.run(
            """return [...document.querySelectorAll('button, input, select')].filter((element) => {
                const box = element.getBoundingClientRect();
                const scrolls = element.closest('aside, dialog');
                return box.width && (box.right > innerWidth || box.left < 0 ||
                    (!scrolls && (box.bottom > innerHeight || box.top < 0)));
            }).map((element) => element.id)"""
        )
        assert not outside
        assert page.run("return [innerWidth, innerHeight]") == [1280, 720]
        assert page.run("return document.documentElement.scrollHeight <= innerHeight")
        reached = set()
        page.run("document.activeElement.blur()")
        for _ in range(len(SHOWN)):
            page.keys(TAB)
            if page.run("return document.activeElement === document.body"):
                break  # after the last one
            reached.add(page.run("return document.activeElement.id"))
            style = page.run(
                "const s = getComputedStyle(document.activeElement);"
                "return [s.outlineStyle, parseFloat(s.outlineWidth)]"
            )
            assert style == ["solid", 3], page.run("return document.activeElement.outerHTML")
        assert reached >= {"export", "picture", "forward", "timeline", "frame"}
        page.keys("w")
        page.until(lambda: page.run("return document.getElementById('export-dialog').open"))
        assert "no masks yet" in page.text("command-why")
        inside = ", ".join(f"#export-dialog {one}" for one in CONTROLS.split(", "))
        assert names_of(page, inside) == EXPORT
        page.press("Close")
        page.keys("?")
        page.until(lambda: "Follow forward" in page.text("keys"))
        page.shot("keys")
        page.press("Close")
        assert not complaints(page.browser)


def test_what_was_given_up_is_neither_shown_nor_saved(
    page: Page, scene_video: Path, tmp_path: Path
) -> None:
    tracker = stand_in(SlowSegmenter(0.05))
    with served(scene_video, tracker) as client:
        page.open(client.door.address)
        page.keys("n", "b")
        page.until(lambda: client.project["objects"])
        page.go(5)
        page.drag((60, 60), (100, 60))
        before = client.project["revision"]

        # A stroke that Esc ends goes from the picture.
        page.gesture((60, 120), (100, 120), during=ESCAPE)
        assert page.shown(80, 120) == 0
        assert page.shown(80, 60) == 1

        # One that another frame interrupts stays out of both, and it is said.
        page.gesture((60, 120), (100, 120), during=RIGHT)
        page.until(lambda: "draw it again" in page.text("notices"))
        assert page.run("return document.body.dataset.frame") == "6"
        assert page.shown(80, 120) == 0
        assert client.project["revision"] == before

        # Following is watched from where it begins, and the frames before aren't shown.
        page.go(5)
        page.run(
            "window.seen = []; import('/page/store.js').then(({on, state}) => {"
            "on('frame', () => window.seen.push(state.frame)); window.hears = true; })"
        )
        page.until(lambda: page.run("return window.hears"))
        page.run("document.getElementById('until').value = 9")
        page.keys("f")
        page.until(lambda: page.run("return document.body.dataset.frame") == "9")
        assert min(page.run("return window.seen")) >= 5

        # A frame that was followed is no keyframe that could be forgotten.
        page.followed()
        page.keys(DELETE)
        page.go(5)
        assert page.mask(9).any()

        # A file that is too large isn't sent.
        with (tmp_path / "large.png").open("wb") as file:
            file.truncate(5 << 30)
        page.choose_file(tmp_path / "large.png")
        page.until(lambda: "256 MB are taken at most" in page.text("notices"))
        assert not complaints(page.browser)


def test_two_pages_at_once_and_files_that_are_no_masks(
    page: Page, scene_video: Path, scene: Clip, tmp_path: Path
) -> None:
    with served(scene_video) as client:
        page.open(client.door.address)
        left, top, width, height = box_of(scene.labels[0] == 1)
        page.drag((left - 3, top - 3), (left, top), (left + width + 3, top + height + 3))
        assert page.mask(0).any()

        # What another page draws appears here, and is not painted over by an older mask.
        other = np.zeros((SIDE, SIDE), np.uint8)
        other[150:170, 10:30] = 1
        client.put(0, other, [1])
        page.until(lambda: page.shown(20, 160) == 1)
        page.keys("b")
        page.drag((160, 30), (170, 40))
        both = page.mask(0)
        assert both[160, 20] == 1
        assert both[30, 160] == 1

        # After an undo, drawing goes on from what is there.
        page.keys("z")
        page.until(lambda: page.shown(160, 30) == 0)
        page.drag((160, 40), (170, 50))
        page.drag((160, 30), (170, 30))
        both = page.mask(0)
        assert both[[20, 30, 160], [160, 160, 20]].tolist() == [0, 1, 1]

        # One mask has nothing to follow to from its other side.
        assert page.run("return document.getElementById('fuse').hidden")
        page.keys("u")
        page.until(lambda: "no second frame whose mask you made" in page.text("notices"))

        # A file that is no mask is refused in words, and changes nothing.
        wrong = tmp_path / "notes.png"
        wrong.write_text("no picture")
        page.choose_file(wrong)
        page.until(lambda: "notes.png" in page.text("notices"))
        assert np.array_equal(page.mask(0), both)

        # A mask file is taken over, with its new object.
        more = np.zeros((SIDE, SIDE), np.uint8)
        more[20:40, 20:40] = 7
        write_mask(tmp_path / "more.png", more)
        page.choose_file(tmp_path / "more.png")
        page.until(lambda: "more.png is now the mask of frame 0" in page.text("notices"))
        assert page.mask(0)[30, 30] == 7
        page.until(lambda: len(page.project["objects"]) == 2)

        # Without the token there is a page that says what to do.
        page.browser.delete_all_cookies()
        page.browser.get(client.door.address.partition("?")[0])
        assert "token" in page.run("return document.body.innerText")
