"""How far following has come, for the page."""

from dataclasses import dataclass
from typing import Any, Literal

from mavos_deploy.runtime.studio.passes import Direction


@dataclass(frozen=True)
class Progress:
    """How far following has come.

    Attributes:
        state: What it does.
        origin: Frame that it was begun from.
        direction: The way that it was asked to go.
        until: The last frame that it will make.
        frame: The frame that was made last; None before the first.
        done: Frames made.
        total: Frames to make.
        fps: Frames per second; None before two are made.
        fuse: How passes from both sides are joined; empty for none. `done` and `total` are
            frames that passes read then.
        message: Why it ended by itself before its end; empty otherwise.
    """

    state: Literal["idle", "running", "paused"] = "idle"
    origin: int = 0
    direction: Direction = "forward"
    until: int = 0
    frame: int | None = None
    done: int = 0
    total: int = 0
    fps: float | None = None
    fuse: str = ""
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        """The values of the interface."""
        left = (self.total - self.done) / self.fps if self.fps else None
        return {
            "state": self.state,
            "from": self.origin,
            "direction": self.direction,
            "until": self.until,
            "frame": self.frame,
            "done": self.done,
            "total": self.total,
            "fps": None if self.fps is None else round(self.fps, 2),
            "left": None if left is None else round(left, 1),
            "fuse": self.fuse,
            "message": self.message,
        }
