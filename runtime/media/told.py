"""Lines about a source of frames: how it is read, and what could not be read."""

from dataclasses import dataclass, field

from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.media.turning import STORED, Turn


@dataclass
class Told:
    """Lines about a source, with what its file has instead of what is shown.

    Attributes:
        stored: Height and width of the pictures in their file, turned as they are shown; None
            where they are those of the frames.
        turn: How the stored pictures are turned and mirrored, by the first one.
        notes: Lines that say how the source is read; more may come with its frames.
        damage: Lines that say which frames could not be read, or not whole; complete once the
            last frame was read and the source is closed.
    """

    stored: Size | None = None
    turn: Turn = STORED
    notes: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
