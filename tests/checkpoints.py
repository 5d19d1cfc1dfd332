"""State dicts with the keys and shapes of a variant's checkpoint."""

import torch
from torch import Tensor

from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS

StateDict = dict[str, Tensor]


def zeros(variant: str) -> StateDict:
    """A state dict whose tensors take no room."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in Mavos(VARIANTS[variant]).state_dict().items()}
    return {key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}
