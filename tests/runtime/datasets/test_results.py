"""Records in a results folder: what is written, and what earlier releases wrote."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.bundles.manifest import Manifest
from mavos_deploy.runtime.datasets.prediction import Predicted, digest
from mavos_deploy.runtime.datasets.results import (
    RECORD,
    Results,
    Settings,
    check_one_run,
    content_of,
)
from mavos_deploy.runtime.datasets.sequences import Problem, VideoSequence

SETTINGS = Settings("ab12", "tiny", True, "onnxruntime-cpu", "fp32", False)
SEQUENCE = VideoSequence("one", {}, {}, (), None, True)
PREDICTED = Predicted(
    digest(SEQUENCE),
    ("00000", "caf\udce9"),
    ("00007",),
    (3,),
    (Problem("one", "00007", "frame left out", "a picture"), Problem(None, None, "x", "y")),
)
# As releases with a decoder of their own wrote it.
WRITTEN = f"""{{
  "format_version": 2,
  "bundle": "ab12",
  "variant": "tiny",
  "trained": true,
  "backend": "onnxruntime-cpu",
  "arithmetic": "fp32",
  "stretch": false,
  "inputs": "{PREDICTED.inputs}",
  "frames": [
    "00000",
    "caf\\udce9"
  ],
  "skipped": [
    "00007"
  ],
  "lost": [
    3
  ],
  "problems": [
    {{
      "sequence": "one",
      "frame": "00007",
      "found": "frame left out",
      "expected": "a picture"
    }},
    {{
      "sequence": null,
      "frame": null,
      "found": "x",
      "expected": "y"
    }}
  ]
}}
"""


def _fill(folder: Path, settings: Settings, name: str = "one") -> None:
    def segment(masks: Path) -> Predicted:
        for stem in PREDICTED.frames:
            (masks / f"{stem}.png").touch()
        return PREDICTED

    results = Results(folder, overwrite=False)
    results.bind(settings)
    assert results.fill(name, segment) is PREDICTED


def test_a_record_is_written_as_it_was_with_what_came_later(tmp_path: Path) -> None:
    _fill(tmp_path, SETTINGS)
    later = ',\n  "notes": [],\n  "confidence": {}\n}\n'
    assert (tmp_path / "one" / RECORD).read_text() == WRITTEN.removesuffix("\n}\n") + later


def test_a_record_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    _fill(tmp_path, SETTINGS)
    (tmp_path / "one" / RECORD).write_text(WRITTEN)
    results = Results(tmp_path, overwrite=False)
    results.bind(SETTINGS)
    assert results.finished(SEQUENCE) == PREDICTED
    results.bind(replace(SETTINGS, stretch=True))
    assert results.finished(SEQUENCE) is None
    (tmp_path / "one/00000.png").unlink()
    results.bind(SETTINGS)
    assert results.finished(SEQUENCE) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bundle": "cd34"}, "holds the results of another bundle (one); choose another folder"),
        ({"arithmetic": "bf16"}, "holds the results of another backend, onnxruntime-cpu in fp32"),
    ],
)
def test_results_of_other_settings_are_kept(
    tmp_path: Path, change: dict[str, str], said: str
) -> None:
    _fill(tmp_path, SETTINGS)
    results = Results(tmp_path, overwrite=False)
    with pytest.raises(InputError) as raised:
        results.bind(replace(SETTINGS, **change))  # type: ignore[arg-type]
    assert said in str(raised.value)


def test_what_a_run_with_other_settings_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    for overwrite in (False, True):
        folder = tmp_path / str(overwrite)
        results = Results(folder, overwrite)
        results.bind(SETTINGS)
        _fill(folder, replace(SETTINGS, bundle="cd34"))
        with pytest.raises(InputError, match="filled meanwhile with the results of another bundle"):
            results.fill("one", lambda masks: PREDICTED)
        assert '"cd34"' in (folder / "one" / RECORD).read_text()
        assert [path.name for path in folder.iterdir()] == ["one"]


def test_sequences_of_other_settings_are_not_scored_together(tmp_path: Path) -> None:
    for name, stretch in (("one", False), ("two", True)):
        _fill(tmp_path, replace(SETTINGS, stretch=stretch), name)
    check_one_run(tmp_path, ["one", "two", "three"])
    record = tmp_path / "two" / RECORD
    record.write_text(record.read_text().replace("onnxruntime-cpu", "openvino-cpu"))
    with pytest.raises(InputError, match="two holds the results of another backend, openvino-cpu"):
        check_one_run(tmp_path, ["one", "two", "three"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 3}, "was written by another release of mavos-deploy (it has format"),
        ({"frames": [1]}, "is damaged (`frames[0]`: expected `str`, got `int` 1); choose another"),
        ({"trained": None}, "is damaged (`trained`: expected `bool`, got `null`)"),
        ({"problems": [{"found": "x"}]}, "is damaged (`sequence` is missing in `problems[0]`)"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / RECORD).write_text(json.dumps({**json.loads(WRITTEN), **change}))
    with pytest.raises(InputError) as raised:
        Results(tmp_path, overwrite=True)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("quantised", "089c87a0291b85fd1998c27de17188609b013b53a236a0776fe2ffed380a27de"),
        ("any_size", "69dcf3c5771b7e3900afc3b9d4cb2d82c6efe316fa01a4c6b7901629ebcc736c"),
    ],
)
def test_a_bundle_is_known_by_the_digest_that_earlier_releases_gave_it(
    name: str, digest: str
) -> None:
    text = Path(f"tests/data/manifests/{name}.json").read_text()
    assert content_of(Manifest.from_json(text, name)) == digest
