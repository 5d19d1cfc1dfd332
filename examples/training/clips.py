"""The clips that a training sees, in an order that follows from the seed alone."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from examples.training.recipes import Recipe, Stage
from examples.training.stills import Pictures, load_pictures, make_clip
from mavos_deploy.evaluation.scenes.clip import Clip
from mavos_deploy.evaluation.scenes.draws import Draws
from mavos_deploy.evaluation.scenes.scene import SceneStyle, iter_scene
from mavos_deploy.evaluation.scenes.textures import TRAINING_PHOTOS, Photo, load_photos
from mavos_deploy.models.variants import CHANNELS, IDENTITIES

OBJECTS = (1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 10)  # drawn from for each clip
SMALLEST_REFERENCE = 24  # pixels; an object that shows less in the first frame is background
SEED_STEP = 1 << 20  # seeds of training clips lie above it, those of held-out scenes below
MOST_CLIPS = 64  # clips of one iteration, at most


@cache
def _photos() -> tuple[Photo, ...]:
    return load_photos(TRAINING_PHOTOS)


@cache
def _pictures(file: Path) -> Pictures:
    return load_pictures(file)


def render_scene(seed: int, size: tuple[int, int], frames: int) -> Clip:
    """Make a clip of a made-up scene; slow and fast ones, with few and with many objects."""
    draws = Draws(seed, 2)
    pace = 2.0 ** draws.uniform(-0.5, 1.8)
    style = SceneStyle(
        smallest=0.12, largest=0.5, pace=(pace, pace), roam=1.0, leaving=0.3, visible=0.0
    )
    objects = OBJECTS[draws.integer(0, len(OBJECTS) - 1)]
    rendered = list(iter_scene(*size, frames, objects, seed, _photos(), style))
    return Clip(np.stack([f for f, _ in rendered]), np.stack([m for _, m in rendered]))


def render_clip(seed: int, stage: Stage, scenes: float, pictures: Path | None) -> Clip:
    """Make one training clip.

    Args:
        seed: Fixes every pixel.
        stage: Stage of the training.
        scenes: Chance of a made-up scene in place of moving stills.
        pictures: File of the stills; None if all clips are scenes.
    """
    if pictures is None or Draws(seed, 6).chance(scenes):
        return render_scene(seed, stage.size, stage.frames)
    return make_clip(
        _pictures(pictures),
        seed,
        stage.size,
        stage.frames,
        stage.pace,
        stage.absences,
        stage.meetings,
    )


def _settle_in() -> None:
    os.nice(5)
    cv2.setNumThreads(1)


def batches(
    recipe: Recipe,
    pictures: Path | None,
    first: int,
    iterations: int,
    seed: int,
    workers: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Render, shuffle and augment the clips of every iteration.

    Args:
        recipe: Stages and shares.
        pictures: File of the stills; None if all clips are scenes.
        first: The first iteration that is wanted.
        iterations: Number of iterations of the whole training.
        seed: Fixes clips, order and augmentation.
        workers: Processes that render.

    Yields:
        Frames [T, B, H, W, 3] and labels [T, B, H, W] of one iteration, uint8.
    """
    length = recipe.pool * recipe.reuse
    starts = [
        start
        for index in range(len(recipe.stages))
        for start in _pool_starts(recipe, index, iterations, length)
    ]
    spans = list(zip(starts, [*starts[1:], iterations], strict=True))
    spans = [span for span in spans if span[1] > first]
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_settle_in) as executor:

        def stage_at(start: int) -> Stage:
            return recipe.stages[recipe.stage_of(start, iterations)].turn(start // length)

        def submit(start: int) -> list[Future[Clip]]:
            stage = stage_at(start)
            base = SEED_STEP * (seed + 1) + start * MOST_CLIPS
            return [
                executor.submit(render_clip, base + i, stage, recipe.scenes, pictures)
                for i in range(recipe.pool * stage.batch)
            ]

        try:
            pending = submit(spans[0][0])
            for number, (start, end) in enumerate(spans):
                clips, pending = [future.result() for future in pending], []
                if number + 1 < len(spans):
                    pending = submit(spans[number + 1][0])
                batch = stage_at(start).batch
                order = [
                    i
                    for r in range(recipe.reuse)
                    for i in Draws(seed, 3, start, r).shuffled(len(clips))
                ]
                for iteration in range(start, end):
                    chosen = order[(iteration - start) * batch : (iteration - start + 1) * batch]
                    if iteration >= first:
                        draws = Draws(seed, 4, iteration)
                        yield collate([augment(clips[i], recipe, draws) for i in chosen])
        finally:
            executor.shutdown(cancel_futures=True)


def lost_objects(labels: Tensor, chance: float, draws: Draws) -> Tensor:
    """Objects that are left out of what is remembered of a frame, as if they had been missed.

    Args:
        labels: uint8 [T, B, H, W].
        chance: Chance of a clip to lose one in a frame.
        draws: Where the choice comes from.

    Returns:
        Their identities, int64 [T, B]; 0 where none is lost.
    """
    lost = torch.zeros(labels.shape[:2], dtype=torch.int64)
    if not chance:
        return lost
    for clip in range(labels.shape[1]):
        shown = [value for value in labels[0, clip].unique().tolist() if value]
        for frame in range(labels.shape[0]):
            if shown and draws.chance(chance):
                lost[frame, clip] = shown[draws.integer(0, len(shown) - 1)]
    return lost


def _pool_starts(recipe: Recipe, index: int, iterations: int, length: int) -> range:
    stages = recipe.stages
    first = 0 if index == 0 else math.ceil(stages[index - 1].until * iterations)
    return range(first, math.ceil(stages[index].until * iterations), length)


def augment(clip: Clip, recipe: Recipe, draws: Draws) -> Clip:
    """Mirror, reverse in time, swap colours, and give the objects other identities."""
    frames, labels = clip.frames, clip.labels
    if draws.chance(0.5):
        frames, labels = frames[:, :, ::-1], labels[:, :, ::-1]
    if draws.chance(recipe.upside_down):
        frames, labels = frames[:, ::-1], labels[:, ::-1]
    if draws.chance(0.5):
        frames, labels = frames[::-1], labels[::-1]
    if draws.chance(recipe.recoloured):
        frames = frames[..., draws.shuffled(3)]
    if draws.chance(recipe.grey):
        frames = np.repeat(frames.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    shown = np.bincount(labels[0].ravel(), minlength=CHANNELS) >= SMALLEST_REFERENCE
    identities = np.array(draws.shuffled(IDENTITIES)) + 1
    table = np.zeros(256, dtype=np.uint8)
    table[1:CHANNELS] = np.where(shown[1:], identities, 0)
    return Clip(frames, table[labels])


def collate(clips: list[Clip]) -> tuple[Tensor, Tensor]:
    """Stack clips behind time."""
    frames = torch.from_numpy(np.stack([clip.frames for clip in clips], 1))
    return frames, torch.from_numpy(np.stack([clip.labels for clip in clips], 1))
