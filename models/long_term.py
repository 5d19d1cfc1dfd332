"""Rules of the long-term memory, as the authors write them: a bank, its newest frame first.

The runtime keeps the same frames in fixed slots (`runtime/bundles/memory.py`), so that a mistake in
one of the two shows as a difference.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LongTerm:
    """A rule, which says what stays in the bank when a frame enters it.

    Attributes:
        rule: `mca`: the reference, and what MCA makes of all other frames. `latest`: the reference
            and the latest frame. `lvos`: `slots` frames: the two newest, the reference and the
            first ones after it (LVOS, issue 3). `annotations`: annotated frames only, in `slots`
            slots. `growing`: every frame, as in aot-benchmark.
        slots: Frames that the bank holds at most; None for `growing`.
    """

    rule: str
    slots: int | None = 2

    @property
    def at_gaps(self) -> bool:
        """Whether frames enter at every memory gap, and not annotated ones alone."""
        return self.rule != "annotations"

    def kept(self, held: int) -> list[int]:
        """The places in the bank, newest first, of the frames that stay behind a new one.

        Args:
            held: Frames in the bank, at least the reference.
        """
        places = list(range(held))
        if self.rule in ("mca", "latest"):
            return places[-1:]
        if self.slots is not None and held >= self.slots:
            # `lvos` drops the second newest frame, `annotations` the latest late one.
            del places[1 if self.rule == "lvos" else 0]
        return places
