"""Brings grey frames of more than 8 bits, such as thermal or depth images, into 0..255."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.decoding import open_video
from mavos_deploy.runtime.media.pictures import depth_of, read_turned, read_values
from mavos_deploy.runtime.media.told import Told, Turns
from mavos_deploy.runtime.protocol import RgbFrame

SAMPLES = 100  # frames of a clip that are looked at for its range, evenly spaced
PIXELS = 20_000  # pixels of each that are looked at
# Share of the pixels that may lie beyond either end: dead pixels, and readings without a value.
BEYOND = 0.001

Item = TypeVar("Item")


@dataclass(frozen=True)
class Levels:
    """The values that become black and white.

    Attributes:
        low: Value that becomes 0, as all below it do.
        high: Value that becomes 255, as all above it do; larger than `low`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high or not np.isfinite([self.low, self.high]).all():
            raise InputError(
                f"levels {self.low:g},{self.high:g}: the first becomes black and the second white, "
                "so the first must be the smaller one"
            )

    def frame(self, values: NDArray[Any]) -> RgbFrame:
        """Scale grey values.

        Args:
            values: Any numbers, shape (H, W). What is no number becomes black.

        Returns:
            uint8 RGB, shape (H, W, 3).
        """
        share = (values.astype(np.float32) - self.low) / (self.high - self.low)
        grey = np.rint(np.nan_to_num(np.clip(share, 0, 1)) * 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)

    def note(self, what: str, whose: str | None) -> str:
        """A line that says how frames are scaled.

        Args:
            what: Subject and verb of the line.
            whose: Where the levels come from; None where they were given.
        """
        said = f", {whose} (--levels LOW,HIGH sets another)" if whose else ""
        return (
            f"{what} grey with more than 8 bits: {self.low:g} becomes black, {self.high:g} "
            f"white{said}"
        )

    def __str__(self) -> str:
        return f"{self.low:g},{self.high:g}"


def parse_levels(text: str, called: str = "levels") -> Levels:
    """Read two numbers with a comma between them.

    Args:
        text: For example `7000,9500`.
        called: Name of the text in errors.

    Raises:
        InputError: The text is something else, or the first number isn't the smaller one.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"{called} {text!r}: expected the values that become black and white, for example "
            "7000,9500"
        ) from None
    return Levels(low, high)


def own_levels(items: Sequence[Item], read: Callable[[Item], NDArray[Any]]) -> Levels:
    """The range of a clip's own values.

    Args:
        items: Its frames, at least one.
        read: Gives the values of a frame; frames that it refuses are left out.

    Raises:
        InputError: No frame can be read; the message is that of the first.
    """
    step = max(1, -(-len(items) // SAMPLES))
    found: list[NDArray[Any]] = []
    failure: InputError | None = None
    for item in [*items[::step], items[-1]]:
        try:
            values = read(item).ravel()
        except InputError as error:
            failure = failure or error
            continue
        values = values[:: max(1, values.size // PIXELS)]
        found.append(values[np.isfinite(values)])
    everything = np.concatenate(found) if found else np.zeros(0)
    if not everything.size:
        raise failure or InputError("the frames hold no values that are numbers")
    low, high = (float(v) for v in np.quantile(everything, [BEYOND, 1 - BEYOND], method="nearest"))
    return Levels(low, high if high > low else low + 1)


def sampled_levels(name: str, index: int) -> Levels:
    """The range of the values of a video's first frames.

    Args:
        name: Path of the file.
        index: Number of the video in it.

    Raises:
        InputError: None of them can be decoded.
    """
    values = []
    with open_video(name) as container, suppress(av.FFmpegError):
        stream = container.streams[index]
        for picture in islice(container.decode(stream), SAMPLES):
            assert isinstance(picture, av.VideoFrame)
            found = picture.to_ndarray().ravel()
            values.append(found[:: max(1, found.size // PIXELS)])
    if not values:
        raise InputError(f"{name}: no frame can be decoded")
    return own_levels(values, lambda sample: sample)


def no_levels(levels: Levels, name: str) -> str:
    """A message for levels that have no use."""
    return f"levels {levels} are for grey frames of more than 8 bits, and {name} has none"


def frame_reader(
    files: Sequence[Path], levels: Levels | None, told: Told
) -> Callable[[Path], RgbFrame]:
    """How the pictures of a clip are read, by the depth of its first.

    Args:
        files: Its pictures, at least one.
        levels: Values that become black and white; None takes the clip's own range.
        told: Gets a line if they have more than 8 bits; with the first picture, how it is turned,
            and a line for every way in which pictures are.

    Raises:
        InputError: Levels are given for pictures that have none.
    """
    depth = depth_of(files[0])
    if levels is not None and depth != "grey":
        raise InputError(no_levels(levels, str(files[0])))
    turns = Turns(told)
    if depth is None:
        return lambda file: turns.told_of(file, *read_turned(file))
    if depth == "colour":
        told.notes.append("images have 16 bits per channel, of which the higher 8 are read")
        return lambda file: turns.told_of(file, *read_turned(file, cut=True))
    scale = levels or own_levels(files, lambda file: read_values(file)[0])
    whose = "the range of the clip" if levels is None else None
    told.notes.append(scale.note("images are", whose))

    def scaled(file: Path) -> RgbFrame:
        values, turn = read_values(file)
        return turns.told_of(file, scale.frame(values), turn)

    return scaled
