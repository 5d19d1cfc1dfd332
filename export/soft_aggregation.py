"""Soft aggregation: more than ten objects, followed in groups of ten, become one label map."""

import torch
from torch import Tensor

PROBABILITY_MARGIN = 1e-5  # upstream clamps merged probabilities to keep their logits finite


def soft_aggregation(logits: Tensor) -> Tensor:
    """Merge the logits of all groups into the label of every pixel.

    Each group has a background of its own. A pixel is background as far as it is so in every group,
    and an object keeps the probability that its group gives it. One group is a plain argmax.

    Args:
        logits: [groups, 1 + objects, H, W], the background first; very low for unused channels.

    Returns:
        int32 [H, W]: 0 for the background, then the objects of all groups, one after the other.

    Source: AOT, soft_logit_aggregation in networks/engines/aot_engine.py.
    """
    exponent = (logits - logits.amax(1, keepdim=True)).exp()
    probabilities = exponent / exponent.sum(1, keepdim=True)
    background, objects = probabilities[:, :1], probabilities[:, 1:]
    merged = torch.cat([background.prod(0), objects.flatten(0, 1)])
    merged = merged.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    return merged.argmax(0).to(torch.int32)
