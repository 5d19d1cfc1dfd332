"""The network's numbers and the contract's are the same, though neither may import the other."""

import ast
from pathlib import Path

import pytest

from mavos_deploy.export.exporter import dimensions_of
from mavos_deploy.export.graphs import GRAPHS
from mavos_deploy.models import variants
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime import contract
from mavos_deploy.runtime.contract import GraphName

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["IDENTITIES", "CHANNELS", "STRIDE"])
def test_constants_agree(name: str) -> None:
    assert getattr(variants, name) == getattr(contract, name)


def test_every_graph_of_the_contract_has_a_module() -> None:
    dimensions = dimensions_of(VARIANTS["mobilenet"])
    every = contract.graph_specs(dimensions, None, decoder_one=True, step_one=True)
    assert list(every) == list(GRAPHS) == list(GraphName)
    special = {GraphName.STEP_ONE, GraphName.DECODER_ONE}
    assert every.keys() - contract.graph_specs(dimensions, None).keys() == special


def test_names_of_graphs_stand_in_the_contract_alone() -> None:
    """Other code takes them from there; `models` imports no sibling and has modules so called."""
    rooms = ("runtime", "evaluation", "calibration", "export", "mavos_deploy", "benchmarks", "docs")
    names, found = set(GraphName), []
    for file in sorted(file for room in rooms for file in (ROOT / room).rglob("*.py")):
        if file == ROOT / "runtime" / "contract.py":
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found += [
            f"{file.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and node.value in names
        ]
    assert not found


def test_a_shape_takes_numbers_for_its_names() -> None:
    specs = contract.graph_specs(dimensions_of(VARIANTS["mobilenet"]), (33, 49))
    decoder = {spec.name: spec for spec in specs[GraphName.DECODER].inputs}
    at = contract.extents(2, (480, 854), channels=5)
    assert decoder["object_mask"].shape_at(**at) == (2, 5)
    assert decoder["row_weights"].shape_at(**at) == (480, 9)
    assert decoder["decoder_embedding"].bytes_at(**at) == 2 * 512 * 3 * 4 * 4


def test_the_decoder_for_one_group_takes_one_group_and_all_channels() -> None:
    specs = contract.graph_specs(dimensions_of(VARIANTS["mobilenet"]), (33, 49), decoder_one=True)
    decoder, one = specs[GraphName.DECODER], specs[GraphName.DECODER_ONE]
    at = contract.extents(1, (480, 854), channels=11)
    for side in ("inputs", "outputs"):
        shapes = [
            {tensor.name: tensor.shape_at(**at) for tensor in getattr(spec, side)}
            for spec in (decoder, one)
        ]
        assert shapes[0] == shapes[1]
    named = {extent for tensor in one.inputs for extent in tensor.shape if isinstance(extent, str)}
    assert named == {"output_height", "output_width"}


def test_a_shape_without_a_number_for_a_name_is_a_bug() -> None:
    specs = contract.graph_specs(dimensions_of(VARIANTS["mobilenet"]), None)
    with pytest.raises(KeyError, match="height"):
        specs[GraphName.ENCODER].inputs[0].shape_at(width=49)


def test_a_graph_takes_shapes_that_fit_its_fixed_extents() -> None:
    specs = contract.graph_specs(dimensions_of(VARIANTS["mobilenet"]), (97, 161))
    encoder, write = specs["encoder"], specs["memory_write"]
    assert encoder.takes({"frame": (1, 97, 161, 3)})
    assert not encoder.takes({"frame": (1, 97, 145, 3)})
    for groups in (1, 3):
        shapes = {tensor.name: tensor.shape_at(groups=groups) for tensor in write.inputs}
        assert write.takes(shapes)
