"""The exported attention in tiles and in turns of heads is PyTorch's."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from mavos_deploy.export.attention import TRANSLATIONS
from mavos_deploy.models.mca import HEADS, attend_heads, attend_in_turns
from mavos_deploy.models.propagation import attend_tiles

LIMITS = {torch.float32: 1e-6, torch.float16: 2e-3}
KEYS, VALUES = 6, 10


def maps(dtype: torch.dtype, *channels: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
    """Random maps of two groups."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, count, *size, generator=generator).to(dtype) for count in channels)


class Tiles(nn.Module):
    """The operator in a graph.

    Args:
        tile: Height and width of a tile.
    """

    def __init__(self, tile: tuple[int, int]) -> None:
        super().__init__()
        self.tile = tile

    def forward(self, query: Tensor, relative: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend."""
        found: Tensor = attend_tiles(query, relative, key, value, *self.tile)
        return found


class InTurns(nn.Module):
    """The operator in a graph."""

    def forward(self, query: Tensor, key: Tensor, modulator: Tensor) -> Tensor:
        """Attend."""
        found: Tensor = attend_in_turns(query, key, modulator)
        return found


def exported(
    graph: nn.Module, arguments: tuple[Tensor, ...], path: Path
) -> onnxruntime.InferenceSession:
    """A session of a graph for any number of groups."""
    groups = torch.export.Dim("groups")
    torch.onnx.export(
        graph.eval(),
        arguments,
        path,
        dynamo=True,
        opset_version=18,
        dynamic_shapes=tuple({0: groups} for _ in arguments),
        custom_translation_table=TRANSLATIONS,
        optimize=False,
        external_data=False,
        verbose=False,
    )
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.exports
@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize(
    ("size", "tile"),
    [((11, 23), (4, 5)), ((31, 54), (8, 18)), ((16, 28), (8, 14)), ((5, 9), (8, 18))],
    ids=str,
)
def test_tiles(
    tmp_path: Path, size: tuple[int, int], tile: tuple[int, int], dtype: torch.dtype
) -> None:
    given = maps(dtype, KEYS, 225, KEYS, VALUES, size=size)
    session = exported(Tiles(tile), given, tmp_path / "tiles.onnx")
    compare(session, given, attend_tiles(*given, *tile))
    one = tuple(x[:1] for x in given)
    compare(session, one, attend_tiles(*one, *tile))


@pytest.mark.exports
@pytest.mark.parametrize("dtype", LIMITS, ids=str)
def test_heads(tmp_path: Path, dtype: torch.dtype) -> None:
    given = maps(dtype, *3 * [4 * HEADS], size=(7, 12))
    session = exported(InTurns(), given, tmp_path / "turns.onnx")
    compare(session, given, attend_heads(*given))
    one = tuple(x[:1] for x in given)
    compare(session, one, attend_heads(*one))


def compare(
    session: onnxruntime.InferenceSession, given: tuple[Tensor, ...], expected: Tensor
) -> None:
    """Run a session, and compare what it makes."""
    names = [value.name for value in session.get_inputs()]
    inputs = {name: x.numpy() for name, x in zip(names, given, strict=True)}
    (found,) = session.run(None, inputs)
    assert found.dtype == expected.numpy().dtype
    assert found.shape == tuple(expected.shape)
    error = np.abs(found.astype(np.float32) - expected.float().numpy()).max()
    assert error <= LIMITS[expected.dtype] * float(expected.abs().max())


def test_the_operators_keep_to_the_rules_of_pytorch() -> None:
    given = maps(torch.float32, KEYS, 225, KEYS, VALUES, size=(5, 9))
    torch.library.opcheck(attend_tiles, (*given, 3, 4))
    torch.library.opcheck(attend_in_turns, maps(torch.float32, *3 * [4 * HEADS], size=(3, 5)))
