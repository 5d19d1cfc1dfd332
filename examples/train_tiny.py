"""Train `tiny` on made-up scenes, from nothing, with the losses of the paper.

    python examples/train_tiny.py --output build/tiny           # goes on where it stopped
    python examples/train_tiny.py --output build/tiny --export tiny.safetensors
    python examples/train_tiny.py --output build/more --weights tiny.safetensors --first 4000

Bootstrapped cross-entropy and soft Jaccard loss with equal weights, AdamW, an exponential moving
average of the weights, sequences in which MCA runs twice or more. Needs scikit-image (photographs).
The same seed renders the same clips in the same order, on any number of workers.
"""

import argparse
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mavos_deploy.evaluation.scenes.clip import Clip
from mavos_deploy.evaluation.scenes.draws import Draws
from mavos_deploy.evaluation.scenes.scene import SceneStyle, iter_scene
from mavos_deploy.evaluation.scenes.textures import TRAINING_PHOTOS, Photo, load_photos
from mavos_deploy.models.layers import FrozenBatchNorm
from mavos_deploy.models.mavos import Features, Mavos
from mavos_deploy.models.resnet import Bottleneck
from mavos_deploy.models.tracker import GroupEngine
from mavos_deploy.models.variants import CHANNELS, IDENTITIES, VARIANTS
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.processors import usable_processors

FEATURE_NAMES = ("feature_4x", "feature_8x", "feature_16x", "embedding")  # fields of Features
OBJECTS = (1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 10)  # drawn from for each clip
SMALLEST_REFERENCE = 24  # pixels; an object that shows less in the first frame is background
UNUSED = -1e4  # logit of identities without an object
REUSE = 3  # times that a rendered clip is used, each time mirrored, reversed and relabelled anew
POOL = 8  # batches rendered together
EMA_DECAY = 0.9995
HARDEST = 0.15  # share of the pixels that the bootstrapped cross-entropy keeps in the end
STEADY = 0.1  # share of all iterations until the cross-entropy keeps no more than that
FALL = 0.35  # share of all iterations in which the learning rate falls
CLIP_NORM = 2.0
SEED_STEP = 1 << 20  # seeds of training scenes lie above it, those of the held-out ones below


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        until: Share of all iterations at its end.
        size: Frame height and width.
        batch: Clips.
        frames: Of each clip.
        memory_gap: Frames between two writes to the long-term memory; MCA runs from the second.
        own_masks: Chance that a batch remembers its own predictions instead of the truth.
        frozen_norm: Whether batch normalisation uses its stored statistics.
    """

    until: float
    size: tuple[int, int]
    batch: int
    frames: int
    memory_gap: int
    own_masks: float
    frozen_norm: bool


STAGES = (
    Stage(0.25, (113, 193), 12, 5, 1, 0.0, frozen_norm=False),
    Stage(0.75, (145, 257), 8, 8, 2, 0.5, frozen_norm=False),
    Stage(1.00, (193, 337), 5, 9, 2, 0.8, frozen_norm=True),
)


@cache
def _photos() -> tuple[Photo, ...]:
    return load_photos(TRAINING_PHOTOS)


def render_clip(seed: int, size: tuple[int, int], frames: int) -> Clip:
    """Make one training clip; slow and fast ones, with few and with many objects."""
    draws = Draws(seed, 2)
    pace = 2.0 ** draws.uniform(-0.5, 1.8)
    style = SceneStyle(
        smallest=0.12, largest=0.5, pace=(pace, pace), roam=1.0, leaving=0.3, visible=0.0
    )
    objects = OBJECTS[draws.integer(0, len(OBJECTS) - 1)]
    rendered = list(iter_scene(*size, frames, objects, seed, _photos(), style))
    return Clip(np.stack([f for f, _ in rendered]), np.stack([m for _, m in rendered]))


def _lower_priority() -> None:
    os.nice(5)


def stage_of(iteration: int, iterations: int) -> int:
    """Index of the stage that an iteration belongs to."""
    share = iteration / iterations
    return next(i for i, stage in enumerate(STAGES) if share < stage.until)


def batches(
    first: int, iterations: int, seed: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames float32 [T, B, H, W, 3] and labels int64 [T, B, H, W] of each iteration."""
    length = POOL * REUSE
    starts = [
        start for index in range(len(STAGES)) for start in _pool_starts(index, iterations, length)
    ]
    spans = list(zip(starts, [*starts[1:], iterations], strict=True))
    spans = [span for span in spans if span[1] > first]
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_lower_priority) as executor:

        def submit(start: int) -> list[Future[Clip]]:
            stage = STAGES[stage_of(start, iterations)]
            base = SEED_STEP * (seed + 1) + start * 64
            return [
                executor.submit(render_clip, base + i, stage.size, stage.frames)
                for i in range(POOL * stage.batch)
            ]

        try:
            pending = submit(spans[0][0])
            for number, (start, end) in enumerate(spans):
                clips, pending = [future.result() for future in pending], []
                if number + 1 < len(spans):
                    pending = submit(spans[number + 1][0])
                batch = STAGES[stage_of(start, iterations)].batch
                order = [
                    i for r in range(REUSE) for i in Draws(seed, 3, start, r).shuffled(len(clips))
                ]
                for iteration in range(start, end):
                    chosen = order[(iteration - start) * batch : (iteration - start + 1) * batch]
                    if iteration >= first:
                        draws = Draws(seed, 4, iteration)
                        yield collate([augment(clips[i], draws) for i in chosen])
        finally:
            executor.shutdown(cancel_futures=True)


