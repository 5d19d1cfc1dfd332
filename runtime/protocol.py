"""The protocol between a segmenter and its caller: the same for one here and one on a server.

Code that reads videos, masks or options is written against `VideoSegmenter`. The checks of frames,
labels and states are here too, so that both kinds of segmenter refuse the same things in the same
words.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.objects import VOID, Labels

RgbFrame = NDArray[np.uint8]  # [height, width, 3]


@dataclass(frozen=True)
class About:
    """A segmenter's bundle and backend, for messages and reports.

    Attributes:
        backend: Name of the backend; `triton` for a server.
        variant: Name of the network.
        trained: Whether the bundle has trained weights; otherwise masks mean nothing.
        arithmetic: Number format in which the backend computes products; None where a server
            doesn't say.
        bundle_arithmetic: Number format for which the bundle was made; None where a server doesn't
            say.
    """

    backend: str
    variant: str
    trained: bool
    arithmetic: str | None = None
    bundle_arithmetic: str | None = None


class VideoState(Protocol):
    """What a caller may read from the state of a video."""

    @property
    def size(self) -> Size:
        """Height and width of the video's frames, in pixels."""

    @property
    def frame(self) -> int:
        """Frames since the start."""

    @property
    def objects(self) -> tuple[int, ...]:
        """The video's own ids of the objects being followed."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids that the memory has a place for, removed ones among them."""

    @property
    def confidence(self) -> Mapping[int, float]:
        """Confidence in the latest mask of each object, 0..1, by the video's own ids.

        Of the frames that say 0.8, about 80% overlap with the truth by half or more. An object
        that a server or a loaded state says nothing of is left out.
        """


BEYOND = 255  # how far values of a float32 frame may be outside of 0..255; cubic resizing needs it

PreparedT = TypeVar("PreparedT")  # a frame in the form that `prepare` gives it
StateT = TypeVar("StateT", bound=VideoState)
StateT_co = TypeVar("StateT_co", bound=VideoState, covariant=True)


class VideoSegmenter(Protocol[PreparedT, StateT]):
    """Follows objects through videos; several videos may interleave."""

    @property
    def about(self) -> About:
        """The bundle and the backend behind it."""

    def input_size(self, video: Size) -> Size:
        """Height and width in the network of frames of a video, in pixels.

        Args:
            video: Height and width of the video, in pixels.

        Raises:
            InputError: The video is too small.
        """

    def prepare(self, frame: RgbFrame) -> PreparedT:
        """Check a frame, and do the work on it that needs no state.

        Unlike all else of a segmenter, it may run in another thread while a step runs.

        Args:
            frame: RGB, uint8 [height, width, 3], any size.

        Raises:
            InputError: The frame can't be used.
            BackendError: The inference library failed.
        """

    def start(self, frame: RgbFrame, labels: Labels) -> StateT:
        """Begin a video with its reference frame.

        Args:
            frame: The first frame.
            labels: The frame's objects by their ids, uint8 [height, width]; 0 is the background.

        Returns:
            The state after this frame; its masks are `labels`.

        Raises:
            InputError: The frame or the labels can't be used, or nothing is labelled.
        """

    def step(
        self, frame: PreparedT, state: StateT, annotation: Labels | None = None
    ) -> tuple[Labels, StateT]:
        """Segment the next frame of a video.

        Args:
            frame: The next frame, of the video's size.
            state: The state after the previous frame.
            annotation: Labels that are known for this frame: those of new objects, and of known
                ones, which they correct from this frame on.

        Returns:
            The frame's labels by the objects' ids, uint8 [height, width], and the state after it,
            which says in `confidence` how good they are.

        Raises:
            InputError: The frame or the annotation can't be used.
            PoisonedError: The state's memory holds NaN or infinite values.
        """

    def remove(self, state: StateT, ids: Iterable[int]) -> StateT:
        """Stop following objects; their pixels go to what is next likely there.

        Args:
            state: The state to remove from.
            ids: The video's own ids.

        Raises:
            InputError: An id isn't being followed.
        """

    def end(self, state: StateT) -> None:
        """Free what is held for a video that is over."""

    def close(self) -> None:
        """Free everything that the segmenter holds; the end of a `with` block does it too."""

    def __enter__(self) -> "VideoSegmenter[PreparedT, StateT]": ...

    def __exit__(self, *_: object) -> None: ...


