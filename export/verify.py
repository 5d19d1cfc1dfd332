"""Parity: the exported graphs against the PyTorch tracker, tensor by tensor and mask by mask."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mavos_deploy.calibration.float_memory import FloatMemory
from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.metrics import score_labels
from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.export.graphs import GRAPHS
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.tracker import Memory, Tracker
from mavos_deploy.models.variants import BLOCKS
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.manifest import Manifest
from mavos_deploy.runtime.objects import Labels, object_mask, split_groups
from mavos_deploy.runtime.resize import resize_frame
from mavos_deploy.runtime.segmenter import Segmenter

# Limits by what the backend computes in. Those of less than fp32 leave room for what rounding alone
# was measured to do, so a mistake of that size would pass; the graphs are checked in fp32.
#
# Largest difference of a tensor, as a share of its range. Rounding alone gives about 5e-6 in fp32,
# in fp16 at most 3.2e-3 at 97x97 over all variants and 5.9e-3 at 481x849, in bf16 at most 4.9e-2,
# in an identity query, and 8.7e-3 in logits (three variants, 97x161 to 481x849).
# tf32 has as many bits as fp16, and its limits.
#
# Of quantised graphs, inputs beyond the ranges they were calibrated with are cut off, so single
# values differ by much: in tiny at 97x97 up to 2.9e-1 in int8 and 8.4e-1 in fp8, most of it in the
# encoder. These limits find graphs that are wrong; whether a quantised bundle is good enough is
# what mavos-calibrate measures, in J&F.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "tf32": 2e-2, "bf16": 1e-1, "int8": 5e-1, "fp8": 1.2}
# Share of pixels that must agree in the worst frame when the chain runs on its own labels. With
# untrained weights many pixels are near ties, and one that flips changes what is remembered. The
# worst that bf16 gave is 98.5% at 481x849, and 92.1% at 97x161; int8 gave 98.2% and fp8 93.4%
# with tiny's trained weights.
AGREEMENT = {"fp32": 0.995, "fp16": 0.98, "tf32": 0.98, "bf16": 0.85, "int8": 0.9, "fp8": 0.8}
# Share of a label map's pixels that may differ on PyTorch's own inputs: near ties again. bf16 gave
# up to 0.8%, int8 and fp8 0.5%.
LABEL_TOLERANCE = {
    "fp32": 1e-3,
    "fp16": 5e-3,
    "tf32": 5e-3,
    "bf16": 3e-2,
    "int8": 3e-2,
    "fp8": 3e-2,
}
# Eleven objects make two groups, and the second one's first update falls into the first one's
# second. A frame smaller than this has no room for them.
OBJECTS = 10
ROOM_FOR_GROUPS = 64  # pixels on a side

HUGE = 1e30  # stands for NaN, which JSON can't hold

Array = NDArray[Any]


@dataclass
class TensorError:
    """The worst difference of one output over the clip.

    Attributes:
        relative: Largest absolute difference divided by the tensor's range in that frame.
        absolute: Largest absolute difference in that frame.
        frame: Where it occurred.
    """

    relative: float = 0.0
    absolute: float = 0.0
    frame: int = 0


@dataclass
class Parity:
    """Outcome of a comparison.

    Attributes:
        tolerance: Accepted `TensorError.relative`.
        label_tolerance: Accepted share of differing pixels of a label map on PyTorch's inputs.
        agreement_required: Accepted share of equal pixels in the worst free-running frame.
        backend: That ran the graphs; its name says what it computes in.
        frames: Length of the clip.
        objects: In it, with the late one.
        groups: Groups of ten at the end of the clip.
        memory_updates: Frames after which MCA ran.
        tensors: Worst difference by graph and output, with PyTorch's inputs at every frame.
        agreement: Share of equal pixels in each free-running frame after the first.
        region: Mean J of the free-running masks against PyTorch's.
        boundary: Mean F, likewise.
        first_divergence: Video size, graph, tensor and frame of the first difference beyond the
            tolerance, in the order of computation.
        videos: Sizes of the clips compared so far, in pixels.
    """

    tolerance: float
    label_tolerance: float
    agreement_required: float
    backend: str
    frames: int
    objects: int
    groups: int = 1
    memory_updates: list[int] = field(default_factory=list)
    tensors: dict[str, dict[str, TensorError]] = field(default_factory=dict)
    agreement: list[float] = field(default_factory=list)
    region: float = 1.0
    boundary: float = 1.0
    first_divergence: dict[str, Any] | None = None
    videos: list[str] = field(default_factory=list)

    @property
    def worst_agreement(self) -> float:
        """The least share of equal pixels of any frame."""
        return min(self.agreement)

    @property
    def passed(self) -> bool:
        """Whether every graph was compared past two updates, and all is within the limits."""
        compared = self.tensors.keys() == GRAPHS.keys() and len(self.memory_updates) >= 2
        agrees = self.worst_agreement >= self.agreement_required
        return compared and agrees and self.first_divergence is None

    def worst(self, graph: str) -> TensorError:
        """The worst difference of a graph."""
        return max(self.tensors[graph].values(), key=lambda error: error.relative)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"passed": self.passed, "worst_agreement": self.worst_agreement, **asdict(self)}

    def summary(self) -> dict[str, Any]:
        """What the manifest keeps."""
        return {
            "passed": self.passed,
            "backend": self.backend,
            "frames": self.frames,
            "memory_updates": self.memory_updates,
            "worst_relative_error": {name: self.worst(name).relative for name in self.tensors},
            "worst_agreement": self.worst_agreement,
        }

    def record(
        self, graph: str, frame: int, got: Mapping[str, Any], want: dict[str, Array]
    ) -> None:
        """Compare outputs of a graph with PyTorch's, as a share of their range."""
        for name, expected in want.items():
            actual = np.asarray(got[name], np.float64)
            assert actual.shape == expected.shape, f"{name}: {actual.shape}, not {expected.shape}"
            difference = float(np.abs(actual - expected).max())
            spread = float(expected.max() - expected.min()) or 1.0
            self._note(graph, name, frame, difference / spread, difference, self.tolerance)

    def record_labels(
        self, name: str, frame: int, got: Labels, want: Labels, tolerance: float
    ) -> None:
        """Compare label maps of the decoder by the share of pixels that differ."""
        assert got.shape == want.shape, f"{name}: {got.shape}, not {want.shape}"
        differing = float(np.mean(got != want))
        self._note("decoder", name, frame, differing, differing, tolerance)

    def _note(
        self, graph: str, tensor: str, frame: int, relative: float, absolute: float, limit: float
    ) -> None:
        if np.isnan(relative):  # compares false with everything, so it must not pass as small
            relative = absolute = HUGE
        errors = self.tensors.setdefault(graph, {})
        if relative > errors.setdefault(tensor, TensorError(frame=frame)).relative:
            errors[tensor] = TensorError(relative, absolute, frame)
        if relative > limit and self.first_divergence is None:
            self.first_divergence = {
                "video": self.videos[-1] if self.videos else None,
                "graph": graph,
                "tensor": tensor,
                "frame": frame,
                "relative": relative,
                "limit": limit,
            }


