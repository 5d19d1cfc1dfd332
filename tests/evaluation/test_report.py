"""The page of an evaluation: J beside confidence, and the worst masks."""

import re
from html import escape
from pathlib import Path

from PIL import Image

from mavos_deploy.evaluation.evaluate import evaluate
from mavos_deploy.evaluation.report import write_report
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.prediction import Predicted
from tests import made_sequences
from tests.made_sequences import write_davis


def test_j_stands_beside_confidence_and_the_worst_masks_are_shown(tmp_path: Path) -> None:
    made = made_sequences.SEQUENCES["three"]()
    data, results = write_davis(tmp_path, {"three": made})
    pictures = data / "JPEGImages/480p/three"
    pictures.mkdir(parents=True, exist_ok=True)
    masks = sorted((results / "three").glob("*.png"))
    for mask in masks:
        with Image.open(mask) as image:
            Image.new("RGB", image.size, (90, 120, 90)).save(pictures / f"{mask.stem}.jpg")
    dataset = open_dataset(data)
    evaluation = evaluate(dataset, results)
    stems = tuple(mask.stem for mask in masks)
    objects = [item.object_id for item in evaluation.sequences[0].objects]
    told = {str(own): (1.0, *[0.25] * (len(stems) - 1)) for own in objects}
    predicted = {"three": Predicted("", stems, (), (), (), confidence=told)}
    page = tmp_path / "page.html"
    write_report(page, evaluation, results, predicted, {"bundle": "b"})
    text = page.read_text(encoding="utf-8")
    assert text.count('aria-label="confidence of object') == 2 * len(objects)
    for item in evaluation.sequences[0].objects:
        assert f"J {item.j.mean:.3f}" in text
        assert f"F {item.f.mean:.3f}" in text
    shown = [float(j) for j in re.findall(r"J (\d\.\d\d), confidence 0.25", text)]
    assert shown == sorted(shown)
    worst = min(value for item in evaluation.sequences[0].objects for value in item.region)
    assert shown[0] == round(float(worst), 2)
    assert "<th>bundle</th><td>b</td>" in text


def test_masks_made_elsewhere_have_j_alone(tmp_path: Path) -> None:
    data, results = write_davis(tmp_path, {"three": made_sequences.SEQUENCES["three"]()})
    evaluation = evaluate(open_dataset(data), results)
    write_report(tmp_path / "page.html", evaluation, results, None, {})
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    strips = text.count('aria-label="confidence of object')
    assert strips == len(evaluation.sequences[0].objects)


def test_a_page_names_its_frames_and_what_was_left_out(tmp_path: Path) -> None:
    data, results = write_davis(tmp_path, {"three": made_sequences.SEQUENCES["three"]()})
    masks = sorted((results / "three").glob("*.png"))
    masks[-2].unlink()
    evaluation = evaluate(open_dataset(data), results)
    write_report(tmp_path / "page.html", evaluation, results, None, {})
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    frames = sorted({stem for item in evaluation.sequences[0].objects for stem in item.frames})
    assert f"frames {frames[0]} to {frames[-1]}<" in text
    (problem,) = evaluation.problems
    assert f"<th>left out</th><td>{escape(str(problem))}</td>" in text