@runtime_checkable
class Enqueued(Protocol[StateT_co]):
    """A frame whose work is enqueued, while its labels may still be on their way."""

    @property
    def state(self) -> StateT_co:
        """The state after it; it holds no confidence yet, which `result` brings."""

    def result(self) -> tuple[Labels, StateT_co]:
        """Wait for the labels; see `VideoSegmenter.step`. May be called again.

        Raises:
            PoisonedError: The state's memory held NaN or infinite values before this frame.
            BackendError: The inference library failed.
        """


@runtime_checkable
class EnqueuingSegmenter(VideoSegmenter[PreparedT, StateT], Protocol[PreparedT, StateT]):
    """A segmenter that can take the next frame before the labels of the one before are read."""

    @property
    def runs_ahead(self) -> bool:
        """Whether `enqueue` returns before the labels are there, so that it gains anything."""

    def enqueue(self, frame: PreparedT, before: "StateT | Enqueued[StateT]") -> "Enqueued[StateT]":
        """Begin to segment a video's next frame, for which no labels are known.

        Args:
            frame: The next frame, of the video's size. It must not change before `result`.
            before: The state after the previous frame; or that frame while it is enqueued, itself
                and not its `state`, so that the confidence of one frame goes on from the other's.

        Raises:
            InputError: The frame can't be used.
            BackendError: The inference library failed, perhaps in the frame before.
        """


def check_frame(frame: object, floats: bool = True) -> None:
    """Refuse a frame that can't be segmented.

    Args:
        frame: RGB, [height, width, 3], uint8 or float32.
        floats: Whether float32 is accepted as well; a server takes uint8 alone.

    Raises:
        InputError: It is no array, or has another shape or type, or values far from 0..255.
    """
    if not isinstance(frame, np.ndarray):
        raise InputError(
            f"frame of type {type(frame).__name__}; expected a NumPy array, RGB [height, width, 3]"
        )
    accepted = (np.uint8, np.float32) if floats else (np.uint8,)
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype not in accepted:
        types = "uint8 or float32 in 0..255" if floats else "uint8, all that a server takes"
        raise InputError(
            f"frame of shape {list(frame.shape)} and type {frame.dtype}; expected RGB "
            f"[height, width, 3] as {types}"
        )
    if frame.dtype == np.float32 and frame.size:
        lowest, highest = float(frame.min()), float(frame.max())
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            raise InputError(
                "the frame holds values that aren't finite; they would stay in the memory"
            )
        if lowest < -BEYOND or highest > 255 + BEYOND:
            raise InputError(
                f"the frame holds values from {lowest:g} to {highest:g}; expected 0..255, a little "
                "more or less where it was resized"
            )


def check_labels(labels: object, size: Size, first: bool = False) -> None:
    """Refuse labels that can't be followed.

    Args:
        labels: Ids, uint8 [height, width].
        size: Height and width of their frame, in pixels.
        first: Whether the video begins with them, and so needs an object.

    Raises:
        InputError: They are no array, or have another shape or type, mark void, or hold no object
            where one is needed.
    """
    if not isinstance(labels, np.ndarray):
        raise InputError(
            f"labels of type {type(labels).__name__}; expected a NumPy array, uint8 [height, width]"
        )
    if labels.dtype != np.uint8 or labels.shape != size:
        raise InputError(
            f"labels of shape {list(labels.shape)} and type {labels.dtype}; expected uint8 of the "
            f"frame's size, {list(size)}"
        )
    if void := np.count_nonzero(labels == VOID):
        raise InputError(
            f"{void} pixels of the labels are {VOID}, which marks void in DAVIS; set them to 0, or "
            "to the id of their object"
        )
    if first and not labels.any():
        raise InputError("the first frame's labels hold no object; every pixel is 0")


def check_state(state: object, kind: type[VideoState]) -> None:
    """Refuse what is no state of a segmenter, such as arguments in the wrong order.

    Raises:
        InputError: It has another type than `kind`.
    """
    if not isinstance(state, kind):
        raise InputError(
            f"state of type {type(state).__name__}; expected the {kind.__name__} that `start` or "
            "the previous `step` of this segmenter returned (`labels, state = segmenter.step(...)`)"
        )


def check_followed(ids: Collection[int], objects: tuple[int, ...]) -> None:
    """Refuse to remove objects that aren't being followed.

    Raises:
        InputError: One of `ids` is none of `objects`.
    """
    if unknown := sorted(set(ids) - set(objects)):
        raise InputError(f"no object {unknown[0]} to remove; the video has {sorted(objects)}")
