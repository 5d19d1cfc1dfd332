"""The doors through which files, requests and answers come, each as a function of bytes.

Nothing but a MavosError may come out of a target. Its seeds are real files, made here or kept in
the repository; files in `corpus/<target>/` were findings once, or lead a fuzzer further.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.bundles.manifest import Manifest
from mavos_deploy.runtime.bundles.onnx_file import refuse_external_data
from mavos_deploy.runtime.contract import memory_specs
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.results import Results
from mavos_deploy.runtime.datasets.sequences import Layout
from mavos_deploy.runtime.geometry import parse_size
from mavos_deploy.runtime.masks.formats.store import MaskStore
from mavos_deploy.runtime.masks.opening import SUFFIXES, read_annotations
from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.pictures import SERVED, open_image, read_rgb
from mavos_deploy.runtime.state import load_state
from mavos_deploy.runtime.triton import client
from mavos_deploy.runtime.triton.streams import Streams, request_of
from mavos_deploy.runtime.triton.wire import INPUTS, StreamLimits
from tests.bundles import hollow_bundle
from tests.fuzz.draws import Draws
from tests.made_sequences import write_frames, write_masks

DATA = Path(__file__).parents[1] / "data"
CORPUS = Path(__file__).with_name("corpus")
SIZE = (12, 16)
FRAMES_SEEN = 20  # of a video or an annotation file
LARGEST = 1 << 17  # bytes of an input


@dataclass(frozen=True)
class Target:
    """One door.

    Attributes:
        name: Name on the command line, and of its folder in `corpus/`.
        prepare: Makes what the door needs, and returns it as a function of bytes.
        seeds: Real inputs to start from.
    """

    name: str
    prepare: Callable[[Path], Callable[[bytes], object]]
    seeds: Callable[[], list[bytes]]

    def corpus(self) -> dict[str, bytes]:
        """The inputs that are kept for this door, by the names of their files."""
        folder = CORPUS / self.name
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        return {file.name: file.read_bytes() for file in files}


# Manifests, records, metadata


def _manifest(_: Path) -> Callable[[bytes], object]:
    def door(content: bytes) -> None:
        manifest = Manifest.from_json(content.decode(errors="surrogateescape"), "manifest.json")
        _ = manifest.identity, manifest.files, manifest.arithmetic, manifest.memory_values
        manifest.to_json()

    return door


def _manifests() -> list[bytes]:
    return [file.read_bytes() for file in sorted((DATA / "manifests").glob("*.json"))]


def _records(folder: Path) -> Callable[[bytes], object]:
    (folder / "results/a").mkdir(parents=True)
    for root in (folder / "set/val/JPEGImages/a", folder / "set/val/Annotations/a"):
        stems = [f"{index:05d}" for index in (0, 5)]
        (write_frames if "JPEG" in str(root) else _write_masks)(root, stems, SIZE)
    metadata = folder / "set/val/meta.json"

    def door(content: bytes) -> None:
        kind, content = content[:1], content[1:]
        if kind == b"r":
            (folder / "results/a/run.json").write_bytes(content)
            Results(folder / "results", overwrite=False)
        else:
            metadata.write_bytes(content)
            open_dataset(folder / "set", Layout.LVOS if kind == b"l" else Layout.YOUTUBE_VOS)

    return door


def _write_masks(folder: Path, stems: list[str], size: tuple[int, int]) -> None:
    write_masks(folder, stems, np.ones((len(stems), *size), np.uint8))


def _record_seeds() -> list[bytes]:
    record = {"format_version": 2, "bundle": "x", "variant": "tiny", "trained": True}
    record |= {"backend": "b", "arithmetic": "fp32", "stretch": False, "inputs": "a"}
    record |= {"frames": ["0"], "skipped": [], "lost": [1]}
    problem = {"sequence": "a", "frame": None, "found": "x", "expected": "y"}
    spans = {"1": {"frames": ["00000", "00005"], "frame_range": {"start": "0", "end": "5"}}}
    metadata = json.dumps({"videos": {"a": {"objects": spans}}}).encode()
    run = json.dumps({**record, "problems": [problem]}).encode()
    return [b"r" + run, b"l" + metadata, b"y" + metadata]


# Pictures, masks, annotation files, videos


def _picture(array: np.ndarray, form: str, **options: Any) -> bytes:  # noqa: ANN401
    file = BytesIO()
    Image.fromarray(array).save(file, format=form, **options)
    return file.getvalue()


@cache
def _pictures() -> list[bytes]:
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    exif = Image.Exif()
    exif[0x112], exif[0x10E] = 6, "turned"
    ways: list[tuple[str, dict[str, Any]]] = [
        ("PNG", {"exif": exif}),
        ("JPEG", {"exif": exif}),
        ("WEBP", {"exif": exif}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw", "exif": exif}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("BMP", {}),
    ]
    made = [_picture(noise, form, **options) for form, options in ways]
    grey = noise[..., 0] % 4
    made += [_picture(grey, form) for form in ("PNG", "BMP", "TIFF", "GIF")]
    made += [_picture(grey.astype(np.uint16) * 300, "PNG"), _picture(grey > 1, "PNG")]
    palette = Image.fromarray(grey)
    palette.putpalette(range(30))
    file = BytesIO()
    palette.save(file, format="PNG")
    return [*made, file.getvalue()]


def _read_picture(_: Path) -> Callable[[bytes], object]:
    def door(content: bytes) -> None:
        read_rgb(Path("a.png"), content)

    return door


def _served(_: Path) -> Callable[[bytes], object]:
    return lambda content: open_image(Path("labels_file"), content, formats=SERVED)


def _read_mask(_: Path) -> Callable[[bytes], object]:
    return lambda content: read_mask(Path("a.png"), content=content)


def _annotations(_: Path) -> Callable[[bytes], object]:
    def door(content: bytes) -> None:
        suffix = SUFFIXES[content[0] % len(SUFFIXES)] if content else ".json"
        maps = read_annotations(Path(f"a{suffix}"), content[1:])
        for make in list(maps.frames.values())[:FRAMES_SEEN]:
            make()

    return door


def _annotation_seeds() -> list[bytes]:
    points = [[1, 1], [9, 1], [5, 8]]
    labelme = {"imageHeight": 12, "imageWidth": 16, "imagePath": "0.jpg"}
    labelme["shapes"] = [{"label": "cat", "points": points, "shape_type": "polygon"}]
    flat = [float(value) for point in points for value in point]
    size = {"height": 12, "width": 16}
    image = {"id": 1, "file_name": "0.jpg", **size}
    one = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [flat], "iscrowd": 0}
    runs = {"size": [12, 16], "counts": [5, 7, 180]}
    coco = {"images": [image], "categories": [{"id": 1, "name": "cat"}]}
    coco["annotations"] = [one, {**one, "id": 2, "iscrowd": 1, "segmentation": runs}]
    video = {"id": 1, "file_names": ["a/0.jpg"], "length": 1, **size}
    track = {"id": 1, "video_id": 1, "category_id": 1, "segmentations": [runs]}
    vis = {"videos": [video], "annotations": [track], "categories": coco["categories"]}
    value = {"format": "rle", "rle": [0, 0, 0, 192], "brushlabels": ["cat"]}
    result = {"type": "brushlabels", "value": value, "original_width": 16, "original_height": 12}
    studio = [{"id": 1, "data": {"image": "0.jpg"}, "annotations": [{"result": [result]}]}]
    cvat = (
        '<annotations><version>1.1</version><image id="0" name="0.jpg" width="16" height="12">'
        '<polygon label="cat" points="1,1;9,1;5,8" z_order="0"/>'
        '<mask label="cat" rle="3,3,3" left="1" top="1" width="3" height="3"/>'
        "</image></annotations>"
    )
    json_at, xml_at = (bytes([SUFFIXES.index(end)]) for end in (".json", ".xml"))
    documents = [json_at + json.dumps(one).encode() for one in (labelme, coco, vis, studio)]
    return [*documents, xml_at + cvat.encode()]


def _store(folder: Path) -> Callable[[bytes], object]:
    file = folder / "store"

    def door(content: bytes) -> None:
        file.write_bytes(content)
        with ExitStack() as stack:
            store = MaskStore(file)
            stack.callback(store.close)
            for _, (_, labels) in zip(range(FRAMES_SEEN), store.items(), strict=False):
                _ = labels.sum()

    return door


def _store_seeds() -> list[bytes]:
    from mavos_deploy.runtime.masks.formats.store import StoreWriter
    from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend

    with tempfile.TemporaryDirectory() as folder:
        writer = StoreWriter(Path(folder, "a"), Legend("clip", {1: "cat"}))
        for index in range(3):
            writer.write(LabelledFrame(index, f"{index:05d}", np.full(SIZE, index, np.uint8)))
        writer.close()
        return [Path(folder, "a").read_bytes()]


ENDINGS = ("mp4", "avi", "mkv", "webm", "gif", "mov", "ts")


def _videos(folder: Path) -> Callable[[bytes], object]:
    import av

    av.logging.set_level(None)

    def door(content: bytes) -> None:
        file = folder / f"a.{ENDINGS[content[0] % len(ENDINGS)] if content else 'mp4'}"
        file.write_bytes(content[1:])
        with open_frames(str(file)) as frames:
            for _ in zip(range(FRAMES_SEEN), frames, strict=False):
                pass

    return door


def _video_seeds() -> list[bytes]:
    from tests.made_videos import video

    ways = {"mp4": "libx264", "avi": "mpeg4", "mkv": "ffv1", "mov": "mpeg4", "ts": "libx264"}
    with tempfile.TemporaryDirectory() as folder:
        return [
            bytes([ENDINGS.index(ending)])
            + video(Path(folder, f"a.{ending}"), codec, count=3).read_bytes()
            for ending, codec in ways.items()
        ]


# States, checkpoints, graphs


def _states(folder: Path) -> Callable[[bytes], object]:
    (folder / "bundle").mkdir()
    bundle = Bundle.open(hollow_bundle(folder / "bundle"))
    backend: Any = SimpleNamespace(upload=lambda array: array)
    tensors = sum(2 * int(np.prod(shape)) for shape in _shapes_of(bundle).values())

    def door(content: bytes) -> None:
        """The input is the header alone; as many zeros follow as a real state has values."""
        with (folder / "state").open("wb") as file:
            file.write(len(content).to_bytes(8, "little") + content)
            file.truncate(8 + len(content) + tensors)
        load_state(folder / "state", backend, bundle)

    return door


def _shapes_of(bundle: Bundle) -> dict[str, tuple[int, ...]]:
    return {name: spec.shape_at(groups=1) for name, spec in memory_specs(bundle.specs).items()}


def _state_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        bundle = Bundle.open(hollow_bundle(Path(folder)))
    counters = {"format_version": 1, "bundle": bundle.manifest.identity, "ids": [1], "frame": 0}
    counters |= {"size": [97, 97], "input_size": [97, 97], "visible": 1, "removed": []}
    counters |= {"since_update": 0, "updated": [False]}
    tensors: dict[str, Any] = {"__metadata__": {"mavos_state": json.dumps(counters)}}
    end = 0
    for name, shape in _shapes_of(bundle).items():
        size = 2 * int(np.prod(shape))
        tensors[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    return [json.dumps(tensors).encode()]


def _checkpoints(folder: Path) -> Callable[[bytes], object]:
    from mavos_deploy.models.checkpoint import read_state_dict

    def door(content: bytes) -> None:
        file = folder / ("w.safetensors" if content[:1] == b"s" else "w.pth")
        file.write_bytes(content[1:])
        read_state_dict(file)

    return door


def _checkpoint_seeds() -> list[bytes]:
    import torch
    from safetensors.torch import save

    state = {"module.a": torch.zeros(2), "b.weight": torch.ones(1, 3)}
    made = []
    for content, zipped in ((state, True), ({"state_dict": state, "epoch": 1}, False)):
        file = BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        made.append(b"t" + file.getvalue())
    return [*made, b"s" + save(state)]


def _graphs(_: Path) -> Callable[[bytes], object]:
    return lambda content: refuse_external_data(content, "a.onnx")


def _graph_seeds() -> list[bytes]:
    import onnx

    tensor = onnx.numpy_helper.from_array(np.ones(3, np.float32), "w")
    node = onnx.helper.make_node("Constant", [], ["y"], value=tensor)
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [3])
    inner = onnx.helper.make_graph([node], "inner", [], [output])
    outer = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    graph = onnx.helper.make_graph([outer, node], "g", [], [output], initializer=[tensor])
    return [bytes(onnx.helper.make_model(graph).SerializeToString())]


# Server and client


def _wire(_: Path) -> Callable[[bytes], object]:
    names = ("max_streams", "max_objects", "max_pixels", "idle_seconds")

    def door(content: bytes) -> None:
        draws = Draws(content)
        if draws.flag():
            parse_size(draws.rest().decode(errors="replace"))
        else:
            StreamLimits.from_parameters({name: draws.text() for name in names})

    return door


class _Standing:
    """A segmenter whose objects never move."""

    def start(self, frame: np.ndarray, labels: np.ndarray) -> Any:  # noqa: ANN401
        assert labels.shape == frame.shape[:2]
        ids = tuple(int(i) for i in np.unique(labels) if i)
        return SimpleNamespace(ids=ids, objects=ids, labels=labels, confidence={})

    def step(self, frame: np.ndarray, state: Any, added: np.ndarray | None) -> Any:  # noqa: ANN401
        assert frame.dtype == np.uint8
        assert added is None or added.shape == frame.shape[:2]
        return state.labels, state

    def remove(self, state: Any, ids: tuple[int, ...]) -> Any:  # noqa: ANN401
        return state


def _requests(_: Path) -> Callable[[bytes], object]:
    from mavos_deploy.errors import MavosError

    pictures = _pictures()
    shapes = {t.name: tuple(SIZE[k] if n < 0 else n for k, n in enumerate(t.shape)) for t in INPUTS}

    def tensors(draws: Draws) -> Mapping[str, Any]:
        given: dict[str, Any] = {}
        for tensor in INPUTS:
            if draws.number(2) != (0 if tensor.name.endswith("file") else 1):
                continue
            if tensor.dtype == "STRING":
                held = bytearray(draws.choice(pictures))
                for _ in range(draws.number(3)):
                    held[draws.number(65535) % len(held)] = draws.number(255)
                given[tensor.name] = np.array([bytes(held)], np.object_)
            else:
                kind = {"UINT8": "uint8", "INT64": "int64"}[tensor.dtype]
                given[tensor.name] = draws.array(shapes[tensor.name], kind)
        return given

    def door(content: bytes) -> None:
        streams = Streams(_Standing(), StreamLimits(max_streams=3))  # type: ignore[arg-type]
        draws = Draws(content)
        for _ in range(8):
            stream, start = draws.number(3), draws.number(2) == 0
            opened = set(streams._open)
            try:
                request = request_of(stream, start, draws.number(7) == 7, tensors(draws))
                streams.handle(request).labels_file()
            except MavosError:
                lost = opened - set(streams._open) - {stream}
                assert not lost, "a refused request cost another stream"
            assert len(streams) <= 3

    return door


def _answers(_: Path) -> Callable[[bytes], object]:
    def door(content: bytes) -> None:
        draws = Draws(content)
        answer: dict[str, Any] = {
            "labels": draws.array(SIZE),
            "objects": draws.array((draws.number(3),)),
            "ids": draws.array((draws.number(3),)),
            "confidence": draws.array((draws.number(3),)).astype(np.float32) / 200,
        }
        if draws.number(9) == 0:
            answer[draws.choice(tuple(answer))] = None
        client._check_answer(answer, SIZE)
        assert answer["labels"].shape == SIZE

    return door


def _noise() -> list[bytes]:
    draw = np.random.default_rng(3)
    return [draw.bytes(count) for count in (8, 200, 900)]


TARGETS = {
    target.name: target
    for target in (
        Target("manifest", _manifest, _manifests),
        Target("records", _records, _record_seeds),
        Target("pictures", _read_picture, _pictures),
        Target("served-pictures", _served, _pictures),
        Target("masks", _read_mask, _pictures),
        Target("annotations", _annotations, _annotation_seeds),
        Target("stores", _store, _store_seeds),
        Target("videos", _videos, _video_seeds),
        Target("states", _states, _state_seeds),
        Target("checkpoints", _checkpoints, _checkpoint_seeds),
        Target("onnx", _graphs, _graph_seeds),
        Target("wire", _wire, lambda: [b"\1\x00480x854", b"\0\0" + b"\x02\x0016" * 4]),
        Target("requests", _requests, _noise),
        Target("answers", _answers, _noise),
    )
}
