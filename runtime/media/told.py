"""Lines about a source of frames: how it is read, and what could not be read."""

from dataclasses import dataclass, field
from pathlib import Path

from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.media.turning import STORED, Turn
from mavos_deploy.runtime.protocol import RgbFrame


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


class Turns:
    """Says how the pictures of a folder are turned, each way once."""

    def __init__(self, told: Told) -> None:
        """Take what is said about them.

        Args:
            told: Gets a line for each way, with the first picture that is shown so.
        """
        self._told = told
        self._seen: list[Turn] = []

    def told_of(self, file: Path, rgb: RgbFrame, turn: Turn) -> RgbFrame:
        """The frame itself, once the way in which it is turned was said.

        Args:
            file: File of the picture.
            rgb: Frame as it is shown, uint8, shape (H, W, 3).
            turn: The turn that was applied to the stored picture.
        """
        if turn in self._seen:
            return rgb
        self._seen.append(turn)
        if len(self._seen) > 1:
            said = "" if turn == STORED else ", as its EXIF block says, and its mask is, too"
            self._told.notes.append(
                f"{file.name}, unlike images before it, is shown {turn.words}{said}"
            )
            return rgb
        self._told.turn = turn
        if turn != STORED:
            self._told.notes.append(
                f"images are shown {turn.words}, as their EXIF blocks say, and their masks are, too"
            )
        return rgb
