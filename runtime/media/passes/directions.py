"""Words for the ways through a video."""

from dataclasses import dataclass

from mavos_deploy.words import Word


class Direction(Word):
    """Where passes go from keyframes, which are the frames with masks."""

    FORWARD = "forward"  # from the first keyframe to the end
    BACKWARD = "backward"  # from the last keyframe to the beginning
    BOTH = "both"  # forward, and backward from the first keyframe to the beginning


class Fuse(Word):
    """How a forward and a backward pass become one result between two keyframes."""

    NEAREST = "nearest"  # the pass whose keyframe is nearer
    BLEND = "blend"  # for every pixel and object by distance and confidence


@dataclass(frozen=True)
class Passes:
    """Passes over a video of which at least one goes against time.

    Attributes:
        direction: `BACKWARD` or `BOTH`.
        fuse: How results between two keyframes are made; None goes forward there, or backward with
            `BACKWARD`. It needs `BOTH`.
    """

    direction: Direction
    fuse: Fuse | None = None
