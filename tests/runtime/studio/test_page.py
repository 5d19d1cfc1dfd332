"""The page of mavos-studio in a real browser, from an empty project to files."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mavos_deploy.evaluation.scenes.clip import Clip
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.runs import box_of
from mavos_deploy.runtime.media.encoding import VideoWriter
from mavos_deploy.runtime.objects import Labels
from tests.browser import INSTALLED, PATIENCE, complaints, opened
from tests.made_clips import synthetic_clip
from tests.studio_server import SlowSegmenter, served, stand_in

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.skipif(not INSTALLED, reason="needs chromium, chromedriver and selenium")

FRAMES, SIDE, MIDDLE = 120, 192, 50
TAB, ESCAPE, RIGHT, DELETE = "\ue004", "\ue00c", "\ue014", "\ue017"
COMMAND = "import sys; from mavos_deploy.cli.{0} import main; sys.argv[0] = 'mavos-{0}'; main()"
# Where to leave screenshots; docs/studio.md has three of them.
SCREENSHOTS = os.environ.get("MAVOS_SCREENSHOTS")


class Process:
    """The command `mavos-studio` on one port, which may be killed and started again."""

    def __init__(self, bundle: Path, video: Path, project: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._options = [str(bundle), str(video), "--project", str(project), "--no-browser"]
        self.address = ""
        self.start()

    def start(self) -> None:
        """Start it, and wait for its address."""
        command = [sys.executable, "-c", COMMAND.format("studio"), *self._options]
        command += ["--port", str(self._port), "--threads", "1"]
        self._running = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._running.stdout is not None
        self.address = self._running.stdout.readline().strip()
        assert self.address.startswith("http://"), self.address

    def kill(self) -> None:
        """End it as a power cut would."""
        self._running.send_signal(signal.SIGKILL)
        self._running.wait()
        assert self._running.stdout is not None
        self._running.stdout.close()


class Page:
    """What a person does on the page."""

    def __init__(self, browser: "Chrome", folder: Path) -> None:
        self.browser = browser
        self._folder = folder
        self._shots = 0

    def open(self, address: str) -> None:
        """Go to an address and wait for the first frame."""
        self.browser.get(address)
        self.ready()

    def ready(self) -> None:
        """Wait for the first frame."""
        self.until(lambda: self.run("return document.body?.dataset.ready === 'yes'"))

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401
        """Run a script in the page."""
        return self.browser.execute_script(script, *arguments)

    def until(self, true: Callable[[], object]) -> None:
        """Wait for something."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, (
                self.project,
                self.run("return document.body.innerText"),
            )
            time.sleep(0.05)

    def text(self, name: str) -> str:
        """Text of the element with an id."""
        return str(self.run("return document.getElementById(arguments[0]).innerText", name))

    def ask(self, path: str) -> Any:  # noqa: ANN401
        """Fetch JSON from the server, as the page does."""
        script = (
            "const done = arguments[1]; fetch(arguments[0]).then(r => r.json()).then(done, done)"
        )
        return self.browser.execute_async_script(script, path)

    @property
    def project(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("/api/project")
        return found

    def mask(self, frame: int) -> Labels:
        """The mask of a frame on the server."""
        runs = self.ask(f"/api/masks/{frame}")
        labels: Labels = np.repeat(np.array(runs["values"], np.uint8), runs["lengths"])
        return labels.reshape(runs["height"], runs["width"])

    def masks(self, first: int = 0, end: int = FRAMES, every: int = 7) -> list[bytes]:
        """Masks of some frames on the server."""
        return [self.mask(frame).tobytes() for frame in range(first, end, every)]

    def keys(self, *names: str) -> None:
        """Press keys, one after the other."""
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.browser)
        for name in names:
            chain = chain.send_keys(name)
        chain.perform()

    def press(self, name: str) -> None:
        """Press the button with a name."""
        from selenium.webdriver.common.by import By

        for button in self.browser.find_elements(By.TAG_NAME, "button"):
            if button.is_displayed() and button.accessible_name == name:
                button.click()
                return
        raise AssertionError(f"no button {name}")

    def go(self, frame: int) -> None:
        """Show a frame."""
        self.run(
            "const f = document.getElementById('frame'); f.value = arguments[0];"
            "f.dispatchEvent(new Event('change'))",
            frame,
        )
        self.until(lambda: self.run("return document.body.dataset.frame") == str(frame))

    def until_other_than(self, revision: int) -> None:
        """Wait until the project has another revision."""
        self.until(lambda: self.project["revision"] != revision)

    def drag(self, *points: tuple[float, float]) -> None:
        """Drag over points of the frame, and wait until what it did is saved."""
        revision = self.project["revision"]
        self.gesture(*points)
        self.until(lambda: self.project["revision"] > revision)
        self.until(lambda: self.run("return document.body.dataset.saving") == "no")

    def gesture(self, *points: tuple[float, float], during: str = "") -> None:
        """Drag over points of the frame, and press keys before the button is let go."""
        from selenium.webdriver.common.action_chains import ActionChains

        left, top, width, height = self.run(
            "const c = document.getElementById('picture').getBoundingClientRect();"
            "return [c.left, c.top, c.width, c.height]"
        )
        scale = min(width, height) / SIDE * 0.98
        left, top = left + (width - SIDE * scale) / 2, top + (height - SIDE * scale) / 2
        chain = ActionChains(self.browser, duration=10)
        pointer = chain.w3c_actions.pointer_action
        for i, (x, y) in enumerate(points):
            place = round(left + x * scale), round(top + y * scale)
            pointer.move_to_location(*place)  # type: ignore[no-untyped-call]  # selenium
            if i == 0:
                pointer.pointer_down()  # type: ignore[no-untyped-call]  # selenium
        if during:
            chain.perform()
            frame = self.run("return document.body.dataset.frame")
            self.keys(during)
            if during == RIGHT:
                self.until(lambda: self.run("return document.body.dataset.frame") != frame)
            chain = ActionChains(self.browser, duration=10)
            chain.w3c_actions.pointer_action.pointer_up()  # type: ignore[no-untyped-call]  # selenium
        else:
            pointer.pointer_up()  # type: ignore[no-untyped-call]  # selenium
        chain.perform()

    def colours_of_confidence(self) -> int:
        """Pixels of the timeline's strips that have a colour of confidence."""
        script = """
            const canvas = document.querySelector('#timeline canvas');
            const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            const style = getComputedStyle(document.documentElement);
            const colours = ['--sure', '--unsure'].map((name) =>
                parseInt(style.getPropertyValue(name).trim().slice(1), 16));
            let found = 0;
            for (let i = 0; i < data.length; i += 4)
                found += colours.includes((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
            return found;"""
        return int(self.run(script))

    def followed(self) -> None:
        """Wait until following is over."""
        self.until(lambda: self.project["following"]["state"] == "idle")

    def shown(self, x: int, y: int) -> int:
        """The id that the page shows in a pixel."""
        script = """
            const [x, y, done] = arguments;
            import('/page/store.js').then(({state}) =>
                done(state.shown.labels[y * state.project.width + x]));"""
        return int(self.browser.execute_async_script(script, x, y))

    def choose_file(self, path: Path) -> None:
        """Import a mask file."""
        from selenium.webdriver.common.by import By

        self.browser.find_element(By.ID, "file").send_keys(str(path))

    def shot(self, name: str) -> None:
        """Keep a picture of the page."""
        time.sleep(0.3)  # what was asked for is painted
        self._shots += 1
        path = self._folder / f"{self._shots:02}-{name}.png"
        assert self.browser.save_screenshot(str(path))
        assert path.stat().st_size > 10_000


