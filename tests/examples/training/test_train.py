"""A training is the same after an interruption, and gives weights that load."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mavos_deploy.models.checkpoint import load_network
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS

pytest.importorskip("skimage", reason="training scenes need the photographs of scikit-image")

from examples.training import clips, train
from examples.training.recipes import RECIPES, Recipe, Stage
from tests.examples.training.made_pictures import write_pictures

STAGES = {
    "tiny": (
        Stage(0.5, (65, 81), 2, 4, 1, 0.0, frozen_norm=False),
        Stage(1.0, (81, 97), 1, 5, 1, 1.0),
    ),
    "lite": (
        Stage(0.5, (65, 81), 2, 4, 1, 0.0, frozen_encoder=True),
        Stage(1.0, (81, 97), 1, 5, 1, 1.0),
    ),
    "lite-long": (Stage(1.0, (65, 81), 1, 5, 1, 0.5, lost=0.5, turns=(((81, 97), 2),)),),
    "lite-close": (Stage(1.0, (65, 81), 2, 5, 1, 0.5, meetings=1.0, turns=(((81, 97), 1),)),),
}


def short(name: str) -> Recipe:
    return replace(RECIPES[name], stages=STAGES[name], pool=1, reuse=2)


def arguments(folder: Path, iterations: int, pictures: Path | None) -> argparse.Namespace:
    folder.mkdir(exist_ok=True)
    return argparse.Namespace(
        output=folder,
        pictures=pictures,
        encoder=None,
        blocks=None,
        weights=None,
        first=0,
        iterations=iterations,
        seed=5,
        device="cpu",
        threads=1,
        workers=1,
        bfloat16=False,
        log_every=1,
        save_every=1,
    )


@pytest.mark.parametrize("name", RECIPES)
def test_an_interrupted_training_ends_with_the_same_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = short(name)
    pictures = write_pictures(tmp_path / "pictures.npz") if recipe.scenes < 1 else None
    train.train(recipe, arguments(tmp_path / "whole", 4, pictures))

    batches = clips.batches
    monkeypatch.setattr(
        train, "batches", lambda *a: (x for x, _ in zip(batches(*a), range(3), strict=False))
    )
    train.train(recipe, arguments(tmp_path / "parts", 4, pictures))
    monkeypatch.setattr(train, "batches", batches)
    train.train(recipe, arguments(tmp_path / "parts", 4, pictures))
    states = []
    for name in ("whole", "parts"):
        train.export(recipe, tmp_path / name, tmp_path / f"{name}.safetensors")
        states.append(load_file(tmp_path / f"{name}.safetensors"))
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    _, weights = load_network(VARIANTS[recipe.variant], tmp_path / "whole.safetensors")
    assert weights.trained

    with pytest.raises(SystemExit, match=f"of {recipe.name}, 4 iterations with seed 5"):
        train.train(recipe, arguments(tmp_path / "parts", 6, pictures))


def test_every_recipe_ends_with_its_last_stage() -> None:
    for recipe in RECIPES.values():
        untils = [stage.until for stage in recipe.stages]
        assert untils == sorted(untils)
        assert untils[-1] == 1
        assert recipe.stage_of(recipe.iterations - 1, recipe.iterations) == len(untils) - 1


def test_sizes_take_turns_with_their_batches() -> None:
    stage = Stage(1.0, (65, 81), 3, 5, 1, 0.5, turns=(((81, 97), 2), ((97, 113), 1)))
    shapes = [(stage.turn(number).size, stage.turn(number).batch) for number in range(4)]
    assert shapes == [((65, 81), 3), ((81, 97), 2), ((97, 113), 1), ((65, 81), 3)]


def test_the_encoder_learns_at_its_own_rate() -> None:
    network = Mavos(VARIANTS["lite"])
    recipe = RECIPES["lite"]
    groups = train.make_optimizer(network, recipe).param_groups
    encoder = {id(p) for p in network.encoder.parameters()}
    for group in groups:
        inside = {id(p) in encoder for p in group["params"]}
        assert len(inside) == 1
        factor = recipe.encoder_rate if inside.pop() else 1
        assert group["peak"] == pytest.approx(recipe.learning_rate * factor)
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}
    assert sum(len(g["params"]) for g in groups) == len(list(network.parameters()))
