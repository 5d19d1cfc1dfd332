"""What a bundle says of its quantisation is checked when it is made, not only when it is read."""

from typing import Any

import numpy as np
import pytest

from mavos_deploy.runtime.bundles.quantisation import (
    HIGHEST_LEVEL,
    GraphKind,
    Levels,
    NumberType,
    Quantisation,
    RangeMethod,
)

LEVELS = (Levels((0.5, 2.0), (64, 0)),) * 3
FIELDS: dict[str, Any] = {
    "kind": GraphKind.CPU,
    "number": NumberType.INT8,
    "method": RangeMethod.MINMAX,
    "groups": {},
    "ranges": {},
    "sources": {},
    "data": "",
    "seed": 0,
}


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, None),
        ({"attention": {"memory": LEVELS, "self": LEVELS}}, None),
        ({"kind": GraphKind.TENSORRT, "number": NumberType.FP8}, None),
        ({"kind": GraphKind.OPENVINO, "attention": {"self": LEVELS, "scores": ()}}, None),
        ({"number": NumberType.FP8}, "fp8 graphs for cpu"),
        ({"attention": {"cross": LEVELS}}, "attention 'cross' is unknown"),
        ({"attention": {"scores": ()}}, "attention 'scores' is unknown"),
        ({"kind": GraphKind.OPENVINO, "number": NumberType.FP8}, "fp8 graphs for openvino"),
        ({"kind": GraphKind.TENSORRT, "attention": {"self": LEVELS}}, "graphs for tensorrt don't"),
    ],
)
def test_an_entry_goes_together(changed: dict[str, object], refused: str | None) -> None:
    if refused is None:
        Quantisation(**{**FIELDS, **changed})
        return
    with pytest.raises(ValueError, match=refused):
        Quantisation(**{**FIELDS, **changed})


def test_values_are_rounded_to_their_nearest_level_and_cut_off() -> None:
    levels = Levels((0.5, 2.0), (64, 0))
    values = np.array([[[[0.3, -99.0]], [[3.0, 1e9]]]], np.float32)
    rounded = levels.rounded(values)
    assert rounded.dtype == np.uint8
    assert rounded.tolist() == [[[[65, 0]], [[2, HIGHEST_LEVEL]]]]
    assert levels.restored(rounded).tolist() == [[[[0.5, -32.0]], [[4.0, 254.0]]]]
    assert levels.channels == 2
