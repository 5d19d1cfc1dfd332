"""The exported attention in tiles and in turns of heads is PyTorch's."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from mavos_deploy.export.attention import PLACES, TRANSLATIONS, _window_places
from mavos_deploy.models.mca import HEADS, attend_heads, attend_in_turns
from mavos_deploy.models.propagation import (
    OUTSIDE,
    attend_tiles,
    extents,
    seen_window,
    spread_relative_bias,
    tiles_of,
)

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


@pytest.mark.parametrize("tile", [(4, 5), (8, 18), (11, 23)])
def test_places_of_keys_are_those_that_biases_are_spread_to(tile: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    for own, seen in (pair for band in tiles_of((11, 23), tile) for pair in band):
        relative = torch.randn(1, PLACES, *extents(own), generator=generator)
        spread = spread_relative_bias(relative)[(..., *seen_window(own, seen))]
        of_query = torch.nn.functional.pad(relative.flatten(2).mT, (0, 1), value=OUTSIDE)
        places = torch.from_numpy(_window_places(own, seen)).to(torch.int64)
        gathered = of_query.gather(2, places[None])
        torch.testing.assert_close(gathered, spread.flatten(3).flatten(1, 2), rtol=0, atol=0)