@pytest.fixture(scope="module")
def clip() -> Clip:
    return synthetic_clip(SIDE, SIDE, FRAMES, objects=2, seed=3)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    shots = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    with opened(tmp_path / "browser") as browser:
        yield Page(browser, shots)


@pytest.fixture
def video(clip: Clip, tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, (SIDE, SIDE)) as writer:
        for frame in clip.frames:
            writer.write(frame)
    return path


@pytest.fixture
def studio(tiny_bundle: Path, video: Path, tmp_path: Path) -> Iterator[Process]:
    started = Process(tiny_bundle, video, tmp_path / "clip.mavos")
    yield started
    started.kill()


def overlap(first: Labels, second: Labels) -> float:
    """Intersection over union of where two label maps have something."""
    one, other = first > 0, second > 0
    return float((one & other).sum() / (one | other).sum())


def test_from_a_box_to_files(
    page: Page, studio: Process, clip: Clip, tiny_bundle: Path, tmp_path: Path
) -> None:
    page.open(studio.address)
    page.shot("open")
    assert "tiny was trained on made-up scenes" in page.text("about")
    truth = np.where(clip.labels == 1, clip.labels, 0)

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
    page.shot("corrected")
    page.keys("f")
    page.until(lambda: page.project["undo"] == f"following forward from frame {later}")
    page.followed()
    second = page.masks()
    kept = -(-later // 7)
    assert second[:kept] == first[:kept]
    assert second[kept:] != first[kept:]

    # Undo and redo take following back and forth without computing.
    page.keys("z")
    page.until(lambda: page.project["redo"])
    page.keys("z")
    page.until(lambda: page.masks() == first)
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
    studio.start()
    page.until(lambda: "printed" in page.text("connection"))
    lost = complaints(page.browser)
    assert all("/api/" in line for line in lost), "only requests that found no server"
    page.open(studio.address)
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
    *("Choose object 1", "Hide object 1", "Name and colour of object 1", "Delete object 1"),
    *(
        "New object",
        "Follow backward",
        "Follow both ways",
        "Follow forward",
        "Until frame",
        "Watch",
    ),
    *("Fill holes", "Drop specks", "Grow", "Shrink", "Smooth", "Clear"),
    *("Copy from the frame before", "Forget this keyframe"),
    *("First frame", "Frame before", "Play", "Next frame", "Last frame", "Frame", "Timeline"),
]
EXPORT = [
    *("What", "Option", "From frame", "To frame", "object 1", "Command line"),
    *("Copy the command", "Write", "Close"),
]


def test_every_control_has_a_name_a_place_and_a_visible_focus(page: Page, video: Path) -> None:
    with served(video) as client:
        page.open(client.door.address)
        page.keys("n")
        page.until(lambda: "object 1" in page.text("objects"))
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
    page: Page, video: Path, tmp_path: Path
) -> None:
    tracker = stand_in(SlowSegmenter(0.05))
    with served(video, tracker) as client:
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
    page: Page, video: Path, clip: Clip, tmp_path: Path
) -> None:
    with served(video) as client:
        page.open(client.door.address)
        left, top, width, height = box_of(clip.labels[0] == 1)
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
