"""State dicts with the keys and shapes of a variant's checkpoint."""

import torch
from torch import Tensor

from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS

StateDict = dict[str, Tensor]


def zeros(variant: str) -> StateDict:
    """A state dict whose tensors take no room."""
    with torch.device("meta"):
        state = Mavos(VARIANTS[variant]).state_dict()
    return {
        key: torch.zeros(1, dtype=value.dtype).expand(value.shape) for key, value in state.items()
    }
