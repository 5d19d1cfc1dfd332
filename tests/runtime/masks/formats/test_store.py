"""The run-length store gives back every frame, also after a kill, and refuses what is damaged."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.formats.store import KEY_EVERY, MaskStore, StoreWriter
from mavos_deploy.runtime.masks.formats.store_reading import store_maps
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.objects import Labels
from tests.made_clips import synthetic_clip

LEGEND = Legend("clip", {1: "cat", 254: "zwei Äpfel"}, bytes(range(9)))


def _write(path: Path, labels: list[Labels], step: int = 1, close: bool = True) -> None:
    writer = StoreWriter(path, LEGEND)
    for order, one in enumerate(labels):
        writer.write(LabelledFrame(order * step, f"frame {order}", one))
    if close:
        writer.close()


def _clip(frames: int) -> list[Labels]:
    return list(synthetic_clip(64, 96, frames, objects=2, seed=3).labels)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=24)),
        min_size=1,
        max_size=3,
    )
)
def test_labels_of_any_size_and_ids_come_back(
    tmp_path_factory: pytest.TempPathFactory, labels: list[Labels]
) -> None:
    path: Path = tmp_path_factory.mktemp("store") / "masks"
    _write(path, labels)
    with MaskStore(path) as store:
        assert store.complete
        for number, one in enumerate(labels):
            assert np.array_equal(store[number], one)


def test_frames_are_read_by_number_in_any_order_with_stems_and_names(tmp_path: Path) -> None:
    labels = _clip(KEY_EVERY * 2 + 5)
    _write(tmp_path / "masks", labels, step=3)
    with MaskStore(tmp_path / "masks") as store:
        assert store.numbers == tuple(range(0, 3 * len(labels), 3))
        assert store.legend == LEGEND
        for order in (len(labels) - 1, 3, KEY_EVERY, KEY_EVERY - 1, 0):
            assert store.stem(order * 3) == f"frame {order}"
            assert np.array_equal(store[order * 3], labels[order])
        assert 1 not in store
        with pytest.raises(InputError, match="no frame 1; it holds 0 to"):
            store[1]


def test_a_store_that_was_cut_anywhere_gives_the_frames_before(tmp_path: Path) -> None:
    path, cut = tmp_path / "masks", tmp_path / "cut"
    labels = _clip(6)
    _write(path, labels)
    whole = path.read_bytes()
    with MaskStore(path) as store:
        ends = [store.end_of(order) for order in range(len(store))]
        start = store.places[0][1]
    for length in range(start, len(whole), 7):
        cut.write_bytes(whole[:length])
        with MaskStore(cut) as store:
            assert not store.complete
            assert len(store) == sum(end <= length for end in ends)
            for number, one in store.items():
                assert np.array_equal(one, labels[number])


def test_a_store_is_readable_before_it_is_closed(tmp_path: Path) -> None:
    labels = _clip(3)
    _write(tmp_path / "masks", labels, close=False)
    with MaskStore(tmp_path / "masks") as store:
        assert not store.complete
        assert np.array_equal(store[2], labels[2])


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("after", [1, 4, KEY_EVERY, KEY_EVERY + 1])
def test_going_on_behind_some_frames_makes_the_same_bytes(
    tmp_path: Path, closed: bool, after: int
) -> None:
    labels = _clip(KEY_EVERY + 3)
    _write(tmp_path / "whole", labels)
    _write(tmp_path / "parts", labels[: after + 1], close=closed)
    with StoreWriter(tmp_path / "parts", LEGEND, after) as writer:
        for number in range(after, len(labels)):
            writer.write(LabelledFrame(number, f"frame {number}", labels[number]))
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


def test_going_on_behind_frames_that_are_not_there_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "masks", _clip(2))
    with pytest.raises(InputError, match="holds 2 frames, and 3 were expected"):
        StoreWriter(tmp_path / "masks", LEGEND, 3)


def test_changed_bytes_are_noticed_and_nothing_else_is_raised(tmp_path: Path) -> None:
    path, other = tmp_path / "masks", tmp_path / "changed"
    labels = _clip(4)
    _write(path, labels)
    whole = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(whole)
        for place in random.integers(len(changed), size=random.integers(1, 4)):
            changed[place] ^= 1 << int(random.integers(8))
        other.write_bytes(changed)
        try:
            with MaskStore(other) as store:
                for number, one in store.items():
                    assert np.array_equal(one, labels[number])
        except InputError as error:
            assert str(other) in str(error)  # noqa: PT017  # right labels are as good


def test_frames_must_ascend(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "masks", LEGEND) as writer:
        writer.write(LabelledFrame(4, "a", _clip(1)[0]))
        with pytest.raises(InputError, match="frame 4 after frame 4; numbers must ascend"):
            writer.write(LabelledFrame(4, "b", _clip(1)[0]))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("labels")
    with pytest.raises(InputError, match=r"is no run-length store \(it does not begin as one"):
        MaskStore(tmp_path / "text")
    with pytest.raises(InputError, match="cannot be opened: No such file"):
        MaskStore(tmp_path / "missing")


def test_a_video_takes_a_fraction_of_what_pngs_take(tmp_path: Path) -> None:
    labels = list(synthetic_clip(240, 432, 40, objects=3, seed=1).labels)
    _write(tmp_path / "masks", labels)
    (tmp_path / "png").mkdir()
    for order, one in enumerate(labels):
        write_mask(tmp_path / "png" / f"{order}.png", one)
    sizes = [file.stat().st_size for file in os.scandir(tmp_path / "png")]
    stored = (tmp_path / "masks").stat().st_size
    assert sum(sizes) > 3 * stored
    # Every small file takes up a whole block.
    assert sum(-(-size // 4096) * 4096 for size in sizes) > 9 * stored


def test_names_of_frames_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "masks", LEGEND) as writer:
        writer.write(LabelledFrame(0, "a\0b", np.ones((2, 2), np.uint8)))
    with pytest.raises(InputError, match="can't be the name of a frame; give it another one"):
        store_maps(tmp_path / "masks")
