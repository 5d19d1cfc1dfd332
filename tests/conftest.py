"""Bundles that several test files share; exporting one takes half a minute."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mavos_deploy.export.exporter import Plan, write_bundle
from mavos_deploy.models.checkpoint import load_network
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime import Segmenter
from tests import golden

torch.set_num_threads(2)
TINY_SIZE = (161, 289)


@pytest.fixture(scope="session")
def network() -> Callable[[str], Mavos]:
    """Networks by variant, with shipped weights or else synthetic ones."""
    made: dict[str, Mavos] = {}

    def get(variant: str) -> Mavos:
        if variant not in made:
            made[variant] = load_network(VARIANTS[variant], None)[0]
        return made[variant]

    return get


@pytest.fixture(scope="session")
def half_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle in float16 and in the form for GPUs, small and with a memory gap of 3."""
    folder: Path = tmp_path_factory.mktemp("half")
    plan = Plan(VARIANTS["mobilenet"], (97, 97), 3, "gpu", "fp16")
    write_bundle(plan, None, folder, lambda line: None)
    return folder


@pytest.fixture(scope="session")
def dynamic_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny` for frames of any size, with a memory gap of 2."""
    folder: Path = tmp_path_factory.mktemp("dynamic")
    plan = Plan(VARIANTS["tiny"], (97, 129), 2, "cpu", dynamic=True)
    write_bundle(plan, None, folder, lambda line: None)
    return folder


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Segmenter]:
    """Segmenters at the golden data's size and memory gap by variant."""
    made: dict[str, Segmenter] = {}

    def get(variant: str) -> Segmenter:
        if variant not in made:
            folder: Path = tmp_path_factory.mktemp(variant)
            size = golden.load("base", variant).size if variant in golden.VARIANTS else TINY_SIZE
            plan = Plan(VARIANTS[variant], size, golden.MEMORY_GAP, "cpu")
            write_bundle(plan, None, folder, lambda line: None)
            made[variant] = Segmenter.open(folder)
        return made[variant]

    return get
