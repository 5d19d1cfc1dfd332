"""A second look at each frame of a run, and the rules by which the run ends early."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.writing import LabelledFrame
from mavos_deploy.runtime.review.events import Event, EventKind, Watch


@dataclass
class SecondLook:
    """The second look of one run.

    Attributes:
        stop_below: Confidence of any object below which the run ends, 0..1; None for never.
        stop_on_loss: Whether the run ends where an object is lost within the picture.
        facts: Everything that the run is made with, by name, for its report.
        stopped: Why the run is to end, a line; empty while it goes on.
        poisoned: Why no mask can be made any more, a line; empty while it can.
    """

    stop_below: float | None = None
    stop_on_loss: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    stopped: str = ""
    poisoned: str = ""
    _watch: Watch = field(default_factory=Watch)

    @property
    def events(self) -> list[Event]:
        """All events so far; the same list for the whole run."""
        return self._watch.events

    def look(self, frame: LabelledFrame) -> None:
        """Look at the next frame.

        Raises:
            InputError: A rule needs the confidence in an object, and it is unknown.
        """
        found = self._watch.look(frame.index, frame.stem, frame.labels, frame.rgb)
        if frame.checked is not None:
            self._watch.checked(frame.index, frame.stem, frame.checked)
        told = {own: value for own, value in frame.confidence.items() if value is not None}
        if self.stop_on_loss:
            losses = [event for event in found if event.kind is EventKind.LOST]
            if losses:
                self.stopped = f"{losses[0].text} in frame {frame.stem} (--on-loss stop)"
        if self.stop_below is not None and (unknown := frame.confidence.keys() - told.keys()):
            raise InputError(
                f"--stop-below needs the confidence in object {min(unknown)}, which is unknown in "
                f"frame {frame.stem}; a server tells it once mavos-triton of this release has "
                "written its repository"
            )
        if self.stop_below is not None and told:
            own = min(told, key=lambda number: told[number])
            if told[own] < self.stop_below:
                self.stopped = (
                    f"the confidence of object {own} is {_below(told[own], self.stop_below)} in "
                    f"frame {frame.stem} (--stop-below {self.stop_below:g})"
                )

    def poison(self, frame: LabelledFrame, reason: str) -> None:
        """Note that no mask can be made after a frame.

        Args:
            frame: The last frame that has one.
            reason: The error's message.
        """
        self.poisoned = f"no mask follows frame {frame.stem}: {reason}"
        self._watch.poisoned(frame.index, frame.stem)


def _below(value: float, limit: float) -> str:
    """A value with two decimals, or as many as show that it is below a limit."""
    digits = next((n for n in range(2, 9) if float(f"{value:.{n}f}") < limit), 9)
    return f"{value:.{digits}f}"
