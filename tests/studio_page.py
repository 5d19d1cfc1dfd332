"""A page of mavos-studio in a browser, and what a person does there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mavos_deploy.runtime.objects import Labels
from tests.browser import PATIENCE

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

FRAMES, SIDE = 120, 192  # of the video
TAB, ESCAPE, RIGHT, DELETE = "\ue004", "\ue00c", "\ue014", "\ue017"
COMMAND = "import sys; from mavos_deploy.cli.{0} import main; sys.argv[0] = 'mavos-{0}'; main()"
# Where to leave screenshots; docs/studio.md has three of them.
SCREENSHOTS = os.environ.get("MAVOS_SCREENSHOTS")


class Process:
    """The command `mavos-studio`, which may be killed and started again."""

    def __init__(self, bundle: Path, video: Path, project: Path) -> None:
        self._options = [str(bundle), str(video), "--project", str(project), "--no-browser"]
        self.address = ""
        self.start()

    def start(self) -> None:
        """Start it, and wait for its address."""
        command = [sys.executable, "-c", COMMAND.format("studio"), *self._options]
        command += ["--threads", "1"]
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
    def size(self) -> tuple[int, int]:
        """Width and height of the video's frames, in pixels."""
        project = self.project
        return project["width"], project["height"]

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

    def drag(self, *points: tuple[float, float], button: int = 0) -> None:
        """Drag over points of the frame, and wait until what it did is saved."""
        revision = self.project["revision"]
        self.gesture(*points, button=button)
        self.until(lambda: self.project["revision"] > revision)
        self.until(lambda: self.run("return document.body.dataset.saving") == "no")

    def gesture(self, *points: tuple[float, float], during: str = "", button: int = 0) -> None:
        """Drag over points of the frame, and press keys before the button is let go."""
        from selenium.webdriver.common.action_chains import ActionChains

        left, top, width, height = self.run(
            "const c = document.getElementById('picture').getBoundingClientRect();"
            "return [c.left, c.top, c.width, c.height]"
        )
        wide, high = self.size
        scale = min(width / wide, height / high) * 0.98
        left, top = left + (width - wide * scale) / 2, top + (height - high * scale) / 2
        chain = ActionChains(self.browser, duration=10)
        pointer = chain.w3c_actions.pointer_action
        for i, (x, y) in enumerate(points):
            place = round(left + x * scale), round(top + y * scale)
            pointer.move_to_location(*place)  # type: ignore[no-untyped-call]  # selenium
            if i == 0:
                pointer.pointer_down(button)  # type: ignore[no-untyped-call]  # selenium
        if during:
            chain.perform()
            frame = self.run("return document.body.dataset.frame")
            self.keys(during)
            if during == RIGHT:
                self.until(lambda: self.run("return document.body.dataset.frame") != frame)
            chain = ActionChains(self.browser, duration=10)
            chain.w3c_actions.pointer_action.pointer_up(button)  # type: ignore[no-untyped-call]  # selenium
        else:
            pointer.pointer_up(button)  # type: ignore[no-untyped-call]  # selenium
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

    @property
    def known(self) -> int:
        """The revision of the project that the page has heard of."""
        script = (
            "const done = arguments[0];"
            "import('/page/store.js').then(({state}) => done(state.project.revision))"
        )
        return int(self.browser.execute_async_script(script))

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
