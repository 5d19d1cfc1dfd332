"""The HTML page of an evaluation: confidence over time with J and F beside it."""

import base64
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.evaluate import Evaluation, ObjectResult
from mavos_deploy.runtime.datasets.prediction import Predicted
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.media.overlay import draw_objects
from mavos_deploy.runtime.media.pictures import read_rgb
from mavos_deploy.runtime.review.page import Section, Strip, Thumbnail, page
from mavos_deploy.runtime.review.report import QUALITY, WIDTH, WORST
from mavos_deploy.runtime.system.files import replacing

NAMED = 30  # problems that a page names before it only counts


class _Bad(NamedTuple):
    """A mask with a low J."""

    region: float
    sequence: VideoSequence
    stem: str
    number: int
    confidence: float | None


def write_report(
    path: Path,
    evaluation: Evaluation,
    masks: Path,
    predicted: Mapping[str, Predicted] | None,
    facts: Mapping[str, str],
) -> None:
    """Write the page.

    Args:
        path: The file to create or replace.
        evaluation: Evaluation with at least one scored frame.
        masks: Folder of the masks.
        predicted: Result of `segment_sequence` by sequence name, with the confidence of each mask;
            None for masks made elsewhere.
        facts: Everything that the masks were made with, by name.

    Raises:
        InputError: The file can't be written.
    """
    colours = palette_colors(None)
    sequences = {sequence.name: sequence for sequence in evaluation.dataset.sequences}
    sections, bad = [], []
    for result in evaluation.sequences:
        told = predicted.get(result.name) if predicted else None
        stems = _stems(result.objects, told)
        places = {stem: place for place, stem in enumerate(stems)}
        strips = []
        for item in result.objects:
            colour = "#" + "".join(f"{int(value):02x}" for value in colours[item.object_id])
            confidence = _confidence(item.object_id, told, places)
            regions: list[float | None] = [None] * len(stems)
            for stem, value in zip(item.frames, item.region.tolist(), strict=True):
                regions[places[stem]] = value
                sequence = sequences[result.name]
                known = confidence[places[stem]]
                bad.append(_Bad(value, sequence, stem, item.object_id, known))
            means = {}
            if item.frames:
                means = {"J": f"{item.j.mean:.3f}", "F": f"{item.f.mean:.3f}"}
            if told is not None and told.confidence:
                strips.append(Strip(item.object_id, "confidence", colour, confidence))
            strips.append(Strip(item.object_id, "J", colour, regions, means))
        sections.append(Section(result.name, range(len(stems)), strips, None, [], stems))
    worst: list[Thumbnail] = []
    for one in sorted(bad, key=lambda found: found.region)[: 5 * WORST]:
        if len(worst) < WORST and (drawn := _drawn(one, masks)):
            worst.append(drawn)
    sections.insert(0, Section("The worst masks by J", [], [], None, worst))
    if found := evaluation.problems:
        more = [f"and {len(found) - NAMED} more"] if found[NAMED:] else []
        facts = {**facts, "left out": "; ".join([*map(str, found[:NAMED]), *more])}
    title = f"{evaluation.dataset.path.name}, {evaluation.dataset.split}"
    with replacing(path) as temporary:
        temporary.write_text(page(title, facts, sections), "utf-8", "backslashreplace")


def _stems(objects: tuple[ObjectResult, ...], told: Predicted | None) -> list[str]:
    """Stems of all frames that have a mask or a score, in order."""
    scored = sorted({stem for item in objects for stem in item.frames})
    return scored if told is None else list(dict.fromkeys([*told.frames, *scored]))


def _confidence(
    number: int, told: Predicted | None, places: Mapping[str, int]
) -> list[float | None]:
    found: list[float | None] = [None] * len(places)
    if told is not None and (values := told.confidence.get(str(number))):
        for stem, value in zip(told.frames, values, strict=True):
            found[places[stem]] = value
    return found


def _drawn(one: _Bad, masks: Path) -> Thumbnail | None:
    """A thumbnail of a mask; None where its picture or its file can't be read."""
    name = one.sequence.name
    picture = one.sequence.images.get(one.stem)
    if picture is None:
        return None
    try:
        rgb = read_rgb(picture)
        labels = read_mask(masks / name / f"{one.stem}.png").labels
    except InputError:
        return None
    if labels.shape != rgb.shape[:2]:
        return None
    image = Image.fromarray(draw_objects(rgb, labels, palette_colors(None).astype(np.uint16)))
    image.thumbnail((WIDTH, WIDTH))
    file = BytesIO()
    image.save(file, format="JPEG", quality=QUALITY)
    said = "" if one.confidence is None else f", confidence {one.confidence:.2f}"
    text = f"{name}, object {one.number}: J {one.region:.2f}{said}"
    return Thumbnail(0, one.stem, text, base64.b64encode(file.getvalue()).decode())
