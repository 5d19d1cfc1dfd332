"""Makes a float16 copy of a network, for GPUs; sensitive parts stay float32."""

import copy
from itertools import pairwise

from torch import nn

from mavos_deploy.errors import CheckpointError
from mavos_deploy.models.layers import FrozenBatchNorm, GroupNorm, LayerNorm
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.mobilenet import InvertedResidual, MobileNetV2


def half_precision(network: Mavos) -> Mavos:
    """Make a float16 copy of a network.

    Weights of norms and of the layer that makes the logits stay float32; norms, softmax, the global
    mean of MCA, logits and masks are computed in it. Frozen batch norms are folded into the
    convolutions before them while everything is float32, so neither their statistics nor an output
    that is not normalised yet has to fit float16.

    The first two units of MobileNetV2 meet in two 1x1 convolutions with nothing between them. They
    become one, which spares a GPU a map of half the frame's size.

    Args:
        network: Network in float32 and evaluation mode; it stays as it is.

    Returns:
        The copy. `encode` still takes float32 frames, `decode` still gives float32 logits.

    Raises:
        CheckpointError: A weight is beyond the range of float16.
    """
    network = copy.deepcopy(network)
    _fold_batch_norms(network)
    if isinstance(network.encoder, MobileNetV2):
        _join_first_units(network.encoder)
    full = [m for m in network.modules() if isinstance(m, (LayerNorm, GroupNorm))]
    kept = {id(p) for module in (*full, network.decoder.conv_out) for p in module.parameters()}
    for name, parameter in network.named_parameters():
        if id(parameter) in kept:
            continue
        parameter.data = parameter.data.half()
        if not bool(parameter.isfinite().all()):
            raise CheckpointError(
                f"{name} holds a value beyond 65504, where float16 ends; export these weights with "
                "--precision fp32"
            )
    return network


def _fold_batch_norms(network: nn.Module) -> None:
    """Replace every convolution and the frozen batch norm behind it by one convolution."""
    for parent in list(network.modules()):
        for (_, conv), (name, norm) in pairwise(list(parent.named_children())):
            if not isinstance(norm, FrozenBatchNorm):
                continue
            assert isinstance(conv, nn.Conv2d), f"{name} follows a {type(conv).__name__}"
            assert conv.bias is None, f"the convolution before {name} has a bias"
            scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            weight = conv.weight.double() * scale[:, None, None, None]
            bias = norm.bias.double() - norm.running_mean.double() * scale
            conv.weight = nn.Parameter(weight.float(), requires_grad=False)
            conv.bias = nn.Parameter(bias.float(), requires_grad=False)
            setattr(parent, name, nn.Identity())
    left = [name for name, m in network.named_modules() if isinstance(m, FrozenBatchNorm)]
    assert not left, f"not folded: {left}"


def _join_first_units(encoder: MobileNetV2) -> None:
    """Replace the projection of the first unit and the expansion of the second by one convolution.

    Nothing else reads the map between them: neither unit adds its input, and it is no output.
    """
    first, second = encoder.features[1], encoder.features[2]
    assert isinstance(first, InvertedResidual)
    assert isinstance(second, InvertedResidual)
    projection, expanding = first.conv[1], second.conv[0]
    assert isinstance(expanding, nn.Sequential)
    expansion = expanding[0]
    assert isinstance(projection, nn.Conv2d)
    assert isinstance(expansion, nn.Conv2d)
    assert projection.bias is not None, "batch norms are folded first"
    assert expansion.bias is not None
    after, before = (conv.weight.double().flatten(1) for conv in (expansion, projection))
    joined = nn.Conv2d(projection.in_channels, expansion.out_channels, 1)
    bias = after @ projection.bias.double() + expansion.bias.double()
    joined.weight = nn.Parameter((after @ before).float()[..., None, None], requires_grad=False)
    joined.bias = nn.Parameter(bias.float(), requires_grad=False)
    first.conv[1], expanding[0] = nn.Identity(), joined
