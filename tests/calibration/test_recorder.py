"""Recording of what graphs get: stages of the memory, bounds, repeatability, refusals."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.calibration.recorder import (
    CROWDS,
    RECORD,
    SAMPLES,
    STAGES,
    Recordings,
    open_recordings,
    record,
)
from mavos_deploy.errors import InputError
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.bundles.memory import MCA
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.sequences import VideoSequence


def _record(
    bundle: Path, clips: list[VideoSequence], folder: Path, seed: int = 0, most: int = 60
) -> Recordings:
    opened = Bundle.open(bundle)
    backend = OnnxRuntimeCpu(opened, 1)
    return record(opened, backend, clips, folder, seed=seed, most_frames=most)


@pytest.fixture(scope="session")
def sequences(clips: Path) -> list[VideoSequence]:
    return list(open_dataset(clips).sequences)


@pytest.fixture(scope="session")
def recorded(
    tiny_bundle: Path, sequences: list[VideoSequence], tmp_path_factory: pytest.TempPathFactory
) -> Recordings:
    folder: Path = tmp_path_factory.mktemp("recorded") / "recordings"
    return _record(tiny_bundle, sequences, folder)


def test_every_stage_and_crowd_is_recorded_and_none_beyond_its_bound(recorded: Recordings) -> None:
    assert recorded.missing(MCA) == []
    kept = Counter(name.rpartition(".safetensors")[0].rpartition(".")[0] for name in recorded.files)
    assert kept == {
        key.replace("/", "."): min(SAMPLES, count) for key, count in recorded.seen.items()
    }
    assert max(recorded.seen.values()) > SAMPLES
    steps = {key.split("/")[1] for key in recorded.seen if key.startswith("elstt_step")}
    assert steps == STAGES.keys()


def test_samples_are_the_graphs_inputs(recorded: Recordings, tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    backend = OnnxRuntimeCpu(bundle, 1)
    for graph, spec in bundle.specs.items():
        sample = next(recorded.samples(graph))
        assert sample.keys() == {tensor.name for tensor in spec.inputs}
        backend.run(graph, sample)


def test_the_memory_of_late_stages_is_what_was_written_to_it(recorded: Recordings) -> None:
    def first(stage: str) -> dict[str, np.ndarray]:
        files = {n: s for n, s in recorded.files.items() if f".{stage}." in n}
        return next(replace(recorded, files=files).samples("elstt_step"))

    copied, written = first("copied"), first("written")
    assert np.array_equal(copied["dynamic_key_0"], copied["reference_key_0"])
    assert not np.array_equal(written["dynamic_key_0"], written["reference_key_0"])


def test_the_same_seed_keeps_the_same_samples(
    recorded: Recordings, tiny_bundle: Path, sequences: list[VideoSequence], tmp_path: Path
) -> None:
    again = _record(tiny_bundle, sequences, tmp_path / "again")
    assert again.files == recorded.files
    assert again.digest == recorded.digest
    other = _record(tiny_bundle, sequences, tmp_path / "other", seed=1)
    assert other.files.keys() == recorded.files.keys()
    assert other.digest != recorded.digest


def test_recordings_open_again(recorded: Recordings, tiny_bundle: Path) -> None:
    assert open_recordings(recorded.path, Bundle.open(tiny_bundle)) == recorded


def test_stages_that_the_clips_lack_are_named(
    tiny_bundle: Path, sequences: list[VideoSequence], tmp_path: Path
) -> None:
    short = _record(tiny_bundle, sequences[:1], tmp_path / "short", most=7)
    missing = [STAGES["updated-often"], STAGES["object-added"], CROWDS["many"]]
    assert short.missing(MCA) == missing


def test_a_clip_too_short_to_read_what_mca_wrote_is_refused(
    tiny_bundle: Path, sequences: list[VideoSequence], tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"at most 5 frames .* number 6 at a memory gap of 2; let more"
    ):
        _record(tiny_bundle, sequences, tmp_path / "short", most=5)
    assert list(tmp_path.iterdir()) == []
    _record(tiny_bundle, sequences[:1], tmp_path / "enough", most=6)


def test_no_clips_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clips"):
        _record(tiny_bundle, [], tmp_path / "none")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        pytest.param("noise", "noise: neighbouring pixels correlate by", id="noise"),
        pytest.param("blank", "every picture is of one colour", id="blank"),
        pytest.param("wide", "aspect", id="aspect-ratio"),
        pytest.param("small", "96x96", id="annotation-of-another-size"),
    ],
)
def test_pictures_that_cannot_be_right_are_refused(
    kind: str, said: str, tiny_bundle: Path, clips: Path, tmp_path: Path
) -> None:
    own: Path = copytree(clips, tmp_path / "own")
    draws = np.random.default_rng(0)
    for file in sorted((own / "JPEGImages/480p/clip-0").iterdir()):
        shape = {"wide": (96, 192, 3), "small": (90, 90, 3)}.get(kind, (96, 96, 3))
        picture = draws.integers(0, 256, shape, np.uint8)
        Image.fromarray(np.zeros_like(picture) if kind == "blank" else picture).save(file)
    if kind == "wide":
        for file in sorted((own / "Annotations/480p/clip-0").iterdir()):
            with Image.open(file) as mask:
                wide = mask.resize((192, 96), Image.Resampling.NEAREST)
            wide.save(file)
    with pytest.raises(InputError, match=said):
        _record(tiny_bundle, list(open_dataset(own).sequences), tmp_path / "rec")
    assert not (tmp_path / "rec").exists()


def test_recordings_of_another_bundle_are_refused(
    recorded: Recordings, tiny_bundle: Path, tmp_path: Path
) -> None:
    own: Path = copytree(recorded.path, tmp_path / "own")
    record_file = own / RECORD
    data = json.loads(record_file.read_text())
    data["graphs"]["decoder"] = "0" * 64
    record_file.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"recordings of another bundle \(its decoder differ\)"):
        open_recordings(own, Bundle.open(tiny_bundle))
    record_file.write_text("{}")
    with pytest.raises(InputError, match=r"recordings\.json is damaged"):
        open_recordings(own, Bundle.open(tiny_bundle))
    record_file.unlink()
    with pytest.raises(InputError, match=r"holds no recordings\.json"):
        open_recordings(own, Bundle.open(tiny_bundle))


def test_an_altered_sample_is_refused(recorded: Recordings, tmp_path: Path) -> None:
    own: Path = copytree(recorded.path, tmp_path / "own")
    name = next(iter(recorded.files))
    (own / name).write_bytes(b"other")
    with pytest.raises(InputError, match="not what was recorded"):
        list(replace(recorded, path=own).samples(name.partition(".")[0]))
