"""The losses of the paper over a batch of clips."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mavos_deploy.models.mavos import Features, Mavos
from mavos_deploy.models.tracker import GroupEngine
from mavos_deploy.models.variants import CHANNELS, IDENTITIES

FEATURE_NAMES = ("feature_4x", "feature_8x", "feature_16x", "embedding")  # fields of Features
UNUSED = -1e4  # logit of identities without an object


def sequence_loss(
    network: Mavos,
    frames: Tensor,
    labels: Tensor,
    memory_gap: int,
    keep: float,
    own_masks: bool,
    frozen_encoder: bool = False,
    lost: Tensor | None = None,
) -> tuple[Tensor, float]:
    """Segment a batch of clips from their first labels.

    Args:
        network: With trainable or frozen batch normalisation.
        frames: RGB 0..255, float32 [T, B, H, W, 3].
        labels: Identities 0..10, int64 [T, B, H, W].
        memory_gap: Frames between two writes to the long-term memory.
        keep: Share of the pixels that the cross-entropy keeps, hardest first.
        own_masks: Remember predictions instead of the labels.
        frozen_encoder: Send no gradient into the encoder.
        lost: Identities that are left out of what is remembered of each frame, int64 [T, B]; 0
            for none.

    Returns:
        The loss, and the mean soft Jaccard index of the objects for the log.
    """
    steps, batch = frames.shape[:2]
    with torch.set_grad_enabled(not frozen_encoder):
        pixels = network.normalise(frames.flatten(0, 1))
        *shallow, deep = network.encoder(pixels.contiguous(memory_format=torch.channels_last))
    maps = (*shallow, network.encoder_projector(deep))
    features = [
        Features(*(values[t * batch : (t + 1) * batch] for values in maps)) for t in range(steps)
    ]
    used = F.one_hot(labels[0].flatten(1), CHANNELS).amax(1)  # [B, 11]
    used[:, 0] = 1
    unused = (1 - used)[:, :, None, None] * UNUSED
    engine = GroupEngine(network, memory_gap)
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
            if lost is not None:
                known = known.masked_fill(known == lost[step, :, None, None], 0)
            engine.memory_write(features[step], known)
    return torch.stack(losses).mean(), float(torch.stack(overlaps).mean())


def frame_loss(logits: Tensor, labels: Tensor, used: Tensor, keep: float) -> tuple[Tensor, Tensor]:
    """Bootstrapped cross-entropy plus soft Jaccard loss, halves of one.

    Args:
        logits: [B, 11, h, w].
        labels: [B, h, w].
        used: [B, 11], 1 for background and the identities in use.
        keep: Share of the pixels kept.

    Returns:
        The loss, and the mean soft Jaccard index of the objects.
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
