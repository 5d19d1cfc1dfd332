"""The result of comparing a bundle with PyTorch: differences, and the limits they must keep."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.evaluation.metrics import Score
from mavos_deploy.records import HUGE
from mavos_deploy.runtime.bundles.memory import MCA, MemoryRule
from mavos_deploy.runtime.contract import GraphName

UPDATES = 2  # memory updates that every clip must go past at least


@dataclass(frozen=True)
class Limits:
    """The largest differences that pass.

    Attributes:
        tensors: Largest difference of a tensor, as a share of its range.
        labels: Share of a label map's pixels that may differ on PyTorch's own inputs, near ties.
        agreement: Share of the pixels that must be equal in the worst frame when the chain runs on
            its own labels. With untrained weights many pixels are near ties, and one that flips
            changes what is remembered.
    """

    tensors: float
    labels: float
    agreement: float


# Accepted differences by the backend's arithmetic. Limits of less than fp32 leave room for what
# rounding alone was measured to do, so a mistake of that size would pass; the comparison in fp32
# shows that the graphs are right.
#
# Tensors: rounding gives about 5e-6 in fp32; in fp16 at most 3.2e-3 at 97x97 over all variants and
# 5.9e-3 at 481x849. A GPU that sums up float16 products in float16, as TensorRT may choose, adds at
# most 2e-3 in a projection (emulated in tests/models/test_layers.py); sums over tokens are float32
# in every exported graph. With all other sums in float16, tiny at 97x97 differs by 4.3e-3
# (benchmarks/half_sums.py), and by 3.9e-3 with each sum rounded once. In bf16 at most 4.9e-2, in an
# identity query, and 8.7e-3 in logits (three variants, 97x161 to 481x849). tf32 has as many bits as
# fp16, and its limits. Quantised graphs cut off inputs beyond the ranges they were calibrated with,
# so single values differ by much: in tiny at 97x97 up to 2.9e-1 in int8 and 8.4e-1 in fp8, most of
# it in the encoder. These limits find graphs that are wrong; mavos-calibrate measures in J&F
# whether a quantised bundle is good enough.
# Labels: bf16 gave up to 0.8%, int8 and fp8 0.5%.
# Agreement: the worst in bf16 was 98.5% at 481x849 and 92.1% at 97x161; with tiny's trained weights
# int8 gave 98.2% and fp8 93.4%.
LIMITS = {
    "fp32": Limits(tensors=1e-4, labels=1e-3, agreement=0.995),
    "fp16": Limits(tensors=2e-2, labels=5e-3, agreement=0.98),
    "tf32": Limits(tensors=2e-2, labels=5e-3, agreement=0.98),
    "bf16": Limits(tensors=1e-1, labels=3e-2, agreement=0.85),
    "int8": Limits(tensors=5e-1, labels=3e-2, agreement=0.9),
    "fp8": Limits(tensors=1.2, labels=3e-2, agreement=0.8),
}


@dataclass(frozen=True)
class Difference:
    """How far one output of one graph is from PyTorch's in one frame.

    Attributes:
        graph: Name of the graph.
        tensor: Name of the output.
        frame: Index of the frame in its clip.
        relative: Largest absolute difference divided by the range of PyTorch's tensor; for a label
            map the share of pixels that differ. `HUGE` where a value is NaN or infinite.
        absolute: Largest absolute difference; for a label map as `relative`.
        limit: Largest accepted `relative`.
    """

    graph: str
    tensor: str
    frame: int
    relative: float
    absolute: float
    limit: float


def difference(
    place: tuple[str, str, int], got: NDArray[Any], want: NDArray[Any], limit: float
) -> Difference:
    """Compare a tensor with PyTorch's, label maps by the share of pixels that differ.

    Args:
        place: Graph, tensor and frame.
        got: The bundle's tensor.
        want: PyTorch's tensor, of the same shape; whole numbers make it a label map.
        limit: Largest accepted `Difference.relative`.
    """
    assert got.shape == want.shape, f"{place[1]}: {got.shape}, not {want.shape}"
    if np.issubdtype(want.dtype, np.integer):
        relative = absolute = float(np.mean(got != want))
    else:
        absolute = float(np.abs(np.asarray(got, np.float64) - want).max())
        relative = absolute / (float(want.max() - want.min()) or 1.0)
    if not np.isfinite(relative):  # NaN compares false with everything, and would pass as small
        relative = absolute = HUGE
    return Difference(*place, relative, absolute, limit)


@dataclass(frozen=True)
class ClipComparison:
    """The comparison on one clip.

    Attributes:
        video: Height and width of the clip's frames, such as `480x854`.
        groups: Groups of ten objects at the end of the clip.
        memory_updates: Frames after which MCA ran.
        differences: Every compared output with PyTorch's inputs, in the order of computation.
        agreement: Share of equal pixels in each free-running frame after the first.
        scores: J and F of each object's free-running masks against PyTorch's.
    """

    video: str
    groups: int
    memory_updates: tuple[int, ...]
    differences: tuple[Difference, ...]
    agreement: tuple[float, ...]
    scores: tuple[Score, ...]


def updates_of(memory: MemoryRule) -> int:
    """Memory updates that a clip must go past: with many slots, until a frame leaves the memory."""
    return max(UPDATES, memory.slots - 1) if memory.at_gaps else 0


@dataclass(frozen=True)
class Parity:
    """The comparison of a bundle with PyTorch.

    Attributes:
        limits: Accepted differences.
        backend: Name of the backend that ran the graphs.
        frames: Length of each clip.
        objects: Objects in each clip, the late one included.
        clips: The comparison on each clip; at least one.
        memory: Rule of the bundle's long-term memory.
        decoder_one: Whether the bundle has a decoder for a single group, too.
        step_one: Whether the bundle has a step for the reference alone, too.
    """

    limits: Limits
    backend: str
    frames: int
    objects: int
    clips: tuple[ClipComparison, ...]
    memory: MemoryRule = MCA
    decoder_one: bool = False
    step_one: bool = False

    @property
    def groups(self) -> int:
        """Groups of ten objects at the end of a clip, in the one with the most."""
        return max(clip.groups for clip in self.clips)

    @property
    def memory_updates(self) -> tuple[int, ...]:
        """Frames that entered a memory written to before, in the clip with the fewest."""
        return min((clip.memory_updates for clip in self.clips), key=len)

    @property
    def tensors(self) -> dict[str, dict[str, Difference]]:
        """Worst difference over all clips by graph and output."""
        worst: dict[str, dict[str, Difference]] = {}
        for clip in self.clips:
            for found in clip.differences:
                outputs = worst.setdefault(found.graph, {})
                if found.relative > outputs.setdefault(found.tensor, found).relative:
                    outputs[found.tensor] = found
        return worst

    @property
    def worst_agreement(self) -> float:
        """The least share of equal pixels of any free-running frame."""
        return min(min(clip.agreement) for clip in self.clips)

    @property
    def quality(self) -> Score:
        """Mean J and F of all objects' free-running masks against PyTorch's."""
        region, boundary = np.mean([score for clip in self.clips for score in clip.scores], axis=0)
        return Score(float(region), float(boundary))

    @property
    def first_divergence(self) -> dict[str, Any] | None:
        """The first difference beyond its limit, in the order of computation; None without one."""
        for clip in self.clips:
            for found in clip.differences:
                if found.relative > found.limit:
                    return {
                        "video": clip.video,
                        "graph": found.graph,
                        "tensor": found.tensor,
                        "frame": found.frame,
                        "relative": found.relative,
                        "limit": found.limit,
                    }
        return None

    @property
    def passed(self) -> bool:
        """Whether every graph was compared past all updates, and all is within the limits."""
        graphs = set(GraphName) - (set() if self.memory.merges else {GraphName.MEMORY_UPDATE})
        graphs -= set() if self.decoder_one else {GraphName.DECODER_ONE}
        graphs -= set() if self.step_one else {GraphName.STEP_ONE}
        past = len(self.memory_updates) >= updates_of(self.memory)
        compared = self.tensors.keys() == graphs and past
        agrees = self.worst_agreement >= self.limits.agreement
        return compared and agrees and self.first_divergence is None

    def worst(self, graph: str) -> Difference:
        """The worst difference of a graph."""
        return max(self.tensors[graph].values(), key=lambda found: found.relative)

    def to_dict(self) -> dict[str, Any]:
        """The whole comparison, for JSON."""
        quality = self.quality
        return {
            "passed": self.passed,
            "worst_agreement": self.worst_agreement,
            "tolerance": self.limits.tensors,
            "label_tolerance": self.limits.labels,
            "agreement_required": self.limits.agreement,
            "backend": self.backend,
            "frames": self.frames,
            "objects": self.objects,
            "groups": self.groups,
            "memory_updates": list(self.memory_updates),
            "tensors": {
                graph: {
                    name: {"relative": d.relative, "absolute": d.absolute, "frame": d.frame}
                    for name, d in outputs.items()
                }
                for graph, outputs in self.tensors.items()
            },
            "agreement": [share for clip in self.clips for share in clip.agreement],
            "region": quality.region,
            "boundary": quality.boundary,
            "first_divergence": self.first_divergence,
            "videos": [clip.video for clip in self.clips],
        }

    def summary(self) -> dict[str, Any]:
        """The entry `parity` of a manifest."""
        return {
            "passed": self.passed,
            "backend": self.backend,
            "frames": self.frames,
            "memory_updates": list(self.memory_updates),
            "worst_relative_error": {name: self.worst(name).relative for name in self.tensors},
            "worst_agreement": self.worst_agreement,
        }