def shortest_clip(memory_gap: int) -> int:
    """Frames it takes to read the result of a second memory update; 24 at the usual gap of 10."""
    return 2 * memory_gap + 4


def clips(manifest: Manifest) -> int:
    """Made-up clips that a bundle is compared on.

    One, and if it takes any size an upright one, and one of each size that it has tiles for.
    """
    return 2 + len(manifest.tiled) if manifest.dynamic else 1


def verify(
    segmenter: Segmenter,
    network: Mavos,
    frames: int | None = None,
    objects: int | None = None,
    on_frame: Callable[[int], None] = lambda done: None,
) -> Parity:
    """Compare a bundle with PyTorch on a made-up clip.

    The clip goes past two memory updates by MCA: the late object's frame is the first, since the
    long-term memory has been written once before it.

    Args:
        segmenter: With the bundle under test.
        network: With the bundle's own weights.
        frames: Length of the clip; None for the shortest that reads a second update.
        objects: In the first frame; one more joins later. None: ten, so that it opens a second
            group; one, where the frame has no room for so many.
        on_frame: Called with how many frames are done.

    Raises:
        InputError: Too few frames to read both updates.
    """
    manifest = segmenter.bundle.manifest
    least = shortest_clip(manifest.memory_gap)
    frames = least if frames is None else frames
    if frames < least:
        raise InputError(
            f"{frames} frames never read the second memory update; at a memory gap of "
            f"{manifest.memory_gap} at least {least} are needed"
        )
    if objects is None:
        objects = OBJECTS if min(manifest.size) >= ROOM_FOR_GROUPS else 1
    arithmetic = segmenter.backend.arithmetic
    parity = Parity(
        tolerance=TOLERANCE[arithmetic],
        label_tolerance=LABEL_TOLERANCE[arithmetic],
        agreement_required=AGREEMENT[arithmetic],
        backend=segmenter.backend.name,
        frames=frames,
        objects=objects + 1,
    )
    # Another size than the bundle's, so that both resizes are part of the comparison.
    sizes = [(manifest.height - 1, manifest.width + 5)]
    if manifest.dynamic:
        sizes.append((manifest.width + 37, manifest.height - 1))
        sizes += [(height - 1, width - 1) for height, width in segmenter.bundle.tiled]
    scores: list[tuple[float, float]] = []
    updates = []
    for number, size in enumerate(sizes):
        parity.memory_updates = []
        scores += compare_clip(
            segmenter, network, parity, size, partial(_report_from, on_frame, number * frames)
        )
        updates.append(parity.memory_updates)
    parity.memory_updates = min(updates, key=len)  # so that each clip has to go past two
    parity.region, parity.boundary = (float(value) for value in np.mean(scores, axis=0))
    return parity


