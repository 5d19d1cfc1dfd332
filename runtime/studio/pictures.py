"""Frames and thumbnails as JPEG."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.access import Clip, FrameAccess
from mavos_deploy.runtime.protocol import RgbFrame
from mavos_deploy.runtime.system.files import replacing

T = TypeVar("T")

WIDTH = 160  # pixels of a thumbnail
STRIP = 200  # thumbnails that are made ahead
IDLE = 0.2  # seconds without a request after which a thumbnail is made
QUALITY = 92
QUALITY_SMALL = 75


class Pictures:
    """Gives pictures of a video. One thread reads them all, and makes thumbnails while it is idle.

    Args:
        clip: The video.
        folder: The project's folder.
        on_thumbnails: Called with the number of thumbnails that are done and their distance.
    """

    def __init__(self, clip: Clip, folder: Path, on_thumbnails: Callable[[int, int], None]) -> None:
        self._clip = clip
        self._folder = folder / "thumbnails"
        self._on_thumbnails = on_thumbnails
        self._frames = FrameAccess(clip)
        self._wanted: queue.Queue[tuple[int, Future[Any], Callable[[RgbFrame], Any]] | None] = (
            queue.Queue()
        )
        self._every = max(1, -(-clip.length // STRIP))
        self._strip = list(range(0, clip.length, self._every))
        self._done = 0
        self._thread = threading.Thread(target=self._work, name="mavos-pictures", daemon=True)
        self._thread.start()

    def progress(self) -> dict[str, int]:
        """Number of thumbnails that are done, and their distance in frames."""
        return {"done": self._done, "every": self._every}

    def frame(self, number: int) -> RgbFrame:
        """A frame, uint8 RGB [height, width, 3].

        Raises:
            InputError: There is no such frame, or it is damaged.
        """
        return self._asked(number, lambda rgb: rgb)

    def _asked(self, number: int, make: Callable[[RgbFrame], T]) -> T:
        answer: Future[T] = Future()
        self._wanted.put((number, answer, make))
        return answer.result()

    def jpeg(self, number: int) -> bytes:
        """A frame as JPEG; see `frame`."""
        return self._asked(number, lambda rgb: _jpeg(rgb, QUALITY))

    def thumbnail(self, number: int) -> bytes:
        """A small picture of a frame as JPEG; see `frame`."""
        path = self._folder / f"{number}.jpg"
        with suppress(OSError):
            return path.read_bytes()
        return self._asked(number, lambda rgb: self._small(number, rgb))

    def _small(self, number: int, rgb: RgbFrame) -> bytes:
        height, width = self._clip.size
        size = (min(WIDTH, width), max(1, round(height * min(WIDTH, width) / width)))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        content = _jpeg(np.asarray(small, np.uint8), QUALITY_SMALL)
        path = self._folder / f"{number}.jpg"
        with suppress(InputError), replacing(path, follow=False) as temporary:
            temporary.write_bytes(content)
        return content

    def _work(self) -> None:
        while True:
            try:
                wanted = self._wanted.get(timeout=IDLE if self._strip else None)
            except queue.Empty:
                self._next_thumbnail()
                continue
            if wanted is None:
                break
            number, answer, make = wanted
            try:
                answer.set_result(make(self._frames.read(number).rgb))
            except BaseException as error:  # raised where it was asked for
                answer.set_exception(error)
        self._frames.close()

    def _next_thumbnail(self) -> None:
        number = self._strip.pop(0)
        # A damaged frame is named when it is looked at. Nothing ends the thread, on which all
        # pictures of the page depend.
        with suppress(Exception):
            if not (self._folder / f"{number}.jpg").exists():
                self._small(number, self._frames.read(number).rgb)
        self._done += 1
        self._on_thumbnails(self._done, self._every)

    def close(self) -> None:
        """End the thread and close the video."""
        self._wanted.put(None)
        self._thread.join()


def _jpeg(rgb: RgbFrame, quality: int) -> bytes:
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    whole, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert whole
    return bytes(np.asarray(content).tobytes())
