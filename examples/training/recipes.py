"""The stages of each training."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        until: Share of all iterations at its end.
        size: Frame height and width.
        batch: Clips.
        frames: Number of frames of each clip.
        memory_gap: Frames between two writes to the long-term memory; MCA runs from the second.
        own_masks: Chance that a batch remembers its own predictions instead of the truth.
        frozen_norm: Whether batch normalisation uses its stored statistics.
        frozen_encoder: Whether the encoder keeps its weights.
        pace: Scales the motion in clips made from stills.
        absences: Chance that a thing slips away and comes back, in clips made from stills.
        meetings: Chance that things of one kind pass each other closely, in clips from stills.
        lost: Chance that a clip loses an object in a frame: what is remembered lacks it.
        turns: Other sizes, each with its number of clips, that take turns with `size`.
    """

    until: float
    size: tuple[int, int]
    batch: int
    frames: int
    memory_gap: int
    own_masks: float
    frozen_norm: bool = True
    frozen_encoder: bool = False
    pace: float = 1.0
    absences: float = 0.12
    meetings: float = 0.0
    lost: float = 0.0
    turns: tuple[tuple[tuple[int, int], int], ...] = ()

    def turn(self, number: int) -> "Stage":
        """The stage with the size and the batch of a turn, counted from 0."""
        shapes = (self.size, self.batch), *self.turns
        size, batch = shapes[number % len(shapes)]
        return replace(self, size=size, batch=batch)


@dataclass(frozen=True)
class Recipe:
    """A training from its first iteration to its last.

    Attributes:
        name: The training's own name.
        variant: Name in `models.variants.VARIANTS` of the network that it trains.
        iterations: Number of them, if the command line gives no other.
        learning_rate: Peak of AdamW's rate.
        encoder_rate: Factor of the rate in the encoder.
        average: Decay of the moving average of the weights.
        fall: Share of all iterations in which the rate falls.
        scenes: Share of clips that are made-up scenes; the others come from stills.
        reuse: Number of times that a rendered clip is used, each time augmented anew.
        pool: Batches rendered together.
        upside_down: Chance that a clip is turned upside down.
        recoloured: Chance that its colour channels are shuffled.
        grey: Chance that it is grey.
        stages: In their order.
    """

    name: str
    variant: str
    iterations: int
    learning_rate: float
    encoder_rate: float
    average: float
    fall: float
    scenes: float
    reuse: int
    pool: int
    upside_down: float
    recoloured: float
    grey: float
    stages: tuple[Stage, ...]

    def stage_of(self, iteration: int, iterations: int) -> int:
        """Index of the stage that an iteration belongs to."""
        share = iteration / iterations
        return next(i for i, stage in enumerate(self.stages) if share < stage.until)


# On a GPU, from the weights of the recipe `lite`: long clips, in which things go and return.
LITE_LONG = Recipe(
    name="lite-long",
    variant="lite",
    iterations=82,
    learning_rate=6e-4,
    encoder_rate=0.1,
    average=0.995,
    fall=0.6,
    scenes=0.2,
    reuse=2,
    pool=3,
    upside_down=0.0,
    recoloured=0.0,
    grey=0.08,
    stages=(
        Stage(
            1.0,
            (241, 433),
            14,
            24,
            4,
            0.85,
            pace=0.8,
            absences=0.3,
            lost=0.08,
            turns=(((193, 337), 21), ((337, 593), 7)),
        ),
    ),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="tiny",
            variant="tiny",
            iterations=5000,
            learning_rate=1e-3,
            encoder_rate=1.0,
            average=0.9995,
            fall=0.35,
            scenes=1.0,
            reuse=3,
            pool=8,
            upside_down=0.15,
            recoloured=0.3,
            grey=0.1,
            stages=(
                Stage(0.25, (113, 193), 12, 5, 1, 0.0, frozen_norm=False),
                Stage(0.75, (145, 257), 8, 8, 2, 0.5, frozen_norm=False),
                Stage(1.00, (193, 337), 5, 9, 2, 0.8),
            ),
        ),
        Recipe(
            name="lite",
            variant="lite",
            iterations=2300,
            learning_rate=6e-4,
            encoder_rate=0.1,
            average=0.998,
            fall=0.3,
            scenes=0.25,
            reuse=2,
            pool=1,
            upside_down=0.0,
            recoloured=0.0,
            grey=0.08,
            stages=(
                Stage(0.087, (145, 257), 6, 5, 1, 0.0, frozen_encoder=True, pace=0.7),
                Stage(0.522, (145, 257), 5, 6, 1, 0.3, pace=0.9),
                Stage(0.739, (193, 337), 3, 7, 2, 0.6),
                Stage(1.000, (193, 337), 2, 11, 2, 0.8, pace=0.8),
            ),
        ),
        LITE_LONG,
        # On two cores, from the weights of `lite-long`: things of one kind that meet.
        replace(
            LITE_LONG,
            name="lite-close",
            iterations=1000,
            learning_rate=3e-4,
            pool=2,
            stages=(
                Stage(
                    1.0,
                    (193, 337),
                    2,
                    16,
                    3,
                    0.85,
                    pace=0.8,
                    absences=0.25,
                    meetings=0.7,
                    lost=0.05,
                    turns=(((241, 433), 1),),
                ),
            ),
        ),
    )
}
