"""The network's numbers and the contract's are the same, though neither may import the other."""

import pytest

from mavos_deploy.export.exporter import Plan, dimensions_of
from mavos_deploy.export.graphs import GRAPHS
from mavos_deploy.models import variants
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime import contract


@pytest.mark.parametrize("name", ["BLOCKS", "IDENTITIES", "CHANNELS", "STRIDE"])
def test_constants_agree(name: str) -> None:
    assert getattr(variants, name) == getattr(contract, name)


def test_every_graph_of_the_contract_has_a_module() -> None:
    specs = contract.graph_specs(dimensions_of(VARIANTS["mobilenet"]), None)
    assert list(specs) == list(GRAPHS)


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_tiles_cover_the_grid_evenly(target: str) -> None:
    tile = Plan(VARIANTS["mobilenet"], (481, 849), 10, target).tile
    assert tile == ((8, 18) if target == "cpu" else None)
