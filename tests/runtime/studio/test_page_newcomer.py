"""What somebody who has never seen the page of mavos-studio does with it, in a real browser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mavos_deploy.evaluation.scenes.clip import Clip
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.runs import box_of
from tests.browser import INSTALLED, complaints
from tests.stand_in_segmenter import StandInSegmenter
from tests.studio_page import ESCAPE, FRAMES, SIDE, Page
from tests.studio_server import SlowSegmenter, served, stand_in

pytestmark = pytest.mark.skipif(not INSTALLED, reason="needs chromium, chromedriver and selenium")

RIGHT_BUTTON = 2
ENTER = "\ue007"
Corners = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


def around(scene: Clip, number: int, frame: int = 0) -> Corners:
    """A way of the pointer that draws a box around an object."""
    left, top, width, height = box_of(scene.labels[frame] == number)
    return (left - 3, top - 3), (left, top), (left + width + 3, top + height + 3)


def middle(scene: Clip, number: int, frame: int = 0) -> tuple[float, float]:
    left, top, width, height = box_of(scene.labels[frame] == number)
    return left + width / 2, top + height / 2


def covers(page: Page, one: str, other: str) -> bool:
    """Whether an element lies over another."""
    script = """
        const [a, b] = [...arguments].map((name) =>
            document.querySelector(name).getBoundingClientRect());
        return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;"""
    return bool(page.run(script, one, other))


def test_a_box_begins_anew_and_the_right_button_never_draws_one(
    page: Page, scene_video: Path, scene: Clip
) -> None:
    with served(scene_video) as client:
        page.open(client.door.address)
        (left, top), _, (right, bottom) = box = around(scene, 1)

        # A click that went wrong doesn't count any more once a box is drawn.
        page.drag((SIDE - 6, SIDE - 6), (SIDE - 6, SIDE - 6))
        assert page.mask(0)[SIDE - 6, SIDE - 6] == 1
        page.drag(*box)
        boxed = page.mask(0) == 1
        assert boxed.any()
        outside = np.ones_like(boxed)
        outside[int(top) - 1 : int(bottom) + 2, int(left) - 1 : int(right) + 2] = False
        assert not (boxed & outside).any()

        # The right button says "not here", however far it is dragged.
        x, y = middle(scene, 1)
        page.drag((x, top + 1), (x + 2, y), button=RIGHT_BUTTON)
        less = page.mask(0) == 1
        assert less.any()
        assert less.sum() < boxed.sum()
        assert not less[round(y), round(x) + 1]

        # An undo brings the box back for the next stroke, not the mask alone.
        page.keys("z")
        page.until(lambda: np.array_equal(page.mask(0) == 1, boxed))
        hints = (
            "const done = arguments[0]; import('/page/editing.js').then(({currentHints}) => {"
            "const found = currentHints();"
            "done(found && [found.box !== null, found.strokes.length]); })"
        )
        page.until(lambda: page.browser.execute_async_script(hints) == [True, 0])

        # After undo and redo, the next stroke goes on from what is shown.
        page.keys("Z")
        page.until(lambda: np.array_equal(page.mask(0) == 1, less))
        page.until(lambda: page.browser.execute_async_script(hints) == [True, 1])

        # Undo counts on the new mask being shown, whatever asks for it meanwhile.
        overtaken = (
            "const done = arguments[0];"
            "Promise.all([import('/page/frames.js'), import('/page/store.js')]).then("
            "async ([{ refresh }, { state }]) => { const { version } = state.shown;"
            "state.shown = { ...state.shown, version: -1 }; const first = refresh(); refresh();"
            "await first; done(state.shown.version === version); })"
        )
        assert page.browser.execute_async_script(overtaken)
        page.keys("zz")
        page.until(lambda: not (page.mask(0) == 1)[boxed].all())
        page.keys("Z")
        page.until(lambda: np.array_equal(page.mask(0) == 1, boxed))
        page.until(lambda: page.browser.execute_async_script(hints) == [True, 0])
        page.drag((x, top + 1), (x + 2, y), button=RIGHT_BUTTON)
        assert np.array_equal(page.mask(0) == 1, less)
        assert "changed on another page" not in page.text("notices")
        assert not complaints(page.browser)


def test_a_box_around_something_else_can_become_an_object_of_its_own(
    page: Page, scene_video: Path, scene: Clip
) -> None:
    with served(scene_video) as client:
        page.open(client.door.address)
        page.drag(*around(scene, 1))
        first = page.mask(0) == 1
        assert "press N for another object" in page.text("hint")
        page.drag(*around(scene, 2))
        assert not (page.mask(0)[first] == 1).all()
        page.until(lambda: "Is it another object?" in page.text("notices"))
        assert not covers(page, ".notice", "#picture")
        page.press("Make it a new object")
        page.until(lambda: set(np.unique(page.mask(0))) == {0, 1, 2})
        second = page.mask(0)
        assert np.array_equal(second == 1, first & (second != 2))
        assert (second == 2)[scene.labels[0] == 2].mean() > 0.5
        assert [thing["id"] for thing in page.project["objects"]] == [1, 2]
        assert not complaints(page.browser)


def test_somebody_in_a_hurry_is_told_what_is_missing(
    page: Page, scene_video: Path, scene: Clip, tmp_path: Path
) -> None:
    slow = SlowSegmenter(0.5)
    with served(scene_video, stand_in(slow)) as client:
        page.open(client.door.address)
        page.keys("f")
        page.until(lambda: "draw a box around it first" in page.text("notices"))
        assert not covers(page, ".notice", "#picture")
        assert not complaints(page.browser), "nothing was asked of the server"
        page.drag(*around(scene, 1))
        assert not page.text("notices"), "what it was about is done"

        # What there is to say fits into the line below the picture, whatever the tool.
        for key in "csrbepv":
            page.keys(key)
            assert page.run(
                "const hint = document.getElementById('hint');"
                "return hint.scrollWidth <= hint.clientWidth && hint.clientHeight <= 31"
            ), page.text("hint")

        # Nor is a word of a button cut off, in a narrow window either.
        cut_off = (
            "return [...document.querySelectorAll('aside button, header button')].filter("
            "(button) => button.scrollWidth > button.clientWidth).map((b) => b.textContent)"
        )
        size = page.browser.get_window_size()
        for width in (size["width"], size["width"] - 380):
            page.browser.set_window_size(width, size["height"])
            page.run("window.wanted = arguments[0]", width)
            page.until(lambda: page.run("return outerWidth === window.wanted"))
            assert page.run(cut_off) == []
        page.browser.set_window_size(size["width"], size["height"])
        page.until(lambda: page.run("return innerWidth") == 1280)

        # A video of one frame is not what somebody wants.
        page.keys("w")
        page.until(lambda: f"Only 1 of {FRAMES} frames" in page.text("export-warning"))
        start = (
            "const s = document.getElementById('export-start'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('input'))"
        )
        page.run(start, "5")
        page.until(lambda: f"None of {FRAMES - 5} frames" in page.text("export-warning"))
        page.until(lambda: any("/api/export/command" in x for x in complaints(page.browser)))
        page.run(start, "")
        page.until(lambda: f"Only 1 of {FRAMES} frames" in page.text("export-warning"))
        page.keys(ESCAPE)
        mend = "return document.querySelector('[data-refine]').getBoundingClientRect().top"
        place = page.run(mend)
        page.keys("f")
        page.until(lambda: page.project["following"]["done"] > 1)
        page.keys("f")
        assert page.run(mend) == place, "the buttons stay where they are"
        page.keys("w")
        page.until(lambda: "Following still runs" in page.text("export-warning"))
        slow.seconds = 0
        page.followed()
        page.until(lambda: not page.text("export-warning"))
        page.until(lambda: "same bytes" in page.text("command-why"))

        # Enter writes; what was written goes with the next choice.
        page.keys(ENTER)
        page.until(lambda: "Download" in page.text("export-state"))
        assert page.project["exports"][-1]["kind"] == "overlay"
        groups = page.run(
            "return [...document.querySelectorAll('#result optgroup')].map((group) => group.label)"
        )
        assert groups == ["Videos", "Pictures, one for each frame", "Annotations"]
        page.run(
            "const r = document.getElementById('result'); r.value = 'coco';"
            "r.dispatchEvent(new Event('change'))"
        )
        page.until(lambda: "coco" in page.text("command"))
        assert page.run("return document.getElementById('export-running').hidden")

        # An export whose order is not shown any more tells its end all the same.
        assert "Written" not in page.text("notices")
        page.run(
            "document.getElementById('export-start-button').click();"
            "const r = document.getElementById('result'); r.value = 'store';"
            "r.dispatchEvent(new Event('change'))"
        )
        page.until(lambda: "Written" in page.text("notices"))
        assert [thing["kind"] for thing in page.project["exports"]] == ["overlay", "coco"]
        page.keys(ESCAPE)

        # What was deleted by mistake is a click away.
        page.press("Delete object 1")
        page.until(lambda: "is deleted from all frames" in page.text("notices"))
        page.run("document.querySelector('.notice .offer').click()")
        page.until(lambda: len(page.project["objects"]) == 1)

        # The click takes back this step alone, whatever another page did since.
        page.press("Delete object 1")
        page.until(lambda: "is deleted from all frames" in page.text("notices"))
        client.ask("POST", "/api/objects", {})
        page.until(lambda: len(page.project["objects"]) == 1)
        page.until(lambda: page.known == page.project["revision"])
        page.run("document.querySelector('.notice .offer').click()")
        page.until(lambda: "changed meanwhile" in page.text("notices"))
        assert len(page.project["objects"]) == 1
        page.until(lambda: any("/api/undo" in line for line in complaints(page.browser)))
        for _ in range(2):
            client.ask("POST", "/api/undo", {})
        page.until(lambda: page.known == page.project["revision"])
        page.until(lambda: "Delete object 1" in page.run("return document.body.innerHTML"))

        # Nor is such an offer left when something else was done since.
        page.press("Delete object 1")
        page.until(lambda: "is deleted from all frames" in page.text("notices"))
        page.keys("z")
        page.until(lambda: "Undone: the deletion" in page.text("notices"))
        assert "is deleted" not in page.text("notices")

        # A file is named as the person knows it.
        masks = tmp_path / "masks.json"
        page.until(lambda: page.run("return !document.getElementById('undo').disabled"))
        path = Path(page.project["exports"][-1]["path"])
        assert path.exists()
        write_mask(masks.with_suffix(".png"), scene.labels[0])
        page.choose_file(masks.with_suffix(".png"))
        page.until(lambda: "masks.png is now the mask of frame" in page.text("notices"))
        assert ".import-" not in page.text("notices")
        assert not complaints(page.browser)


def test_following_goes_on_where_objects_are_out_of_sight(
    page: Page, scene_video: Path, scene: Clip
) -> None:
    class Losing(StandInSegmenter):
        def step(self, *given: Any) -> Any:  # noqa: ANN401
            labels, state = super().step(*given)
            return (labels if state.frame < 3 else np.zeros_like(labels)), state

    with served(scene_video, stand_in(Losing())) as client:
        page.open(client.door.address)
        page.drag(*around(scene, 1))
        page.run("document.getElementById('until').value = 5")
        page.keys("f")
        page.until(lambda: page.project["masks"] == [[0, 5]])
        page.followed()
        page.go(5)
        assert not page.mask(5).any()
        heard = (
            "const done = arguments[0]; import('/page/store.js').then(({state}) => {"
            "const now = state.project.following; done(now.state === 'idle' && now.done === 5); })"
        )
        page.until(lambda: page.browser.execute_async_script(heard))
        page.run("document.getElementById('until').value = 9")
        page.keys("f")
        page.until(lambda: page.project["masks"] == [[0, 9]] or page.text("notices"))
        assert page.project["masks"] == [[0, 9]]
        assert not complaints(page.browser)


def test_messages_that_matter_stay_and_new_ones_are_seen(page: Page, scene_video: Path) -> None:
    say = (
        "const done = arguments[2];"
        "import('/page/notices.js').then((notices) => {"
        "notices.notice(arguments[0], arguments[1]); done(); })"
    )
    with served(scene_video) as client:
        page.open(client.door.address)
        for word in ("one", "two", "three"):
            page.browser.execute_async_script(say, word, "error")
        page.browser.execute_async_script(say, "news", "note")
        assert "news" in page.text("notices")
        page.browser.execute_async_script(say, "an object is lost", "loss")
        page.keys("n")
        page.until(lambda: len(page.project["objects"]) == 1)
        page.until(lambda: "Draw a box around" in page.text("notices"))
        assert "an object is lost" in page.text("notices")
        assert "news" not in page.text("notices")


def test_only_the_chosen_object_is_followed_and_the_page_opens_where_it_was(
    page: Page, scene_video: Path, scene: Clip
) -> None:
    with served(scene_video) as client:
        page.open(client.door.address)
        page.drag(*around(scene, 1))
        assert page.run("return document.getElementById('only-label').hidden")
        page.keys("f")
        page.until(lambda: page.project["undo"].startswith("following"))
        page.followed()
        before = [page.mask(n) == 1 for n in range(0, FRAMES, 9)]
        page.go(40)
        page.keys("n")
        page.until(lambda: len(page.project["objects"]) == 2)
        page.drag(*around(scene, 2, 40))
        page.until(lambda: "“Only” leaves other objects alone" in page.text("hint"))
        page.keys("b")
        assert page.run("return document.getElementById('hint').clientHeight") <= 31
        page.keys("r")
        page.run("document.getElementById('only').click()")
        assert page.run("return document.getElementById('only-label').innerText") == "Only object 2"
        page.press("Follow backward")
        page.until(lambda: "object 2 alone" in page.project["undo"])
        page.followed()
        after = [page.mask(n) for n in range(0, FRAMES, 9)]
        assert (after[0] == 2).any()
        for one, mask in zip(before, after, strict=True):
            assert np.array_equal(mask == 1, one & (mask != 2))

        page.go(23)
        page.browser.refresh()
        page.ready()
        assert page.run("return document.body.dataset.frame") == "23"
        assert not complaints(page.browser)
