"""A comparison passes only with every graph compared, past two updates, within all limits."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mavos_deploy.evaluation.metrics import Score
from mavos_deploy.export.parity import LIMITS, ClipComparison, Difference, Parity, difference
from mavos_deploy.records import HUGE
from mavos_deploy.runtime.contract import GraphName

EXACT = np.array([0.0, 1.0], np.float32)


def _clip(video: str = "96x102", frame: int = 5, got: np.ndarray = EXACT) -> ClipComparison:
    limit = LIMITS["fp32"].tensors
    return ClipComparison(
        video=video,
        groups=2,
        memory_updates=(5, 8),
        differences=tuple(
            difference((graph, "out", frame), got, EXACT, limit) for graph in GraphName
        ),
        agreement=(1.0, 0.999),
        scores=(Score(1.0, 1.0), Score(0.9, 0.8)),
    )


@pytest.fixture
def passing() -> Parity:
    parity = Parity(
        LIMITS["fp32"],
        "onnxruntime-cpu",
        10,
        2,
        (_clip(), _clip("139x96")),
        decoder_one=True,
        step_one=True,
    )
    assert parity.passed
    return parity


def _in_first_clip(parity: Parity, **change: Any) -> Parity:  # noqa: ANN401
    first, *others = parity.clips
    return replace(parity, clips=(replace(first, **change), *others))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_tensor_with_nan_or_infinity_does_not_pass(value: float, passing: Parity) -> None:
    found = difference(("encoder", "embedding", 3), np.array([0.0, value]), EXACT, 1e-4)
    assert found.relative == found.absolute == HUGE
    parity = _in_first_clip(passing, differences=(*passing.clips[0].differences, found))
    assert not parity.passed
    assert json.loads(json.dumps(parity.to_dict(), allow_nan=False))["passed"] is False


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"agreement": (1.0, 0.98)}, id="masks-disagree"),
        pytest.param({"memory_updates": (5,)}, id="one-update"),
    ],
)
def test_a_report_short_of_its_claims_does_not_pass(
    change: dict[str, Any], passing: Parity
) -> None:
    assert not _in_first_clip(passing, **change).passed
    assert json.loads(json.dumps(passing.to_dict(), allow_nan=False))["passed"] is True


def test_a_report_without_a_compared_tensor_does_not_pass(passing: Parity) -> None:
    clips = tuple(replace(clip, differences=()) for clip in passing.clips)
    assert not replace(passing, clips=clips).passed


def test_the_worst_of_all_clips_is_kept_and_the_first_beyond_its_limit_named(
    passing: Parity,
) -> None:
    off = _clip("139x96", frame=7, got=EXACT + np.array([0, 0.25], np.float32))
    parity = replace(passing, clips=(passing.clips[0], off))
    for graph in GraphName:
        assert parity.worst(graph) == Difference(graph, "out", 7, 0.25, 0.25, 1e-4)
    first = parity.to_dict()["first_divergence"]
    assert first == {
        "video": "139x96",
        "graph": GraphName.ENCODER,
        "tensor": "out",
        "frame": 7,
        "relative": 0.25,
        "limit": 1e-4,
    }


def test_label_maps_differ_by_the_share_of_their_pixels() -> None:
    got, want = np.array([[0, 3], [1, 1]], np.uint8), np.array([[0, 1], [1, 1]], np.uint8)
    found = difference(("decoder", "labels", 2), got, want, 0.1)
    assert (found.relative, found.absolute) == (0.25, 0.25)


def test_the_report_and_the_manifests_summary_keep_their_keys(passing: Parity) -> None:
    report = passing.to_dict()
    assert list(report) == [
        "passed",
        "worst_agreement",
        "tolerance",
        "label_tolerance",
        "agreement_required",
        "backend",
        "frames",
        "objects",
        "groups",
        "memory_updates",
        "tensors",
        "agreement",
        "region",
        "boundary",
        "first_divergence",
        "videos",
    ]
    assert report["tensors"]["decoder"] == {"out": {"relative": 0, "absolute": 0, "frame": 5}}
    assert report["agreement"] == [1.0, 0.999] * 2
    assert report["videos"] == ["96x102", "139x96"]
    assert (report["region"], report["boundary"]) == pytest.approx((0.95, 0.9))
    assert list(passing.summary()) == [
        "passed",
        "backend",
        "frames",
        "memory_updates",
        "worst_relative_error",
        "worst_agreement",
    ]
