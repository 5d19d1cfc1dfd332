"""Starts of a training: published encoder weights, and the blocks of another variant."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from examples.training import start
from mavos_deploy.models.checkpoint import load_network
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS


def published(network: Mavos, scale: float) -> dict[str, torch.Tensor]:
    """Weights with the published names whose shapes fit the encoder."""
    own = network.encoder.state_dict()
    given: dict[str, torch.Tensor] = {}

    def norm(theirs: str, name: str) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            given[f"{theirs}.{part}"] = own[f"{name}.{part}"] * 0 + scale

    given["_conv_stem.weight"] = own["features.0.0.weight"] * 0 + scale
    norm("_bn0", "features.0.1")
    for unit in range(11):
        name, theirs = f"features.{unit + 1}.conv", f"_blocks.{unit}"
        convolutions = ["_depthwise_conv"] if unit == 0 else ["_expand_conv", "_depthwise_conv"]
        for part, convolution in enumerate(convolutions):
            given[f"{theirs}.{convolution}.weight"] = own[f"{name}.{part}.0.weight"] * 0 + scale
            number = part if unit else 1
            norm(f"{theirs}._bn{number}", f"{name}.{part}.1")
        last = len(convolutions)
        given[f"{theirs}._project_conv.weight"] = own[f"{name}.{last}.weight"] * 0 + scale
        norm(f"{theirs}._bn2", f"{name}.{last + 1}")
    return given


def test_published_weights_reach_every_layer_of_the_encoder(tmp_path: Path) -> None:
    network = Mavos(VARIANTS["lite"])
    torch.save(published(network, 3.0), tmp_path / "lite0.pth")
    start.load_imagenet(network, tmp_path / "lite0.pth")
    for key, value in network.encoder.state_dict().items():
        # The epsilon of batch normalisation differs, which the variance makes up for.
        expected = 3.0 + (1e-3 - 1e-5 if key.endswith("running_var") else 0)
        assert value.flatten()[0].item() == pytest.approx(expected, abs=1e-6), key


def test_blocks_behind_their_own_encoder_see_what_they_saw() -> None:
    torch.manual_seed(0)
    tiny, _ = load_network(VARIANTS["tiny"], None)
    network = Mavos(VARIANTS["tiny"]).eval()
    network.encoder.load_state_dict(tiny.encoder.state_dict())
    frames = np.random.default_rng(0).integers(0, 256, (6, 97, 129, 3), np.uint8)
    start.take_blocks(network, "tiny", frames)
    for key, value in tiny.state_dict().items():
        if key.startswith(("LSTT.", "decoder.conv")):
            assert torch.equal(network.state_dict()[key], value), key
    pixels = torch.from_numpy(frames[0])[None].float()
    with torch.no_grad():
        wanted = tiny.encode(pixels).embedding
        found = network.encode(pixels).embedding
    # Fitted anew by least squares, the adapter gives what the trained one gives.
    assert (found - wanted).abs().max() < 0.05 * wanted.std()


def test_weights_that_lack_some_are_refused(tmp_path: Path) -> None:
    network = Mavos(VARIANTS["lite"])
    state = {k: v.contiguous() for k, v in network.state_dict().items() if "decoder" not in k}
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(SystemExit, match=r"lacks.*decoder"):
        start.load_weights(network, tmp_path / "part.safetensors")
