"""Bundles that several test files share; exporting one takes half a minute."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from mavos_deploy.calibration.observe import observe_values
from mavos_deploy.calibration.quantise import FloatGraph
from mavos_deploy.calibration.quantise_attention import CHANGED
from mavos_deploy.calibration.quantised_bundle import write_quantised
from mavos_deploy.calibration.recorder import record
from mavos_deploy.evaluation.scenes.clip import synthetic_clip
from mavos_deploy.export.exporter import Plan, write_bundle
from mavos_deploy.models.checkpoint import load_network
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime import Bundle, Segmenter
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.quantisation import GraphKind, NumberType, Quantisation, RangeMethod
from mavos_deploy.runtime.system.processors import usable_processors
from tests import golden
from tests.made_sequences import write_masks

torch.set_num_threads(
    max(1, usable_processors() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
)
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
    plan = Plan(VARIANTS["tiny"], (97, 129), 2, "gpu", dynamic=True, tiled=((113, 145),))
    write_bundle(plan, None, folder, lambda line: None)
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained bundle in float32, small and with a memory gap of 2."""
    folder: Path = tmp_path_factory.mktemp("tiny")
    write_bundle(Plan(VARIANTS["tiny"], (97, 97), 2, "cpu"), None, folder, lambda line: None)
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three clips that pass every stage of the memory; the last has five objects."""
    root: Path = tmp_path_factory.mktemp("clips") / "DAVIS"
    for seed, objects in enumerate((2, 1, 5)):
        clip = synthetic_clip(96, 96, 12, objects=objects, late_objects=1, late_frame=10, seed=seed)
        stems = [f"{index:05d}" for index in range(len(clip.frames))]
        write_masks(root / "Annotations/480p" / f"clip-{seed}", stems, clip.labels)
        folder = root / "JPEGImages/480p" / f"clip-{seed}"
        folder.mkdir(parents=True)
        for stem, frame in zip(stems, clip.frames, strict=True):
            Image.fromarray(frame).save(folder / f"{stem}.png")
    lists = root / "ImageSets/2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("clip-0\nclip-1\nclip-2\n")
    return root


@pytest.fixture(scope="session")
def attention_bundle(
    tiny_bundle: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """`tiny_bundle` with all of its attention in int8, and nothing else."""
    folder: Path = tmp_path_factory.mktemp("attention")
    bundle = Bundle.open(tiny_bundle)
    recordings = record(
        bundle,
        OnnxRuntimeCpu(bundle, 1),
        list(open_dataset(clips).sequences),
        tmp_path_factory.mktemp("kept") / "recordings",
        seed=0,
        most_frames=12,
    )
    graphs = {name: FloatGraph(name, bundle.graph_path(name)) for name in CHANGED["memory"]}
    entry = Quantisation(
        kind=GraphKind.CPU,
        type=NumberType.INT8,
        method=RangeMethod.MINMAX,
        groups={},
        ranges={},
        sources={name: recordings.graphs[name] for name in graphs},
        data=recordings.digest,
        seed=0,
        attention=observe_values(graphs, recordings, 1),
    )
    write_quantised(bundle, entry, folder)
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