def _pool_starts(index: int, iterations: int, length: int) -> range:
    first = 0 if index == 0 else math.ceil(STAGES[index - 1].until * iterations)
    return range(first, math.ceil(STAGES[index].until * iterations), length)


def augment(clip: Clip, draws: Draws) -> Clip:
    """Mirror, reverse in time, swap colours, and give the objects other identities."""
    frames, labels = clip.frames, clip.labels
    if draws.chance(0.5):
        frames, labels = frames[:, :, ::-1], labels[:, :, ::-1]
    if draws.chance(0.15):
        frames, labels = frames[:, ::-1], labels[:, ::-1]
    if draws.chance(0.5):
        frames, labels = frames[::-1], labels[::-1]
    if draws.chance(0.3):
        frames = frames[..., draws.shuffled(3)]
    if draws.chance(0.1):
        frames = np.repeat(frames.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    shown = np.bincount(labels[0].ravel(), minlength=CHANNELS) >= SMALLEST_REFERENCE
    identities = np.array(draws.shuffled(IDENTITIES)) + 1
    table = np.zeros(256, dtype=np.uint8)
    table[1:CHANNELS] = np.where(shown[1:], identities, 0)
    return Clip(frames, table[labels])


def collate(clips: list[Clip]) -> tuple[Tensor, Tensor]:
    """Stack clips behind time."""
    frames = torch.from_numpy(np.stack([clip.frames for clip in clips], 1)).float()
    return frames, torch.from_numpy(np.stack([clip.labels for clip in clips], 1)).long()


def make_trainable(module: nn.Module) -> None:
    """Put trainable batch normalisation in place of the frozen one, with the same keys."""
    for name, child in module.named_children():
        if isinstance(child, FrozenBatchNorm):
            setattr(module, name, nn.BatchNorm2d(child.weight.numel(), momentum=0.03))
        else:
            make_trainable(child)


def initialise(network: Mavos) -> None:
    """Start residual branches at zero and the identity bank with distinct codes."""
    for module in network.encoder.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    bank = network.patch_wise_id_bank
    width = bank.weight.shape[0]
    codes = torch.empty(width, CHANNELS)
    nn.init.orthogonal_(codes, gain=17**-2 * width**0.5 * 2)
    with torch.no_grad():
        bank.weight.copy_(codes[:, :, None, None] * (1 + 0.3 * torch.randn(bank.weight.shape)))


def freeze_statistics(network: Mavos, frozen: bool) -> None:
    """Switch batch normalisation to its stored statistics and back."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(not frozen)


def sequence_loss(
    network: Mavos, frames: Tensor, labels: Tensor, stage: Stage, keep: float, own_masks: bool
) -> tuple[Tensor, float]:
    """Segment a batch of clips from their first labels.

    Args:
        network: With trainable batch normalisation.
        frames: [T, B, H, W, 3].
        labels: [T, B, H, W], 0..10.
        stage: Of the training.
        keep: Share of the pixels that the cross-entropy keeps, hardest first.
        own_masks: Remember predictions instead of the labels.

    Returns:
        The loss, and the mean soft Jaccard index of the objects for the log.
    """
    steps, batch = frames.shape[:2]
    maps = network.encode(frames.flatten(0, 1))
    features = [
        Features(*(getattr(maps, name)[t * batch : (t + 1) * batch] for name in FEATURE_NAMES))
        for t in range(steps)
    ]
    used = F.one_hot(labels[0].flatten(1), CHANNELS).amax(1)  # [B, 11]
    used[:, 0] = 1
    unused = (1 - used)[:, :, None, None] * UNUSED
    engine = GroupEngine(network, stage.memory_gap)
    engine.reference_pass(features[0], labels[0], IDENTITIES)
    losses, overlaps = [], []
    for step in range(1, steps):
        engine.ordinary_pass(features[step])
        assert engine.logits is not None
        logits = engine.logits.float() + unused
        # With aligned corners and odd sides, every second pixel of the full size.
        half = F.interpolate(
            logits,
            [side // 2 + 1 for side in labels.shape[-2:]],
            mode="bilinear",
            align_corners=True,
        )
        loss, overlap = frame_loss(half, labels[step, :, ::2, ::2], used, keep)
        losses.append(loss)
        overlaps.append(overlap)
        if step + 1 < steps:
            known = labels[step]
            if own_masks:
                with torch.no_grad():
                    full = F.interpolate(
                        logits, labels.shape[-2:], mode="bilinear", align_corners=True
                    )
                    known = full.argmax(1)
            engine.memory_write(features[step], known)
    return torch.stack(losses).mean(), float(torch.stack(overlaps).mean())


def frame_loss(logits: Tensor, labels: Tensor, used: Tensor, keep: float) -> tuple[Tensor, Tensor]:
    """Bootstrapped cross-entropy plus soft Jaccard loss, halves of one.

    Args:
        logits: [B, 11, h, w].
        labels: [B, h, w].
        used: [B, 11], 1 for background and the identities in use.
        keep: Share of the pixels kept.
    """
    entropy = F.cross_entropy(logits, labels, reduction="none").flatten(1)
    if keep < 1:
        entropy = entropy.topk(int(keep * entropy.shape[1]), 1).values
    probability = logits.softmax(1)
    truth = F.one_hot(labels, CHANNELS).permute(0, 3, 1, 2).to(probability.dtype)
    both = torch.minimum(probability, truth).sum((2, 3))
    either = torch.maximum(probability, truth).sum((2, 3))
    # An object that is out of sight: 1 - J is the ghost's share of a token instead of all or none.
    jaccard = (both + 1) / (either + 1)
    objects = used.clone().to(jaccard.dtype)
    objects[:, 0] = 0
    mean = (jaccard * objects).sum() / objects.sum().clamp(min=1)
    return 0.5 * entropy.mean() + 0.5 * (1 - mean), mean.detach()


class Average:
    """Exponential moving average of a network's state."""

    def __init__(self, network: nn.Module) -> None:
        self.state = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, iteration: int) -> None:
        """Move towards the network; faster at first."""
        decay = min(EMA_DECAY, (1 + iteration) / (20 + iteration))
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)


