"""Clips run every graph of a bundle, however many objects and slots there are."""

from dataclasses import replace
from pathlib import Path

import pytest

from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.export.verify_clips import clips_of
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.bundles.memory import MemoryRule
from mavos_deploy.runtime.contract import GraphName
from mavos_deploy.runtime.objects import ids_of
from tests.bundles import hollow_bundle


@pytest.mark.parametrize(
    ("objects", "slots", "one_group"),
    [
        pytest.param(None, 2, True, id="a-late-object-opens-the-second-group"),
        pytest.param(None, 1, False, id="all-objects-are-in-the-first-frame"),
        pytest.param(9, 1, True, id="ten-objects-in-the-first-frame"),
        pytest.param(11, 2, False, id="two-groups-from-the-start"),
    ],
)
def test_a_decoder_for_one_group_has_a_clip_with_one(
    objects: int | None, slots: int, one_group: bool, tmp_path: Path
) -> None:
    bundle = Bundle.open(hollow_bundle(tmp_path))
    own = bundle.manifest
    rule = MemoryRule.named("annotations", slots)
    manifest = replace(own, memory=rule, memory_gap=None)
    first = ((96, 102), objects or 10)
    assert clips_of(replace(bundle, manifest=manifest), objects) == [first]
    graphs = {**own.graphs, GraphName.DECODER_ONE: own.graphs["decoder"]}
    for_gpu = replace(bundle, manifest=replace(manifest, graphs=graphs))
    added = [] if one_group else [((96, 102), 1)]
    assert clips_of(for_gpu, objects) == [first, *added]


@pytest.mark.parametrize("size", [(17, 17), (33, 481), (49, 81), (97, 49), (49, 49)])
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_small_frame_is_compared_on_a_clip_with_room_for_its_objects(
    size: tuple[int, int], dynamic: bool, tmp_path: Path
) -> None:
    bundle = Bundle.open(hollow_bundle(tmp_path))
    manifest = replace(bundle.manifest, height=size[0], width=size[1], dynamic=dynamic)
    for (height, width), objects in clips_of(replace(bundle, manifest=manifest)):
        clip = iter_clip(height, width, 2, objects=objects, late_objects=1, late_frame=1)
        _, labels = list(clip)[1]
        assert set(ids_of(labels)) == set(range(1, objects + 2))
