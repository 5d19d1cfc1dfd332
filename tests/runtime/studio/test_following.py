"""Following through the server of mavos-studio, with a segmenter without a network."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mavos_deploy.runtime.studio.guard import Door
from tests.made_videos import COUNT, spoil, video
from tests.stand_in_segmenter import StandInSegmenter
from tests.studio_server import Client, SlowSegmenter, begun, served, square, stand_in

ROOT = Path(__file__).resolve().parents[3]


def test_following_goes_both_ways_and_is_undone_and_done_again(clip: Path) -> None:
    segmenter = StandInSegmenter()
    with served(clip, stand_in(segmenter)) as client:
        begun(client, 6)
        client.ask("POST", "/api/follow", {"from": 6, "direction": "both"})
        project = client.followed()
        assert project["masks"] == [[0, COUNT - 1]]
        assert project["undo"] == "following both from frame 6"
        made = [client.mask(n) for n in range(COUNT)]
        for _ in range(3):
            client.ask("POST", "/api/undo", {})
        empty = client.project
        assert (empty["masks"], empty["objects"]) == ([], [])
        said = client.ask("POST", "/api/undo", {}, 400)
        assert said["error"] == "nothing can be undone"
        steps = segmenter.steps
        for _ in range(3):
            client.ask("POST", "/api/redo", {})
        assert segmenter.steps == steps
        assert all(np.array_equal(client.mask(n), made[n]) for n in range(COUNT))


def test_confidence_belongs_to_masks_and_goes_with_them(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        found = client.ask("GET", "/api/confidence?from=0&to=11")
        assert (found["from"], found["to"], found["step"]) == (0, 11, 1)
        (values,) = found["objects"].values()
        assert values[0] is None
        assert all(0 <= value < 1 for value in values[1:])
    with served(clip) as client:
        assert client.ask("GET", "/api/confidence")["objects"] == {"1": values}
        client.ask("POST", "/api/undo", {})
        assert client.ask("GET", "/api/confidence?to=3")["objects"] == {"1": [None] * 4}
        client.ask("GET", "/api/confidence?from=x", status=400)


def test_an_object_that_is_lost_is_an_event_until_it_is_undone(clip: Path) -> None:
    class Losing(StandInSegmenter):
        def step(self, *given: Any) -> Any:  # noqa: ANN401
            labels, state = super().step(*given)
            return (labels if state.frame < 4 else np.zeros_like(labels)), state

    with served(clip, stand_in(Losing())) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        events = client.ask("GET", "/api/events")["events"]
        assert (4, 1, "lost") in [(e["frame"], e["object"], e["kind"]) for e in events]
    with served(clip) as client:
        assert client.ask("GET", "/api/events")["events"] == events
        client.ask("POST", "/api/undo", {})
        assert client.ask("GET", "/api/events")["events"] == []


def test_both_passes_are_undone_together(clip: Path) -> None:
    with served(clip) as client:
        begun(client, 6)
        client.ask("POST", "/api/follow", {"from": 6, "direction": "both"})
        client.followed()
        client.ask("POST", "/api/undo", {})
        assert client.project["masks"] == [[6, 6]]


def test_a_correction_leaves_earlier_frames_alone(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        before = [client.mask(n) for n in range(COUNT)]
        client.put(5, square(1, 40), [1])
        client.ask("POST", "/api/follow", {"from": 5})
        client.followed()
        after = [client.mask(n) for n in range(COUNT)]
    assert all(np.array_equal(before[n], after[n]) for n in range(5))
    assert np.array_equal(after[5][after[5] > 0], square(1, 40)[square(1, 40) > 0])
    assert any(not np.array_equal(before[n], after[n]) for n in range(6, COUNT))


def test_objects_that_a_pass_does_not_follow_keep_their_masks(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        client.ask("POST", "/api/objects", {})
        client.ask("DELETE", "/api/keyframes/11")
        client.put(11, square(2, 40), [2])
        client.ask("POST", "/api/follow", {"from": 11, "direction": "backward", "until": 8})
        client.followed()
        assert set(np.unique(client.mask(9))) == {0, 1, 2}
        assert set(np.unique(client.mask(7))) == {0, 1}


def test_one_object_is_followed_alone_and_what_was_corrected_stays(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        client.put(5, square(1, 40), [1])
        client.ask("POST", "/api/follow", {"from": 5})
        client.followed()
        before = [client.mask(n) == 1 for n in range(COUNT)]
        sure = client.ask("GET", "/api/confidence")["objects"]["1"]
        client.ask("POST", "/api/objects", {})
        said = client.ask("POST", "/api/follow", {"from": COUNT - 1}, 400)
        assert "go to an earlier frame that has a mask" in said["error"]
        alone = {"from": 8, "direction": "both", "objects": [2]}
        said = client.ask("POST", "/api/follow", alone, 400)
        assert said["error"] == "object 2 has no mask in frame 8; make one first"
        low = np.zeros_like(square())
        low[30:34, 20:30] = 2
        client.put(8, low, [2])
        client.ask("POST", "/api/follow", alone)
        project = client.followed()
        assert project["undo"] == "following both from frame 8, object 2 alone"
        masks = [client.mask(n) for n in range(COUNT)]
        assert all((mask == 2).any() for mask in masks)
        del masks[8], before[8]
        for mask, one in zip(masks, before, strict=True):
            assert np.array_equal(mask == 1, one)
        told = client.ask("GET", "/api/confidence")["objects"]
        assert told["1"][9:] == sure[9:]
        assert told["2"][9] is not None
        made = client.ask("POST", "/api/export/command", {"kind": "overlay"})
        assert not made["same"]
        assert "followed for some objects alone" in made["why"]

        # Its memory holds one object, so all of them begin anew, from a keyframe.
        said = client.ask("POST", "/api/follow", {"from": 10}, 400)
        assert "its mask was made for other objects" in said["error"]
        client.ask("POST", "/api/follow", {"from": 10, "direction": "forward", "objects": [2]})
        client.followed()
        for wrong, words in (
            ({"from": 8, "objects": [7]}, "no object 7"),
            ({"from": 8, "objects": [2], "fuse": "blend"}, "all objects are followed"),
        ):
            assert words in client.ask("POST", "/api/follow", wrong, 400)["error"]
    with served(clip) as client:  # as the journal says it
        client.ask("POST", "/api/undo", {})
        client.ask("POST", "/api/undo", {})
        others = [n for n in range(COUNT) if n != 8]
        for n, one in zip(others, before, strict=True):
            assert np.array_equal(client.mask(n) == 1, one)


def test_an_object_followed_alone_leaves_the_pixels_of_others(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        client.put(5, square(1, 14), [1])
        before = [client.mask(n) == 1 for n in range(COUNT)]
        client.ask("POST", "/api/objects", {})
        labels = client.mask(0)
        labels[2:30, 4:40][labels[2:30, 4:40] == 0] = 2
        client.put(0, labels, [2])
        client.ask("POST", "/api/follow", {"from": 0, "objects": [2]})
        client.followed()
        after = [client.mask(n) for n in range(COUNT)]
    assert all((mask == 2).any() for mask in after)
    assert all(np.array_equal(mask == 1, one) for mask, one in zip(after, before, strict=True))


def test_objects_followed_alone_go_on_while_they_are_out_of_sight(clip: Path) -> None:
    class Losing(StandInSegmenter):
        def step(self, *given: Any) -> Any:  # noqa: ANN401
            labels, state = super().step(*given)
            return (labels if state.frame < 3 else np.zeros_like(labels)), state

    with served(clip, stand_in(Losing())) as client:
        begun(client)
        for _ in range(2):
            client.ask("POST", "/api/objects", {})
        alone = {"from": 0, "objects": [2, 3]}
        said = client.ask("POST", "/api/follow", alone, 400)
        assert said["error"] == "objects 2, 3 have no mask in frame 0; make one first"
        client.put(0, np.where(square(2, 40), square(2, 40), client.mask(0)), [2])
        client.ask("POST", "/api/follow", {**alone, "objects": [2], "until": 5})
        client.followed()
        assert not client.mask(5).any()
        client.ask("POST", "/api/follow", {"from": 5, "objects": [2]})
        assert client.followed()["masks"] == [[0, COUNT - 1]]


def test_a_pass_for_one_object_goes_on_after_the_other_was_deleted(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/objects", {})
        client.put(0, np.where(square(2, 40), square(2, 40), client.mask(0)), [2])
        said = client.ask("POST", "/api/follow", {"from": 0, "objects": []}, 400)
        assert said["error"] == "no object is chosen to follow; leave `objects` out for all"
        client.ask("POST", "/api/follow", {"from": 0, "objects": [1], "until": 5})
        client.followed()
        said = client.ask("POST", "/api/follow", {"from": 5}, 400)
        assert "its mask was made for other objects" in said["error"]
        client.ask("DELETE", "/api/objects/2")
        client.ask("POST", "/api/follow", {"from": 5})
        assert client.followed()["masks"] == [[0, COUNT - 1]]
        assert (client.mask(COUNT - 1) == 1).any()


def test_all_objects_chosen_are_no_choice(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0, "objects": [1]})
        client.followed()
        assert client.project["undo"] == "following forward from frame 0"
        assert client.ask("POST", "/api/export/command", {"kind": "overlay"})["same"]


def test_following_waits_goes_on_and_stops_at_once(clip: Path) -> None:
    slow = SlowSegmenter(0.5)
    with served(clip, stand_in(slow)) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        said = client.ask("POST", "/api/follow", {"from": 0}, 409)
        assert "already" in said["error"]
        client.wait(lambda project: project["following"]["done"] >= 2)
        client.ask("POST", "/api/follow/pause")
        time.sleep(3 * slow.seconds)  # the frame that was being made is kept by then
        done = client.project["following"]["done"]
        time.sleep(2 * slow.seconds)
        project = client.project
        assert project["following"]["state"] == "paused"
        assert project["following"]["done"] == done
        client.ask("POST", "/api/follow/resume")
        client.wait(lambda project: project["following"]["done"] > done)
        assert client.ask("POST", "/api/follow/stop")["state"] == "idle"
        reached = client.project["masks"][-1][1]
        assert reached < COUNT - 1
        slow.seconds = 0
        client.ask("POST", "/api/follow", {"from": reached})
        assert client.followed()["masks"] == [[0, COUNT - 1]]
        whole = [client.mask(n) for n in range(COUNT)]
    with served(clip, folder=clip.parent / "other") as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        assert all(np.array_equal(client.mask(n), whole[n]) for n in range(COUNT))


def test_passes_from_both_sides_stop_and_are_undone(clip: Path) -> None:
    slow = SlowSegmenter(0.5)
    with served(clip, stand_in(slow)) as client:
        begun(client)
        said = client.ask("POST", "/api/follow", {"from": 0, "fuse": "nearest"}, 400)
        assert "no second frame whose mask you made" in said["error"]
        for frame in (4, 10):
            client.put(frame, square(1, 40), [1])
        client.ask("POST", "/api/follow", {"from": 0, "fuse": "nearest"})
        client.wait(lambda project: project["following"]["frame"] is not None)
        assert client.ask("POST", "/api/follow/stop")["state"] == "idle"
        reached = client.project["masks"][0][1]
        assert 0 < reached < 10
        said = client.ask("POST", "/api/follow", {"from": 1}, 400)
        assert "its mask was made from both sides" in said["error"]
        slow.seconds = 0
        client.ask("POST", "/api/follow", {"from": 0, "fuse": "nearest"})
        project = client.followed()
        assert project["masks"] == [[0, COUNT - 1]]
        assert project["following"]["done"] == project["following"]["total"]
        client.ask("POST", "/api/undo", {})
        assert client.project["masks"][0] == [0, reached]


@pytest.mark.parametrize("place", [7, 23])
def test_a_damaged_frame_ends_passes_from_both_sides_before_it(tmp_path: Path, place: int) -> None:
    path = video(tmp_path / "clip.mp4", count=24, coding={"g": "1"})
    (gone,) = spoil(path, [place])
    with served(path) as client:
        begun(client)
        client.put(20, square(1, 40), [1])
        client.ask("POST", "/api/follow", {"from": 0, "fuse": "nearest"})
        project = client.followed()
        said = f"{path}: frame {gone:05d} is damaged or missing; re-encode what is whole"
        assert said in project["following"]["message"]
        kept = [[0, gone - 1]] if gone > 20 else [[0, gone - 1], [20, 20]]
        assert project["masks"] == kept
        made = [client.mask(n) for n in range(gone)]
    with served(path) as client:  # as the journal says it
        assert client.project["masks"] == kept
        assert all(np.array_equal(client.mask(n), made[n]) for n in range(gone))
        assert np.array_equal(client.mask(20) > 0, square(1, 40) > 0)
    with served(path, folder=tmp_path / "other") as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        assert said in client.followed()["following"]["message"]
        # Up to the middle between keyframes, the forward pass decides.
        assert all(np.array_equal(client.mask(n), made[n]) for n in range(min(gone, 9)))


def test_an_edit_ends_following(clip: Path) -> None:
    with served(clip, stand_in(SlowSegmenter(0.5))) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.wait(lambda project: project["following"]["done"] >= 2)
        client.put(1, square(1, 40), [1])
        project = client.project
        assert project["following"]["state"] == "idle"
        assert project["undo"] == "the mask of frame 1"


@pytest.mark.parametrize("fails", [False, True])
def test_following_ends_though_giving_memory_back_fails(clip: Path, fails: bool) -> None:
    class Failing(StandInSegmenter):
        def step(self, *given: Any) -> Any:  # noqa: ANN401
            if fails:
                raise RuntimeError("the first reason")
            return super().step(*given)

    def rest() -> None:
        raise RuntimeError("no memory to rest")

    with served(clip, replace(stand_in(Failing()), rest=rest)) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        said = client.followed()["following"]["message"]
        assert said == f"RuntimeError: {'the first reason' if fails else 'no memory to rest'}"
        client.ask("POST", "/api/undo", {})


def test_everything_done_is_there_after_a_kill(clip: Path) -> None:
    words = [sys.executable, "-m", "tests.studio_server", str(clip), "0.05"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port, token = process.stdout.readline().split()
        client = Client(Door("127.0.0.1", int(port), token))
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.wait(lambda project: project["following"]["done"] >= 4)
        seen = client.project["following"]["frame"]
        masks = [client.mask(n) for n in range(seen + 1)]
        os.kill(process.pid, signal.SIGKILL)
    with served(clip) as client:
        project = client.project
        assert project["keyframes"] == [0]
        assert project["masks"][0][1] >= seen
        assert project["undo"] == "following forward from frame 0"
        assert all(np.array_equal(client.mask(n), mask) for n, mask in enumerate(masks))
        client.ask("POST", "/api/follow", {"from": project["masks"][0][1]})
        assert client.followed()["masks"] == [[0, COUNT - 1]]
        assert client.ask("POST", "/api/export/command", {"kind": "overlay"})["same"]
