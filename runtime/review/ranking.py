"""The videos of many, and the frames in them, that a person should look at first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

BAD = 0.5  # confidence below which a mask is probably bad


@dataclass(frozen=True)
class Doubt:
    """One video's worst object.

    Attributes:
        video: Name of the video.
        number: Id of the object.
        frame: Stem of the frame in which confidence in it is lowest.
        lowest: Confidence in that frame, 0..1.
        doubtful: Share of all masks of the video whose confidence is below 0.5.
    """

    video: str
    number: int
    frame: str
    lowest: float
    doubtful: float

    def to_dict(self) -> dict[str, Any]:
        """Its fields, for JSON."""
        return asdict(self)


def look_first(
    videos: Iterable[tuple[str, Sequence[str], Mapping[str, Sequence[float | None]]]],
) -> list[Doubt]:
    """Order videos by the share of doubtful masks, then by the lowest confidence.

    Args:
        videos: Name of each video, the stems of its frames, and by an object's id in digits the
            confidence in each frame, None where that is unknown. Videos of which nothing is known
            are left out.
    """
    found = []
    for name, stems, confidence in videos:
        told = [
            (value, int(own), stem)
            for own, values in confidence.items()
            for stem, value in zip(stems, values, strict=True)
            if value is not None
        ]
        if told:
            lowest, number, stem = min(told)
            doubtful = sum(value < BAD for value, _, _ in told) / len(told)
            found.append(Doubt(name, number, stem, lowest, round(doubtful, 4)))
    return sorted(found, key=lambda doubt: (-doubt.doubtful, doubt.lowest, doubt.video))
