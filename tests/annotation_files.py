"""Annotation files of other programs, written by hand for given label maps."""

import base64
import io
import json
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Labels = NDArray[np.uint8]
Frames = Mapping[str, Labels]  # label maps by frame name
NAMES = {1: "dog", 2: "cat", 3: "bird"}


def ids(labels: Labels) -> list[int]:
    return [int(i) for i in np.unique(labels) if i]


def runs(flat: NDArray[Any]) -> list[int]:
    """Lengths of runs of 0 and others in turn, 0 first."""
    lengths = [len(list(group)) for _, group in groupby((flat > 0).tolist())]
    return [0, *lengths] if flat[0] else lengths


def packed(counts: list[int]) -> str:
    """COCO's compressed text of run lengths."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr((bits | (32 if more else 0)) + 48)
            if not more:
                break
    return text


def segmentation(labels: Labels, number: int, compressed: bool) -> dict[str, Any]:
    counts = runs((labels == number).T.ravel())
    return {"size": list(labels.shape), "counts": packed(counts) if compressed else counts}


CATEGORIES = [{"id": number, "name": name} for number, name in NAMES.items()]


def coco(frames: Frames, compressed: bool = True) -> bytes:
    images, annotations = [], []
    for place, (stem, labels) in enumerate(frames.items(), 7):
        height, width = labels.shape
        name = f"clip/{stem}.jpg"
        images.append({"id": place, "file_name": name, "height": height, "width": width})
        annotations += [
            {
                "id": 10 * place + number,
                "image_id": place,
                "category_id": number,
                "track_id": number,
                "segmentation": segmentation(labels, number, compressed),
                "iscrowd": 0,
            }
            for number in ids(labels)
        ]
    document = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    return json.dumps(document).encode()


def coco_counts(frames: Frames) -> bytes:
    return coco(frames, compressed=False)


def youtube_vis(frames: Frames) -> bytes:
    height, width = next(iter(frames.values())).shape
    names = [f"clip/{stem}.jpg" for stem in frames]
    annotations = [
        {
            "id": number,
            "video_id": 3,
            "category_id": number,
            "segmentations": [
                segmentation(labels, number, True) if number in ids(labels) else None
                for labels in frames.values()
            ],
        }
        for number in sorted({i for labels in frames.values() for i in ids(labels)})
    ]
    video = {"id": 3, "file_names": names, "height": height, "width": width, "length": len(names)}
    document = {"videos": [video], "annotations": annotations, "categories": CATEGORIES}
    return json.dumps(document).encode()


def labelme(labels: Labels) -> bytes:
    shapes = []
    for number in ids(labels):
        rows, columns = np.nonzero(labels == number)
        top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
        part = (labels == number)[top : bottom + 1, left : right + 1]
        buffer = io.BytesIO()
        Image.fromarray(part.astype(np.uint8)).save(buffer, format="PNG")
        shapes.append(
            {
                "label": NAMES.get(number, "object"),
                "points": [[int(left), int(top)], [int(right), int(bottom)]],
                "group_id": number,
                "shape_type": "mask",
                "mask": base64.b64encode(buffer.getvalue()).decode(),
            }
        )
    height, width = labels.shape
    return json.dumps(
        {"version": "5.5.0", "shapes": shapes, "imageHeight": height, "imageWidth": width}
    ).encode()


def _mask(labels: Labels, number: int) -> str:
    rows, columns = np.nonzero(labels == number)
    top, left = rows.min(), columns.min()
    part = (labels == number)[top : rows.max() + 1, left : columns.max() + 1]
    counts = ", ".join(map(str, runs(part.ravel())))
    box = f'left="{left}" top="{top}" width="{part.shape[1]}" height="{part.shape[0]}"'
    return f'rle="{counts}" {box} z_order="0"'


def cvat_images(frames: Frames) -> bytes:
    text = "<annotations><version>1.1</version><meta/>"
    for place, (stem, labels) in enumerate(frames.items()):
        height, width = labels.shape
        text += f'<image id="{place}" name="{stem}.jpg" width="{width}" height="{height}">'
        for number in ids(labels):
            label = NAMES.get(number, "object")
            text += f'<mask label="{label}" group_id="{number}" {_mask(labels, number)}/>'
        text += "</image>"
    return (text + "</annotations>").encode()


def cvat_video(frames: Frames) -> bytes:
    """Tracks of group 1, 2, ...; an object that is out of sight is outside."""
    height, width = next(iter(frames.values())).shape
    size = f"<width>{width}</width><height>{height}</height>"
    text = f"<annotations><meta><original_size>{size}</original_size></meta>"
    for number in sorted({i for labels in frames.values() for i in ids(labels)}):
        text += f'<track id="{number + 5}" label="{NAMES.get(number)}" group_id="{number}">'
        shape = ""
        for stem, labels in frames.items():
            outside = number not in ids(labels)
            shape = shape if outside else _mask(labels, number)
            shape = shape or 'rle="0, 1" left="0" top="0" width="1" height="1"'
            place = f'frame="{int(stem)}" keyframe="1" outside="{int(outside)}"'
            text += f"<mask {place} {shape}/>"
        text += "</track>"
    return (text + "</annotations>").encode()


WIDTHS = (3, 4, 8, 16)


def brush(mask: NDArray[np.bool_]) -> list[int]:
    """Bytes of a brush stroke, with repeated runs only."""
    flat = np.repeat(mask.ravel(), 4)
    bits = f"{flat.size:032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in WIDTHS)
    for value, group in groupby(flat.tolist()):
        left = len(list(group))
        while left:
            taken = min(left, 1 << WIDTHS[-1])
            choice = next(i for i, width in enumerate(WIDTHS) if taken <= 1 << width)
            bits += f"1{choice:02b}{taken - 1:0{WIDTHS[choice]}b}{255 * value:08b}"
            left -= taken
    return [int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8)]


def label_studio(frames: Frames) -> bytes:
    tasks = []
    for stem, labels in frames.items():
        height, width = labels.shape
        regions = [
            {
                "id": f"object_{number}",
                "type": "brushlabels",
                "original_width": width,
                "original_height": height,
                "value": {
                    "format": "rle",
                    "rle": brush(labels == number),
                    "brushlabels": [NAMES.get(number, "object")],
                },
            }
            for number in ids(labels)
        ]
        data = {"image": f"/data/upload/1/{stem}.jpg", "width": width, "height": height}
        tasks.append({"data": data, "annotations": [{"result": regions}]})
    return json.dumps(tasks).encode()


FILES: dict[str, tuple[str, Callable[[Frames], bytes]]] = {
    "coco": (".json", coco),
    "coco-uncompressed": (".json", coco_counts),
    "youtube-vis": (".json", youtube_vis),
    "cvat-images": (".xml", cvat_images),
    "cvat-video": (".xml", cvat_video),
    "label-studio": (".json", label_studio),
}