def _report_from(on_frame: Callable[[int], None], before: int, done: int) -> None:
    on_frame(before + done)


def compare_clip(
    segmenter: Segmenter,
    network: Mavos,
    parity: Parity,
    size: Size,
    on_frame: Callable[[int], None],
) -> list[tuple[float, float]]:
    """Compare on one clip.

    Args:
        segmenter: With the bundle under test.
        network: With the bundle's own weights.
        parity: To add to; its length and number of objects are those of the clip.
        size: Height and width of its frames, in pixels.
        on_frame: Called with how many frames are done.

    Returns:
        J and F of each object's masks against PyTorch's.
    """
    manifest, objects = segmenter.bundle.manifest, parity.objects - 1
    parity.videos.append(f"{size[0]}x{size[1]}")
    expected, actual = [], []
    tracker = Tracker(network, size, manifest.memory_gap)
    state = None
    for index, (frame, annotation) in enumerate(_clip(size, parity.frames, objects, manifest)):
        resized = torch.from_numpy(resize_frame(frame, *manifest.input_size(size)))
        wanted = _teacher_forced(segmenter, tracker, parity, index, resized, annotation)
        if state is None:
            assert annotation is not None
            labels, state = annotation, segmenter.start(frame, annotation)
        else:
            labels, state = segmenter.step(frame, state, annotation)
            parity.agreement.append(float(np.mean(labels == wanted)))
        expected.append(wanted)
        actual.append(labels)
        on_frame(index + 1)
    parity.groups = state.groups if state else 0
    scores = score_labels(np.stack(expected), np.stack(actual), range(1, objects + 2)).values()
    return [(score.region, score.boundary) for score in scores]


def _clip(
    size: tuple[int, int], frames: int, objects: int, manifest: Manifest
) -> Iterator[tuple[NDArray[np.uint8], Labels | None]]:
    """Frames with the annotations of the first one and of the late object's."""
    late = manifest.memory_gap + 2
    clip = iter_clip(*size, frames, objects=objects, late_objects=1, late_frame=late)
    for index, (frame, labels) in enumerate(clip):
        if index == 0:
            yield frame, labels
        elif index == late:
            yield frame, np.where(labels > objects, labels, 0).astype(np.uint8)
        else:
            yield frame, None


def _teacher_forced(
    segmenter: Segmenter,
    tracker: Tracker,
    parity: Parity,
    frame: int,
    resized: Tensor,
    annotation: Labels | None,
) -> Labels:
    """Advance the PyTorch tracker and run every graph on the inputs that PyTorch had.

    Returns the frame's labels by PyTorch. Ids of the clip are internal ids already.
    """
    long_before = [list(group.long_term) for group in tracker.groups]
    short_before = [list(group.short_term) for group in tracker.groups]
    check = _GraphCheck(segmenter, tracker, parity, frame)
    if frame == 0:
        assert annotation is not None
        labels = tracker.start(resized, annotation)
        check.encoder(resized)
        check.reference_pass(labels)
        return labels
    labels = tracker.predict(resized)
    check.encoder(resized)
    check.step(long_before, short_before)
    check.decoder(labels)
    if annotation is None:
        tracker.remember(labels)
        check.memory_write(labels)
    else:
        labels = tracker.annotate(labels, annotation)
        check.reference_pass(labels)
    check.memory_update(long_before)
    return labels


