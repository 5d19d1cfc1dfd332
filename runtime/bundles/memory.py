"""Rules of the long-term memory: the slots that frames are kept in, and which a new one takes.

Slot 0 holds a group's reference, its first annotated frame, for ever. All groups of ten objects are
written to at the same time, and as far as their rule lets them, to the same slot, so that a write
replaces whole tensors and copies nothing. Groups that joined later have filled fewer slots.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.words import Word

REFERENCE = "reference"
# With two slots an empty one holds a copy of the reference: attention over a doubled set of tokens
# equals attention over the set. With more than two it needs a bias.
EXACT_COPIES = 2
EMPTY = -1e4  # added to the scores of an empty slot; softmax gives exactly 0, in float16 too
MOST_SLOTS = 64  # each costs a full attention over its frame in every block
FEWEST_LVOS = 2


class Rule(Word):
    """What enters the long-term memory, and what leaves it for that."""

    MCA = "mca"  # the reference, and one slot that MCA merges every written frame into
    ANNOTATIONS = "annotations"  # annotated frames
    LATEST = "latest"  # the reference and the latest write
    LVOS = "lvos"  # the reference, the first writes after it, and the two newest


@dataclass(frozen=True)
class MemoryRule:
    """A rule with its number of slots.

    Attributes:
        rule: The rule.
        slots: Slots of the long-term memory, the reference's included.
    """

    rule: Rule = Rule.MCA
    slots: Annotated[int, Meta(ge=1, le=MOST_SLOTS)] = 2

    def __post_init__(self) -> None:
        if self.rule in (Rule.MCA, Rule.LATEST) and self.slots != 2:
            raise ValueError(f"memory {self.rule} has 2 slots, not {self.slots}")
        if self.rule is Rule.LVOS and self.slots <= FEWEST_LVOS:
            raise ValueError(f"memory lvos has {FEWEST_LVOS + 1} slots or more, not {self.slots}")

    def __str__(self) -> str:
        return f"{self.rule}:{self.slots - 1}" if self.rule is Rule.LVOS else str(self.rule)

    @classmethod
    def named(cls, text: str, slots: int | None = None) -> "MemoryRule":
        """The rule that `--memory` and `--slots` name.

        Args:
            text: `mca`, `annotations`, `latest`, or `lvos:L`, where L frames may be held before a
                new one comes, the reference included.
            slots: Annotated frames that `annotations` keeps; None for 2.

        Raises:
            InputError: There is no such rule, or the number is out of its range or has no effect.
        """
        accepted = "mca, annotations, latest and lvos:L, such as lvos:6"
        name, _, number = text.partition(":")
        if name == "growing":
            raise InputError(
                "--memory growing: a memory without end fits no graph, and no device for long; "
                "take lvos:6, which is as exact for the first 6 writes, or latest, which costs "
                "least; mavos-bench measures growing beside the bundle's own (--growing-memory)"
            )
        if name not in set(Rule) or (name == Rule.LVOS) != bool(number):
            raise InputError(f"--memory {text}: accepted are {accepted}")
        if slots is not None and name != Rule.ANNOTATIONS:
            raise InputError(
                f"--slots has no effect with --memory {text}; it is for --memory annotations"
            )
        if name == Rule.LVOS:
            most = MOST_SLOTS - 1
            if (
                not (number.isascii() and number.isdigit())
                or not FEWEST_LVOS <= int(number) <= most
            ):
                raise InputError(f"--memory {text}: L is a number from {FEWEST_LVOS} to {most}")
            slots = int(number) + 1
        slots = 2 if slots is None else slots
        if not 1 <= slots <= MOST_SLOTS:
            raise InputError(f"--slots {slots}: accepted are 1 to {MOST_SLOTS}")
        return cls(Rule(name), slots)

    @property
    def at_gaps(self) -> bool:
        """Whether a frame enters at every memory gap; if not, annotated ones alone do."""
        return self.rule is not Rule.ANNOTATIONS

    @property
    def often_alone(self) -> bool:
        """Whether slots besides the reference's may stay empty in a whole video."""
        return not self.at_gaps and self.slots > 1

    @property
    def merges(self) -> bool:
        """Whether frames are merged into what a slot holds, by the graph `memory_update`."""
        return self.rule is Rule.MCA

    @property
    def has_bias(self) -> bool:
        """Whether the graphs take a bias that says which slots are empty."""
        return self.slots > EXACT_COPIES

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the slots, the reference's first."""
        if self.slots <= EXACT_COPIES:
            return (REFERENCE, "dynamic")[: self.slots]
        return REFERENCE, *(f"dynamic{number}" for number in range(1, self.slots))

    def slot_for(self, entered: int, writes: int) -> int | None:
        """The slot that a group's next frame takes; None where there is none for it.

        Args:
            entered: Frames that have entered the group's memory after its reference.
            writes: Writes of the video so far, in whatever group.
        """
        last = self.slots - 1
        if last == 0:
            return None
        if self.rule is Rule.LVOS and entered + 1 >= last - 1:
            # The last two take turns, in the same order in all groups.
            return last - 1 + (writes + 1) % 2
        return min(entered + 1, last)

    def has_room(self, entered: int) -> bool:
        """Whether an annotated frame finds an empty slot where annotations are to be kept.

        Args:
            entered: Frames that have entered the group's memory after its reference.
        """
        return self.at_gaps or entered < self.slots - 1

    def is_held(self, entered: int, writes: int) -> NDArray[np.bool_]:
        """Which slots of a group hold a frame, [slots]; arguments as in `slot_for`."""
        held = np.arange(self.slots) <= entered
        if self.rule is Rule.LVOS and entered == self.slots - 2:
            held[-2:] = False
            held[self.slots - 2 + writes % 2] = True
        return held

    def bias(self, entered: tuple[int, ...], writes: int) -> NDArray[np.float32]:
        """What is added to the scores of each group's slots, float32 [groups, slots].

        Args:
            entered: For each group, as in `slot_for`.
            writes: As in `slot_for`.
        """
        held = np.stack([self.is_held(count, writes) for count in entered])
        return np.where(held, np.float32(0), np.float32(EMPTY))


MCA = MemoryRule()  # MAVOS' own, and that of every bundle that names no rule
