"""Segmenters here and on a server refuse the same frames, labels and states in the same words."""

from typing import Any

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime import RemoteState, State
from mavos_deploy.runtime.protocol import (
    check_followed,
    check_frame,
    check_labels,
    check_state,
)

FRAME = np.zeros((4, 6, 3), np.uint8)
LABELS = np.ones((4, 6), np.uint8)


def test_frames_of_both_types_pass() -> None:
    check_frame(FRAME)
    check_frame(FRAME.astype(np.float32))
    check_frame(FRAME, floats=False)


@pytest.mark.parametrize(
    ("frame", "floats", "text"),
    [
        pytest.param(None, True, "frame of type NoneType; expected a NumPy array", id="none"),
        pytest.param(
            FRAME[..., 0], True, r"shape \[4, 6\] and type uint8; expected RGB", id="grey"
        ),
        pytest.param(np.zeros((4, 6, 4), np.uint8), True, "expected RGB", id="alpha"),
        pytest.param(FRAME.astype(np.int64), True, "int64; .* uint8 or float32", id="int"),
        pytest.param(
            FRAME.astype(np.float32), False, "float32; expected .* a server takes", id="server"
        ),
        pytest.param(
            np.full(FRAME.shape, np.inf, np.float32), True, "aren't finite", id="infinite"
        ),
        pytest.param(
            np.full(FRAME.shape, 3e38, np.float32), True, "from 3e.38 to 3e.38; expected", id="huge"
        ),
        pytest.param(np.full(FRAME.shape, -1e6, np.float32), True, "expected 0..255", id="below"),
    ],
)
def test_other_frames_are_refused(frame: object, floats: bool, text: str) -> None:
    with pytest.raises(InputError, match=text):
        check_frame(frame, floats)


@pytest.mark.parametrize(
    ("labels", "first", "text"),
    [
        pytest.param([1], False, "labels of type list; expected a NumPy array", id="list"),
        pytest.param(
            LABELS[1:], False, r"shape \[3, 6\] .* expected uint8 of the frame", id="size"
        ),
        pytest.param(LABELS.astype(np.int32), False, "type int32; expected uint8", id="type"),
        pytest.param(LABELS * 255, False, "24 pixels of the labels are 255", id="void"),
        pytest.param(LABELS * 0, True, "the first frame's labels hold no object", id="nothing"),
    ],
)
def test_other_labels_are_refused(labels: object, first: bool, text: str) -> None:
    check_labels(LABELS, (4, 6), first=True)
    check_labels(LABELS * 0, (4, 6))
    with pytest.raises(InputError, match=text):
        check_labels(labels, (4, 6), first)


def test_a_state_of_the_other_kind_of_segmenter_is_refused() -> None:
    local, remote = State("", (4, 6), (4, 6), (1,)), RemoteState(7, (4, 6), 0, (1,), (1,))
    kinds: list[tuple[Any, Any, str]] = [(local, RemoteState, "State"), (remote, State, "Remote")]
    for state, kind, named in kinds:
        check_state(state, type(state))
        with pytest.raises(
            InputError, match=rf"state of type {named}\w*; expected the {kind.__name__} that"
        ):
            check_state(state, kind)


def test_only_followed_objects_can_be_removed() -> None:
    check_followed({3, 6}, (3, 6, 20))
    with pytest.raises(InputError, match=r"no object 7 to remove; the video has \[3, 6, 20\]"):
        check_followed({3, 7}, (3, 6, 20))