def learning_rate(iteration: int, begin: int, iterations: int, peak: float) -> float:
    """Linear warm-up, constant, and a linear fall to a hundredth at the end."""
    warm = min(1.0, (iteration - begin + 1) / 150)
    fall = min(1.0, (1 - iteration / iterations) / FALL)
    return peak * warm * max(0.01, fall)


def train(arguments: argparse.Namespace) -> None:
    """Run the training, or what is left of it."""
    device = torch.device(arguments.device)
    torch.manual_seed(arguments.seed)
    if device.type == "cpu":
        torch.set_num_threads(arguments.threads)
    network = Mavos(VARIANTS["tiny"])
    make_trainable(network)
    initialise(network)
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
    network.train()
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}],
        lr=arguments.learning_rate,
    )
    begin = first = arguments.first
    spent = 0.0
    if arguments.weights:
        # Batch normalisation counts its batches beside the weights; nothing else may be missing.
        missing, _ = network.load_state_dict(load_file(arguments.weights), strict=False)
        if any(not key.endswith("num_batches_tracked") for key in missing):
            raise SystemExit(f"{arguments.weights} lacks {', '.join(missing)}")
    average = Average(network)
    file = arguments.output / "training.pt"
    if file.exists():
        saved = torch.load(file, map_location=device, weights_only=True)
        if saved["iterations"] != arguments.iterations or saved["seed"] != arguments.seed:
            raise SystemExit(
                f"{file} belongs to a training of {saved['iterations']} iterations with seed "
                f"{saved['seed']}; give the same, or another output folder"
            )
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        average.state = saved["average"]
        begin, first, spent = saved["begin"], saved["iteration"], saved["seconds"]
        print(f"going on at iteration {first}", flush=True)
    started = last = time.monotonic()
    loss_sum = overlap_sum = 0.0
    source = batches(first, arguments.iterations, arguments.seed, arguments.workers)
    for iteration, (frames, labels) in enumerate(source, first):
        stage = STAGES[stage_of(iteration, arguments.iterations)]
        freeze_statistics(network, stage.frozen_norm)
        share = iteration / arguments.iterations
        keep = max(HARDEST, 1 - (1 - HARDEST) * share / STEADY)
        own_masks = Draws(arguments.seed, 5, iteration).chance(stage.own_masks)
        rate = learning_rate(iteration, begin, arguments.iterations, arguments.learning_rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=arguments.bfloat16):
            loss, overlap = sequence_loss(
                network, frames.to(device), labels.to(device), stage, keep, own_masks
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        if not math.isfinite(float(norm)):
            print(f"iteration {iteration}: gradient not finite, left out", flush=True)
            continue
        optimizer.step()
        average.update(network, iteration - begin)
        loss_sum += float(loss.detach())
        overlap_sum += overlap
        done = iteration + 1
        if done % arguments.log_every == 0:
            now = time.monotonic()
            print(
                f"{done:6d}/{arguments.iterations}  loss {loss_sum / arguments.log_every:.4f}  "
                f"overlap {overlap_sum / arguments.log_every:.4f}  norm {float(norm):.2f}  "
                f"rate {rate:.1e}  {(now - last) / arguments.log_every:.2f} s",
                flush=True,
            )
            loss_sum = overlap_sum = 0.0
            last = now
        if done % arguments.save_every == 0 or done == arguments.iterations:
            saved = {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.state,
                "begin": begin,
                "iteration": done,
                "iterations": arguments.iterations,
                "seed": arguments.seed,
                "seconds": spent + time.monotonic() - started,
            }
            with replacing(file) as temporary:
                torch.save(saved, temporary)
    print(f"trained for {(spent + time.monotonic() - started) / 3600:.2f} h", flush=True)


def export(folder: Path, target: Path) -> None:
    """Write the averaged weights in half precision, as the package ships them."""
    saved: dict[str, Any] = torch.load(folder / "training.pt", weights_only=True)
    state = {
        key: value.half().contiguous().cpu()
        for key, value in saved["average"].items()
        if not key.endswith("num_batches_tracked")
    }
    wrong = [key for key, value in state.items() if not bool(value.isfinite().all())]
    if wrong:
        raise SystemExit(f"not finite in half precision: {wrong}")
    Mavos(VARIANTS["tiny"]).load_state_dict(state)  # strict
    with replacing(target) as temporary:
        temporary.write_bytes(save(state))
    numbers = sum(value.numel() for value in state.values())
    print(f"{target}: {numbers} numbers after {saved['iteration']} iterations")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the training state")
    parser.add_argument("--export", type=Path, help="write the weights here and stop")
    parser.add_argument("--weights", type=Path, help="begin with these instead of from nothing")
    parser.add_argument("--first", type=int, default=0, help="iteration that --weights stand at")
    parser.add_argument("--iterations", type=int, default=5000)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=usable_processors())
    parser.add_argument("--workers", type=int, default=max(1, usable_processors() // 2))
    parser.add_argument("--no-bfloat16", dest="bfloat16", action="store_false")
    parser.add_argument("--log-every", type=int, default=20)
    parser.add_argument("--save-every", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.export:
        export(arguments.output, arguments.export)
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    # So that the workers end with it, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    train(arguments)


if __name__ == "__main__":
    main()
