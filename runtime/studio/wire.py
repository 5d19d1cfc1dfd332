"""Bodies of the page's requests, and labels as JSON."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from msgspec import Meta, Struct, field
from numpy.typing import NDArray

from mavos_deploy import records
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.runs import runs_of
from mavos_deploy.runtime.objects import VOID, Labels
from mavos_deploy.runtime.studio.making import Prompt

T = TypeVar("T")

FrameNumber = Annotated[int, Meta(ge=0, lt=1 << 31)]
ObjectId = Annotated[int, Meta(ge=1, lt=VOID)]
Name = Annotated[str, Meta(max_length=80)]
Colour = Annotated[str, Meta(pattern="^#[0-9a-f]{6}$")]


@dataclass(frozen=True)
class Runs:
    """Labels or a mask as run lengths in C order.

    Attributes:
        height: Pixels.
        width: Pixels.
        values: Value of each run.
        lengths: Pixels of each run.
    """

    height: Annotated[int, Meta(ge=1, le=1 << 16)]
    width: Annotated[int, Meta(ge=1, le=1 << 16)]
    values: tuple[Annotated[int, Meta(ge=0, lt=VOID)], ...]
    lengths: tuple[Annotated[int, Meta(ge=1, lt=1 << 31)], ...]

    def labels(self, size: Size) -> Labels:
        """The labels, uint8 [height, width].

        Args:
            size: Height and width that they must have.

        Raises:
            InputError: They have another size, or don't fill it.
        """
        if (self.height, self.width) != size:
            raise InputError(
                f"a mask of {self.height}x{self.width} for frames of {size[0]}x{size[1]}"
            )
        if len(self.values) != len(self.lengths) or sum(self.lengths) != size[0] * size[1]:
            raise InputError("the runs of the mask do not fill the frame")
        return np.repeat(np.array(self.values, np.uint8), self.lengths).reshape(size)


def runs_as_json(labels: NDArray[np.uint8] | NDArray[np.bool_]) -> dict[str, Any]:
    """Labels or a mask, shape (H, W), as the page reads them."""
    lengths, values = runs_of(np.ascontiguousarray(labels).view(np.uint8))
    return {
        "height": labels.shape[0],
        "width": labels.shape[1],
        "values": values.tolist(),
        "lengths": lengths.tolist(),
    }


@dataclass(frozen=True)
class PutMask(Runs):
    """A mask that a person made; see `Editor.put`."""

    base: int
    objects: tuple[ObjectId, ...]


class CopyMask(Struct, frozen=True):
    """A copy of another frame's mask; see `Editor.copy`."""

    base: int
    origin: FrameNumber = field(name="from")
    objects: tuple[ObjectId, ...] | None = None


@dataclass(frozen=True)
class AskPrompt(Prompt):
    """A prompt, and labels of the frame as the page has them; None for those of the server."""

    labels: Runs | None = None


@dataclass(frozen=True)
class AskRefine:
    """A mask to refine; see `refine`."""

    mask: Runs
    action: str
    amount: Annotated[int, Meta(ge=0, le=1000)] = 1


@dataclass(frozen=True)
class NewObject:
    """Name and colour of a new object."""

    name: Name | None = None
    colour: Colour | None = None


@dataclass(frozen=True)
class ChangedObject(NewObject):
    """What is to change of an object."""

    visible: bool | None = None


class AskFollow(Struct, frozen=True):
    """From where, which way and how far to follow; see `Following.start`."""

    origin: FrameNumber = field(name="from")
    direction: Literal["forward", "backward", "both"] = "forward"
    until: FrameNumber | None = None
    fuse: Literal["nearest", "blend"] | None = None
    objects: tuple[ObjectId, ...] | None = None


@dataclass(frozen=True)
class AskUndo:
    """The revision that the page knows."""

    revision: int | None = None


@dataclass(frozen=True)
class AskExport:
    """A result that is wanted; see `Order`."""

    kind: str
    option: str = ""
    objects: tuple[ObjectId, ...] | None = None
    start: FrameNumber | None = None
    end: FrameNumber | None = None


def read(kind: type[T], body: bytes) -> T:
    """A request's body.

    Raises:
        InputError: It is no such record.
    """

    def fail(reason: str) -> InputError:
        return InputError(f"the request can't be read ({reason}); reload the page")

    return records.decode(kind, body or b"{}", fail)
