"""Weights computed from nothing but each tensor's key and shape, for use without a checkpoint.

They are not trained, but they aren't plain noise either: the identity of an object is carried by
orthogonal +-1 codes along near-identity paths, from the identity bank through the values and the
projections to the decoder's rows, so masks really propagate for some dozens of frames and label
maps stay far from trivial. Every tensor also receives noise, so that a wrong transposition, order
or scale anywhere changes the logits. The golden data of the tests was recorded with them.

Only the raw stream of PCG64 is used, which NumPy keeps stable, and sums stay exact in float64, so
the float32 result is the same on every machine.
"""

import math
import re
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mavos_deploy.models.variants import CHANNELS, WINDOW_RADIUS

STREAM = "mavos-fill-v1-7"  # seeds the generator together with the key
UNIT_VARIANCE = math.sqrt(3.0)  # times uniform(-1, 1)

Array = NDArray[np.float64]
Shape = tuple[int, ...]


def synthetic_state_dict(like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fill a state dict.

    Args:
        like: State dict to take keys, shapes and dtypes from.

    Returns:
        The same keys in the same order; integer tensors are kept.
    """
    filled = {}
    for key, old in like.items():
        if not old.is_floating_point():
            filled[key] = old.clone()
            continue
        of_batch_norm = f"{key.rpartition('.')[0]}.running_mean" in like
        values = _values(key, tuple(old.shape), of_batch_norm)
        filled[key] = torch.from_numpy(np.ascontiguousarray(values.astype(np.float32)))
    return filled


def _uniform(key: str, shape: Shape) -> Array:
    """Uniform numbers in (-1, 1), 24 random bits each."""
    seed = zlib.crc32(f"{STREAM}|{key}".encode())
    raw = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    uniform = ((raw >> np.uint64(40)).astype(np.float64) + 0.5) * 2.0**-23 - 1.0
    return uniform.reshape(shape)


def _noise(key: str, shape: Shape) -> Array:
    """Noise of unit variance."""
    return _uniform(key, shape) * UNIT_VARIANCE


def _centred(key: str, shape: Shape) -> Array:
    """Noise without its mean over everything but the first axis."""
    uniform = _uniform(key, shape)
    mean = uniform.reshape(shape[0], -1).sum(axis=1) / float(np.prod(shape[1:]))
    centred: Array = uniform - mean.reshape((shape[0],) + (1,) * (len(shape) - 1))
    return centred * UNIT_VARIANCE


def _codes(rows: int, length: int) -> Array:
    """Orthogonal +-1 Walsh codes: element i of row k is the parity of the bits of i and index k."""
    position = np.arange(length)
    codes = np.empty((rows, length))
    for row in range(rows):
        selected = position & ((row + 1) + 16 * ((5 * row + 3) % 8))
        parity = np.zeros(length, dtype=np.int64)
        for bit in range(7):
            parity ^= (selected >> bit) & 1
        codes[row] = 1.0 - 2.0 * parity
    return codes


def _binomial(size: int) -> Array:
    """A smoothing kernel [size, size] that sums to one."""
    row: Array = np.array([1.0])
    while row.size < size:
        row = np.convolve(row, [1.0, 1.0])
    kernel: Array = np.outer(row, row) / row.sum() ** 2
    return kernel


def _values(key: str, shape: Shape, of_batch_norm: bool) -> Array:
    if len(shape) == 1:
        return _vector(key, shape, of_batch_norm)
    if key.endswith("relative_position_bias_table"):
        return 0.5 * _noise(key, shape)
    fan = float(np.prod(shape[1:]))
    if key.startswith("encoder."):
        return _encoder(key, shape, fan)
    if key == "encoder_projector.weight":
        return 1.41 * _centred(key, shape) / math.sqrt(fan)
    if key == "patch_wise_id_bank.weight":
        codes = _codes(CHANNELS, shape[0]).T[:, : shape[1], None, None]
        noise = _centred(key, shape)
        area = shape[-1] * shape[-1]
        filled: Array = codes * (1.0 + 0.2 * noise) / area + 0.5 * noise / area
        return filled
    if key.startswith("decoder."):
        return _decoder(key, shape, fan)
    if key.startswith("long_term_memory_attention."):
        return _mca(key, shape, fan)
    block = re.match(r"LSTT\.layers\.(\d+)\.(.*)", key)
    assert block, f"no rule for {key}"
    return _block(int(block[1]), block[2], key, shape, fan)


def _vector(key: str, shape: Shape, of_batch_norm: bool) -> Array:
    """Biases, scales of norms, and running statistics."""
    noise = _noise(key, shape)
    leaf = key.rpartition(".")[2]
    if leaf == "running_mean":
        return 0.1 * noise
    if leaf == "running_var":
        return 1.0 + 0.2 * noise
    if leaf == "weight":
        scale = 1.0 + 0.1 * noise
        if re.match(r"encoder\.layer\d\.\d+\.bn3\.", key):
            scale = 0.5 * scale
        if re.match(r"encoder\.features\.\d+\.conv\.3\.", key):
            scale = 0.7 * scale
        return scale
    if key.endswith("short_term_attn.relative_emb_k.bias"):
        # Near keys win, so that objects stay in place.
        distance = np.arange(2 * WINDOW_RADIUS + 1) - float(WINDOW_RADIUS)
        squared = distance[:, None] ** 2 + distance[None, :] ** 2
        return 0.5 * noise - np.minimum(squared, 8.0).reshape(-1)
    if key.endswith("linear_ID_U.bias"):  # silu(1.278) is about 1
        return 1.278 + 0.1 * noise
    return (0.1 if of_batch_norm else 0.05) * noise


def _encoder(key: str, shape: Shape, fan: float) -> Array:
    if key.startswith(("encoder.layers.", "encoder.patch_embed.")):
        base = _centred(key, shape) / math.sqrt(fan)
        if key.endswith(("attn.proj.weight", "mlp.fc2.weight")):
            return 0.5 * base
        return 1.3 * base if key.endswith("qkv.weight") else base
    size = shape[-1]
    if shape[1] == 1:  # depthwise
        depthwise: Array = 0.5 * (_noise(key, shape) / math.sqrt(fan)) + _binomial(size)
        return depthwise
    sharp = _centred(key, shape)
    if size == 1:
        return 1.41 * sharp / math.sqrt(fan)
    mix = _centred(key + "#m", shape[:2])
    smooth = mix[:, :, None, None] * _binomial(size) / math.sqrt(shape[1])
    filled: Array = 1.41 * (0.8 * smooth + 0.8 * sharp / math.sqrt(fan))
    return filled


def _block(layer: int, name: str, key: str, shape: Shape, fan: float) -> Array:
    """Weights of a propagation block, 256 wide."""
    if "dw_conv" in name:
        weight = 0.15 * (_noise(key, shape) / math.sqrt(fan))
        weight[:, 0, 2, 2] += 1.0
        return weight
    base = _centred(key, shape) / math.sqrt(fan)
    i = np.arange(256)
    if name == "linear_QV.weight":
        base[:128] *= 2.0
        return base
    if name == "linear_ID_V.weight":  # silu(x) - silu(-x) == x
        weight = 0.15 * base
        if layer == 0:
            weight[i, i] += 1.0
            weight[i + 256, i] -= 1.0
        else:
            for offset in (0, 256):
                weight[i, i + offset] += 0.5
                weight[i + 256, i + offset] -= 0.5
        return weight
    if name in ("long_term_attn.projection.weight", "short_term_attn.projection.weight"):
        weight = 0.15 * base
        weight[:256] = 0.5 * base[:256]
        gain = 0.7 if name.startswith("short") else 0.3
        weight[i + 256, i + 512] += gain
        weight[i + 256, i + 768] -= gain
        return weight
    scale = {
        "linear_ID_U.weight": 0.3,
        "self_attn.projection.weight": 0.3,
        "self_attn.linear_QK.weight": 1.3,
        "short_term_attn.relative_emb_k.weight": 0.5,
    }
    return scale.get(name, 1.0) * base


def _decoder(key: str, shape: Shape, fan: float) -> Array:
    if key == "decoder.conv_out.weight":
        rows = _codes(CHANNELS, shape[1])[: shape[0], :, None, None]
        head: Array = (0.3 * rows + 0.02 * _centred(key, shape)) / math.sqrt(shape[1]) * 4.0
        return head
    base = _centred(key, shape) / math.sqrt(fan)
    if key.startswith("decoder.adapter"):
        return 0.12 * base
    weight = 0.15 * base
    i = np.arange(shape[0])
    if key == "decoder.conv_in.conv.weight":
        weight[i, i + shape[0], 0, 0] += 1.0
    elif shape[1] == 2 * shape[0]:
        weight[i, i, 1, 1] += 0.6
        weight[i, i + shape[0], 1, 1] += 0.6
    else:
        weight[i, i, 1, 1] += 1.0
    return weight


def _mca(key: str, shape: Shape, fan: float) -> Array:
    if "focal_layers" in key:
        return _noise(key, shape) / math.sqrt(fan)
    base = _centred(key, shape) / math.sqrt(fan)
    if key.endswith(("attn.q.weight", "attn.k.weight")):
        return base + np.eye(shape[0])
    if key.endswith("attn.proj.weight"):
        return 0.5 * base
    return 0.3 * base if key.endswith("mlp.fc2.weight") else base
