"""The propagation over tokens equals the one over maps, and leaves the network as it is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.tokens import TokenPropagation

GetNetwork = Callable[[str], Mavos]
Memory = tuple[Tensor, Tensor]

SMALL, WIDE = (3, 5), (9, 20)  # within the window of the short-term attention, and beyond it


def _memories(
    network: Mavos, grid: tuple[int, int], groups: int, draw: Callable[..., Tensor]
) -> list[Memory]:
    variant = network.variant
    return [
        (draw(groups, variant.key, *grid), draw(groups, 2 * variant.value, *grid))
        for _ in range(variant.blocks)
    ]


def _joined(slots: list[list[Memory]]) -> list[Memory]:
    """The long-term memory of each block from that of each slot."""
    return [
        (
            torch.cat([slot[block][0].flatten(2) for slot in slots], 2),
            torch.cat([slot[block][1].flatten(2) for slot in slots], 2),
        )
        for block in range(len(slots[0]))
    ]


@pytest.mark.parametrize("grid", [SMALL, WIDE], ids=["small", "wide"])
@pytest.mark.parametrize(
    ("variant", "groups", "order", "empty"),
    [
        pytest.param("mobilenet", 1, (0, 1), 0, id="one-group"),
        pytest.param("mobilenet", 3, (0, 1), 0, id="three-groups"),
        pytest.param("mobilenet", 2, (1, 0), 0, id="slots-swapped"),
        pytest.param("mobilenet", 1, (0, 0), 0, id="first-frame-reference-twice"),
        pytest.param("tiny", 2, (0, 1), 0, id="tiny"),
        pytest.param("deaot_t", 1, (0,), 0, id="one-block-one-slot"),
        pytest.param("deaot_s", 2, (0, 1, 2), 2, id="slots-still-empty"),
    ],
)
def test_tokens_give_what_maps_give(
    variant: str,
    groups: int,
    order: tuple[int, ...],
    empty: int,
    grid: tuple[int, int],
    network: GetNetwork,
) -> None:
    chosen = network(variant)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    embedding = draw(groups, chosen.variant.embedding, *grid)
    short = _memories(chosen, grid, groups, draw)
    slots = [_memories(chosen, grid, groups, draw) for _ in range(max(order) + 1)]
    long = _joined([slots[place] for place in order])
    bias = None
    if empty:
        held = (len(order) - empty) * grid[0] * grid[1]
        bias = torch.zeros(groups, 1, len(order) * grid[0] * grid[1])
        bias[..., held:] = -1e4
    with torch.inference_mode():
        want, projections = chosen.propagate(embedding, long, short, bias)
        got, keys, values, queries = TokenPropagation(chosen)(embedding, long, short, bias)
    _equal(got, want)
    for block, projection in enumerate(projections):
        _equal(keys[block], projection.key)
        _equal(values[block], projection.value)
    expected = [p.identity_query for p in projections if p.identity_query is not None]
    assert len(queries) == len(expected) == len(projections) - 1
    for query, one in zip(queries, expected, strict=True):
        _equal(query, one)


def _equal(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape
    assert float((got - want).abs().max() / (want.max() - want.min())) <= 1e-5


def test_norms_of_branches_far_from_zero_keep_their_digits(network: GetNetwork) -> None:
    """The mean is a hundred times the deviation, where a difference of squares would fail."""
    chosen = network("tiny")
    width, grid = chosen.variant.embedding, (6, 7)
    propagation = TokenPropagation(chosen)
    propagation.blocks = torch.nn.ModuleList()  # leaves the norm alone
    x = 100 + torch.randn(2, 2 * width, *grid, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        want = chosen.LSTT.decoder_norms[0](x)
        got, *_ = propagation(x, [], [])
    assert float((got - want).abs().max() / (want.max() - want.min())) <= 1e-4


def test_the_network_and_its_weights_stay_as_they_are(network: GetNetwork) -> None:
    chosen = network("mobilenet")
    before = {key: value.clone() for key, value in chosen.state_dict().items()}
    TokenPropagation(chosen)
    after = chosen.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