@dataclass
class _GraphCheck:
    """Runs the graphs of one frame on PyTorch's tensors."""

    segmenter: Segmenter
    tracker: Tracker
    parity: Parity
    frame: int

    def encoder(self, resized: Tensor) -> None:
        self._run("encoder", {"frame": resized[None].numpy()}, self._features())

    def step(self, long: list[list[Memory]], short: list[list[Memory]]) -> None:
        memories = {**self._slots(long), **self._memory("short", short, first=True)}
        inputs = {"embedding": self._features()["embedding"], **memories}
        self._run("elstt_step", inputs, self._step_outputs())

    def reference_pass(self, labels: Labels) -> None:
        """The reference pass is an ordinary step that reads the frame's own memory everywhere."""
        fresh = [group.short_term for group in self.tracker.groups]
        memories = {
            name: array
            for slot in ("reference", "dynamic", "short")
            for name, array in self._memory(slot, fresh, first=True).items()
        }
        inputs = {"embedding": self._features()["embedding"], **memories}
        self._run("elstt_step", inputs, self._step_outputs())
        self.memory_write(labels)

    def decoder(self, labels: Labels) -> None:
        groups = self.tracker.groups
        visible = sum(group.objects for group in groups)
        size = self.segmenter.bundle.manifest.input_size(self.tracker.size)
        interpolation = self.segmenter.interpolation(self.tracker.size, size)
        inputs = {
            **self._features(),
            "decoder_embedding": _rows(g.decoder_embedding for g in groups),
            "object_mask": object_mask(visible, len(groups), frozenset()),
            **{k: self.segmenter.backend.download(v) for k, v in interpolation.items()},
        }
        got = self._run("decoder", inputs, {"logits": _rows(g.logits for g in groups)})
        got_labels = got["labels"][0]
        self.parity.record_labels(
            "labels", self.frame, got_labels, labels, self.parity.label_tolerance
        )
        own = split_groups(got_labels, len(groups), size)
        self.parity.record_labels("input_labels", self.frame, got["input_labels"], own, 0.0)

    def memory_write(self, labels: Labels) -> None:
        groups = self.tracker.groups
        size = self.segmenter.bundle.manifest.input_size(self.tracker.size)
        written = self._memory("", [group.short_term for group in groups], first=True)
        inputs = {"input_labels": split_groups(labels, len(groups), size), **self._step_outputs()}
        wanted = {name[1:]: array for name, array in written.items() if "value" in name}
        self._run("memory_write", inputs, wanted)

    def memory_update(self, long_before: list[list[Memory]]) -> None:
        """Compare wherever MCA ran in this frame."""
        groups = self.tracker.groups[: len(long_before)]
        changed = [
            group.long_term[0].key is not before[0].key
            for group, before in zip(groups, long_before, strict=True)
        ]
        tokens = groups[0].short_term[0].key.shape[-1]
        merged = [before[0].key.shape[-1] > tokens for before in long_before]
        if not (all(changed) and any(merged)):
            return
        self.parity.memory_updates.append(self.frame)
        new = self._memory("", [group.short_term for group in groups], first=True)
        inputs = {
            "first_update": np.array([not m for m in merged], np.int32),
            **{name[1:]: array for name, array in new.items()},
            **self._memory("dynamic", long_before, first=True),
        }
        after = self._memory("updated", [group.long_term for group in groups], first=True)
        self._run("memory_update", inputs, after)

    def _run(
        self, graph: str, available: Mapping[str, Array], wanted: dict[str, Array]
    ) -> dict[str, Any]:
        backend = FloatMemory(self.segmenter.backend, self.segmenter.bundle)
        specs = backend.specs[graph].inputs
        given = {s.name: available[s.name].astype(s.dtype, copy=False) for s in specs}
        outputs = backend.run(graph, {name: backend.upload(a) for name, a in given.items()})
        got = {name: backend.download(tensor) for name, tensor in outputs.items()}
        self.parity.record(graph, self.frame, got, wanted)
        return got

    def _features(self) -> dict[str, Array]:
        features = self.tracker.features
        assert features is not None
        names = ("feature_4x", "feature_8x", "feature_16x", "embedding")
        return {name: getattr(features, name).numpy() for name in names}

    def _step_outputs(self) -> dict[str, Array]:
        groups = self.tracker.groups
        outputs = {"decoder_embedding": _rows(g.decoder_embedding for g in groups)}
        for i in range(BLOCKS):
            projections = [group.projections[i] for group in groups]
            outputs[f"key_{i}"] = _rows(p.key for p in projections)
            outputs[f"visual_value_{i}"] = _rows(p.value for p in projections)
            if i:  # block 0 has none
                outputs[f"identity_query_{i}"] = _rows(p.identity_query for p in projections)
        return outputs

    def _slots(self, long: list[list[Memory]]) -> dict[str, Array]:
        """Both long-term slots; a group that has only its reference gives it for both."""
        return {**self._memory("dynamic", long, True), **self._memory("reference", long, False)}

    def _memory(self, slot: str, groups: list[list[Memory]], first: bool) -> dict[str, Array]:
        """The first or the last N tokens of each group's memory as maps of a slot."""
        height, width = self._features()["embedding"].shape[-2:]
        tokens = height * width
        part = slice(0, tokens) if first else slice(-tokens, None)
        arrays = {}
        for i in range(BLOCKS):
            for name in ("key", "value"):
                rows = [getattr(group[i], name)[..., part] for group in groups]
                stacked = torch.cat(rows).reshape(len(rows), -1, height, width)
                arrays[f"{slot}_{name}_{i}"] = stacked.numpy()
        return arrays


def _rows(tensors: Iterable[Tensor | None]) -> Array:
    """One tensor of every group, on the batch axis."""
    return torch.cat([tensor for tensor in tensors if tensor is not None]).numpy()
