"""A running mavos-studio, and a client for tests that sends what it likes.

    python -m tests.studio_server VIDEO SECONDS

serves the project of a video with a segmenter without a network that takes so long for each frame,
and prints the port and the token.
"""

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from websockets.sync.client import ClientConnection, connect

from mavos_deploy.runtime.media.access import open_clip
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame
from mavos_deploy.runtime.studio.guard import Door
from mavos_deploy.runtime.studio.making import MaskMaker
from mavos_deploy.runtime.studio.project import Project, folder_of
from mavos_deploy.runtime.studio.server import application
from mavos_deploy.runtime.studio.serving import listening
from mavos_deploy.runtime.studio.states import Tracker
from mavos_deploy.runtime.studio.studio import Studio
from mavos_deploy.runtime.studio.wire import runs_as_json
from tests.made_videos import HEIGHT, WIDTH
from tests.stand_in_segmenter import StandInSegmenter, StandInState, dump, load


class SlowSegmenter(StandInSegmenter):
    """Takes a while for each frame.

    Args:
        seconds: Time for a frame, which a test changes where it needs no more of it.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def step(
        self, frame: RgbFrame, state: StandInState, annotation: Labels | None = None
    ) -> tuple[Labels, StandInState]:
        time.sleep(self.seconds)
        return super().step(frame, state, annotation)


PATIENCE = 60  # seconds after which a test gives up


def stand_in(segmenter: StandInSegmenter | None = None) -> Tracker:
    """A tracker without a network."""
    return Tracker(segmenter or StandInSegmenter(), "stand-in", dump, load)


def square(number: int = 1, left: int = 10) -> Labels:
    """Labels of a frame of `made_videos` with one square object."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8:24, left : left + 16] = number
    return labels


class Client:
    """Talks to a server.

    Args:
        door: The server's door, whose token it shows.
    """

    def __init__(self, door: Door) -> None:
        self.door = door
        self.headers = {"authorization": f"Bearer {door.token}"}

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401
        headers: dict[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send a request; status, headers and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.door.port, timeout=PATIENCE)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            given = {**self.headers, **(headers or {})}
            connection.request(method, path, None if body is None else content, given)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:  # noqa: ANN401
        """Send a request, and check the status; the answer's JSON."""
        got, _, content = self.send(method, path, body)
        assert got == status, content
        return json.loads(content)

    @property
    def project(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "/api/project")
        return found

    def mask(self, frame: int) -> Labels:
        """The mask of a frame."""
        found = self.ask("GET", f"/api/masks/{frame}")
        size = (found["height"], found["width"])
        values = np.array(found["values"], np.uint8)
        labels: Labels = np.repeat(values, found["lengths"]).reshape(size)
        return labels

    def put(self, frame: int, labels: Labels, objects: list[int], status: int = 200) -> Any:  # noqa: ANN401
        """Put a mask on a frame as it is now."""
        base = self.ask("GET", f"/api/masks/{frame}")["version"]
        body = {**runs_as_json(labels), "base": base, "objects": objects}
        return self.ask("PUT", f"/api/masks/{frame}", body, status)

    def wait(self, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the project is as it should be."""
        end = time.monotonic() + PATIENCE
        while not until(project := self.project):
            assert time.monotonic() < end, project
            time.sleep(0.01)
        return project

    def followed(self) -> dict[str, Any]:
        """Wait until following is over."""
        return self.wait(lambda project: project["following"]["state"] == "idle")

    def exported(self) -> dict[str, Any]:
        """Wait until the last export is over; the export."""
        project = self.wait(lambda project: project["exports"][-1]["state"] != "running")
        found: dict[str, Any] = project["exports"][-1]
        return found

    def live(self, **headers: str) -> ClientConnection:
        """The connection that messages come over."""
        address = f"ws://127.0.0.1:{self.door.port}/api/live"
        given = {**self.headers, **headers}
        return connect(address, additional_headers=given, open_timeout=PATIENCE)


def begun(client: Client, frame: int = 0) -> None:
    """Give a project its first object and mask."""
    client.ask("POST", "/api/objects", {})
    client.put(frame, square(), [1])


@contextmanager
def served(
    video: Path, tracker: Tracker | None = None, folder: Path | None = None
) -> Iterator[Client]:
    """Serve the project of a video in a thread."""
    clip, tracker = open_clip(str(video)), tracker or stand_in()
    with listening("127.0.0.1", 0) as sock:
        project = Project(folder or folder_of(str(video)), clip, tracker)
        studio = Studio(project, clip, tracker, MaskMaker())
        door = Door("127.0.0.1", sock.getsockname()[1])
        config = uvicorn.Config(application(studio, door), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield Client(door)
        finally:
            server.should_exit = True
            thread.join()
            studio.close()


if __name__ == "__main__":
    with served(Path(sys.argv[1]), stand_in(SlowSegmenter(float(sys.argv[2])))) as started:
        print(started.door.port, started.door.token, flush=True)
        threading.Event().wait()
