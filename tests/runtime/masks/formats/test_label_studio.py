"""Label Studio's brush strokes, decoded by the rules of its own viewer."""

import json
from pathlib import Path

import numpy as np
from hypothesis import given, settings

from mavos_deploy.runtime.masks.formats.label_studio import LabelStudioWriter, encode_brush
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.objects import Labels
from tests.made_clips import synthetic_clip
from tests.made_labels import label_maps


def _decode(packed: list[int]) -> list[int]:
    """Words of a packed stroke, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in packed)
    at = 0

    def read(width: int) -> int:
        nonlocal at
        at += width
        return int(bits[at - width : at], 2)

    count, word = read(32), read(5) + 1
    widths = [read(4) + 1 for _ in range(4)]
    words: list[int] = []
    while len(words) < count:
        repeated = read(1)
        length = 1 + read(widths[read(2)])
        words += [read(word)] * length if repeated else [read(word) for _ in range(length)]
    return words


@settings(max_examples=60, deadline=None)
@given(label_maps())
def test_any_mask_is_packed_so_that_it_can_be_unpacked(labels: Labels) -> None:
    mask = labels > 0
    words = np.array(_decode(encode_brush(mask)), np.uint8).reshape(*mask.shape, 4)
    assert np.array_equal(words, np.repeat(mask[..., None] * np.uint8(255), 4, axis=2))


def test_runs_longer_than_a_length_can_be_are_split() -> None:
    mask = np.zeros((300, 400), np.bool_)
    mask[100:200] = True
    words = np.array(_decode(encode_brush(mask)), np.uint8).reshape(300, 400, 4)
    assert np.array_equal(words[..., 3] > 0, mask)


def test_a_task_for_each_frame_with_a_region_for_each_object(tmp_path: Path) -> None:
    labels = synthetic_clip(63, 97, 1, objects=3, seed=2).labels[0]
    with LabelStudioWriter(tmp_path / "a.json", Legend(names={2: "dog"})) as writer:
        writer.write(LabelledFrame(4, "00004", labels))
        writer.write(LabelledFrame(5, "00005", np.zeros_like(labels)))
    tasks = json.loads((tmp_path / "a.json").read_text())
    assert [task["data"]["image"] for task in tasks] == ["00004.jpg", "00005.jpg"]
    (annotation,) = tasks[0]["annotations"]
    for region in annotation["result"]:
        number = int(region["id"].removeprefix("object_"))
        value = region["value"]
        assert value["brushlabels"] == ["dog" if number == 2 else "object"]
        assert (region["original_height"], region["original_width"]) == (63, 97)
        words = np.array(_decode(value["rle"]), np.uint8).reshape(63, 97, 4)
        assert np.array_equal(words[..., 3] > 0, labels == number)
    assert tasks[1]["annotations"] == [{"result": []}]
