"""The server of mavos-studio from request to answer, with a segmenter without a network."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.formats.store import MaskStore, StoreWriter
from mavos_deploy.runtime.masks.source import MaskSource
from mavos_deploy.runtime.masks.writing import LabelledFrame
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.outputs import Outputs, Taken, parse_wanted
from mavos_deploy.runtime.media.part import Part
from mavos_deploy.runtime.media.passes.directions import Direction, Passes
from mavos_deploy.runtime.media.video import segment_video
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.studio import server, wire
from mavos_deploy.runtime.studio.guard import Door
from mavos_deploy.runtime.studio.pictures import Pictures
from tests.made_videos import COUNT, HEIGHT, WIDTH, video
from tests.stand_in_segmenter import StandInSegmenter
from tests.studio_server import PATIENCE, Client, SlowSegmenter, served, stand_in

EVERYTHING, WHOLE = Taken(), Part()
ROOT = Path(__file__).resolve().parents[3]


def square(number: int = 1, left: int = 10) -> Labels:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8:24, left : left + 16] = number
    return labels


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return video(tmp_path / "clip.mp4", coding={"g": "4", "bf": "2"})


def begun(client: Client, frame: int = 0) -> None:
    """Give a project its first object and mask."""
    client.ask("POST", "/api/objects", {})
    client.put(frame, square(), [1])


def test_a_new_project_tells_of_its_video_and_its_model(clip: Path) -> None:
    with served(clip) as client:
        project = client.project
    assert (project["frames"], project["height"], project["width"]) == (COUNT, HEIGHT, WIDTH)
    assert project["name"] == "clip.mp4"
    assert project["fps"] == 10
    assert project["masks"] == project["keyframes"] == project["objects"] == []
    assert project["undo"] is project["redo"] is None
    assert project["model"]["variant"] == "none"
    assert "overlay" in [row["name"] for row in project["results"]]


def test_untrained_weights_are_said_at_once(clip: Path) -> None:
    segmenter = StandInSegmenter()
    segmenter.about = type(segmenter.about)("stand-in", "mobilenet", trained=False)
    with served(clip, stand_in(segmenter)) as client:
        model = client.project["model"]
    assert model["level"] == "warning"
    assert "untrained" in model["text"]


def test_frames_and_thumbnails_are_pictures_of_their_frame(clip: Path) -> None:
    with open_frames(str(clip)) as source:
        frames = [frame.rgb for frame in source]
    with served(clip) as client:
        for number in (7, 0, 11):
            status, headers, content = client.send("GET", f"/api/frames/{number}.jpg")
            assert (status, headers["content-type"]) == (200, "image/jpeg")
            shown = np.asarray(Image.open(io.BytesIO(content)), np.int16)
            distances = [np.abs(shown - frame).mean() for frame in frames]
            assert int(np.argmin(distances)) == number
        assert client.send("GET", "/api/thumbnails/3.jpg")[0] == 200
        assert client.ask("GET", f"/api/frames/{COUNT}.jpg", status=400)["error"].startswith(
            f"no frame {COUNT}"
        )
        client.wait(lambda project: project["thumbnails"]["done"] == COUNT)


def test_pictures_that_a_browser_kept_are_not_those_of_the_next_video(clip: Path) -> None:
    path, tags = "/api/frames/3.jpg", []
    for _ in range(2):  # on one address, with another video, as far as a browser knows
        with served(clip) as client:
            status, headers, _ = client.send("GET", path)
            assert (status, headers["cache-control"]) == (200, "private, no-cache")
            tags.append(headers["etag"])
            for tag, expected in ((tags[-1], 304), (tags[0], 200 if len(tags) > 1 else 304)):
                got, _, content = client.send("GET", path, headers={"if-none-match": tag})
                assert got == expected
                assert bool(content) == (got == 200)


def test_an_unforeseen_failure_is_said(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("of a kind\nthat nobody thought of")

    monkeypatch.setattr(server, "refine", fail)
    with served(clip) as client:
        body = {"mask": wire.runs_as_json(square()), "action": "grow", "amount": 1}
        said = client.ask("POST", "/api/refine/0", body, 500)
        assert said["error"].startswith("ValueError: of a kind")


def test_pictures_come_though_a_thumbnail_failed(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pictures, "_small", lambda *_: 1 // 0)
    with served(clip) as client:
        client.wait(lambda project: project["thumbnails"]["done"] == COUNT)
        assert client.send("GET", "/api/frames/3.jpg")[0] == 200


def test_a_mask_is_kept_for_the_next_server(clip: Path) -> None:
    with served(clip) as client:
        begun(client, 5)
        assert np.array_equal(client.mask(5), square())
    with served(clip) as client:
        assert client.project["keyframes"] == [5]
        assert np.array_equal(client.mask(5), square())


def test_only_edited_objects_change(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/objects", {"name": "cat", "colour": "#102030"})
        both = np.where(square(2, 40) > 0, 2, 0).astype(np.uint8)
        client.put(0, both, [2])
        assert set(np.unique(client.mask(0))) == {0, 1, 2}
        assert client.project["objects"][1]["name"] == "cat"


def test_a_page_that_is_behind_is_refused(clip: Path) -> None:
    with served(clip) as first:
        begun(first)
        second = Client(first.door)
        base = second.ask("GET", "/api/masks/0")["version"]
        first.put(0, square(1, 20), [1])
        late = {**wire.runs_as_json(square(1, 40)), "base": base, "objects": [1]}
        said = second.ask("PUT", "/api/masks/0", late, 409)
        assert "changed meanwhile" in said["error"]
        assert np.array_equal(first.mask(0), square(1, 20))
        stale = first.project["revision"] - 1
        said = second.ask("POST", "/api/undo", {"revision": stale}, 409)
        assert "another page" in said["error"]


def test_a_second_page_hears_of_every_change(clip: Path) -> None:
    with served(clip) as client, client.live() as live:
        first = json.loads(live.recv(PATIENCE))
        assert first["type"] == "project"
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1].get("following", {}).get("done") != COUNT - 1:
            heard.append(json.loads(live.recv(PATIENCE)))
    frames = [m["frames"] for m in heard if m["type"] == "masks"]
    assert frames == [[[number, number]] for number in range(COUNT)]
    speeds = [m["following"]["fps"] for m in heard if m["type"] == "following"]
    assert speeds[0] is None
    assert all(speed > 0 for speed in speeds[1:])


def test_a_prompt_gives_a_mask_and_keeps_nothing(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        corners = [[10, 10], [30, 10], [30, 30], [10, 30]]
        asked = {"object": 1, "engine": "grabcut", "polygon": corners}
        found = client.ask("POST", "/api/prompts/3", asked)
        labels = wire.Runs(*(found[k] for k in ("height", "width", "values", "lengths")))
        mask = labels.labels((HEIGHT, WIDTH))
        assert mask[20, 20] == 1
        assert mask.sum() == 400
        assert client.project["masks"] == [[0, 0]]
        runs = {key: found[key] for key in ("height", "width", "values", "lengths")}
        grown = client.ask("POST", "/api/refine/3", {"mask": runs, "action": "grow", "amount": 2})
        assert sum(grown["lengths"][1::2]) > 400
        said = client.ask(
            "POST", "/api/prompts/3", {**asked, "engine": "magic", "polygon": None}, 400
        )
        assert "magic" in said["error"]
        assert client.project["engines"] == ["grabcut"]


def test_a_page_hears_of_the_project_first(clip: Path) -> None:
    with served(clip) as client:
        for _ in range(20):  # while thumbnails are made
            with client.live() as live:
                assert json.loads(live.recv(PATIENCE))["type"] == "project"


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


def run_of(
    clip: Path,
    masks: Path,
    kind: str,
    part: Part = WHOLE,
    taken: Taken = EVERYTHING,
    passes: Passes | None = None,
) -> Path:
    """A run of the same segmenter without the studio; its result."""
    wanted = parse_wanted(kind, str(clip.parent / "run"))
    with open_frames(str(clip), part) as source:
        annotations = MaskSource(masks, source.size, source.stems)
        outputs = Outputs([wanted], False, taken=taken)
        segment_video(StandInSegmenter(), source, annotations, outputs, passes=passes)
    return wanted.path


@pytest.mark.parametrize("kind", ["overlay", "palette", "coco", "store"])
def test_an_export_is_what_one_run_from_its_keyframes_writes(clip: Path, kind: str) -> None:
    with served(clip) as client:
        begun(client, 2)
        client.ask("PATCH", "/api/objects/1", {"name": "dog", "colour": "#0a141e"})
        client.ask("POST", "/api/follow", {"from": 2})
        client.followed()
        client.put(6, square(1, 40), [1])
        client.ask("POST", "/api/follow", {"from": 6})
        client.followed()
        client.ask("POST", "/api/export", {"kind": kind})
        export = client.exported()
        assert (export["state"], export["same"], export["why"]) == ("done", True, "")
        made = Path(export["path"])
        written = run_of(clip, made.parent / "keyframes.mavosmasks", kind, Part(start=2))
        status, _, content = client.send("GET", export["download"])
    assert status == 200
    if made.is_dir():
        names = sorted(path.name for path in written.iterdir())
        assert names == [f"{n:05d}.png" for n in range(2, COUNT)]
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            assert all(packed.read(n) == (written / n).read_bytes() for n in names)
    else:
        assert content == written.read_bytes()


@pytest.mark.parametrize("kind", ["overlay", "store"])
def test_an_export_of_both_ways_and_corrections_is_what_one_run_writes(
    clip: Path, kind: str
) -> None:
    with served(clip) as client:
        begun(client, 4)
        client.ask("POST", "/api/follow", {"from": 4, "direction": "both"})
        client.followed()
        client.ask("POST", "/api/objects", {})
        client.put(7, np.where(square(2, 40) > 0, 2, client.mask(7)).astype(np.uint8), [2])
        client.ask("POST", "/api/follow", {"from": 7, "until": 9})
        client.followed()
        assert client.ask("POST", "/api/export/command", {"kind": kind})["same"] is False
        client.ask("POST", "/api/follow", {"from": 9})
        client.followed()
        assert set(np.unique(client.mask(11))) == {0, 1, 2}
        client.ask("POST", "/api/export", {"kind": kind})
        export = client.exported()
        assert (export["state"], export["why"]) == ("done", "")
        assert "--direction both" in export["command"]
        made = Path(export["path"])
    keys = made.parent / "keyframes.mavosmasks"
    written = run_of(clip, keys, kind, passes=Passes(Direction.BOTH))
    assert made.read_bytes() == written.read_bytes()


@pytest.mark.parametrize("kind", ["confidence", "events", "report"])
def test_what_to_look_at_is_written_too(clip: Path, kind: str) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        client.ask("POST", "/api/export", {"kind": kind})
        export = client.exported()
    assert (export["state"], export["same"]) == ("done", kind == "events")
    content = Path(export["path"]).read_text(encoding="utf-8")
    if kind == "confidence":
        assert len(content.splitlines()) >= COUNT
    if kind == "report":
        assert "mavos-studio" in content
    if kind == "events":
        written = run_of(clip, Path(export["path"]).parent / "keyframes.mavosmasks", kind)
        assert content == written.read_text(encoding="utf-8")


def test_results_are_listed_by_the_next_server(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/export", {"kind": "store"})
        done = client.exported()
    with served(clip) as client:
        assert client.project["exports"] == [done]
        assert client.send("GET", done["download"])[0] == 200
        client.ask("POST", "/api/export", {"kind": "store"})
        assert client.exported()["id"] == done["id"] + 1
        Path(done["path"]).unlink()
        said = client.ask("GET", done["download"], status=400)
        assert "is not there any more; export it again" in said["error"]
    with served(clip) as client:
        assert [export["id"] for export in client.project["exports"]] == [done["id"] + 1]


def test_an_export_that_no_single_run_makes_says_why(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        client.put(5, square(1, 40), [1])
        found = client.ask("POST", "/api/export/command", {"kind": "overlay"})
        assert found["same"] is False
        assert "frame 5" in found["why"]
        client.ask("POST", "/api/follow", {"from": 5})
        client.followed()
        assert client.ask("POST", "/api/export/command", {"kind": "overlay"})["same"]
        client.ask("POST", "/api/objects", {})
        client.ask("DELETE", "/api/objects/1")
        found = client.ask("POST", "/api/export/command", {"kind": "overlay"})
        assert found["same"] is False
        assert "an object was deleted" in found["why"]


def test_an_export_of_frames_before_the_first_keyframe_has_a_command_that_works(clip: Path) -> None:
    with served(clip) as client:
        begun(client, 6)
        client.ask("POST", "/api/follow", {"from": 6, "direction": "backward"})
        client.followed()
        client.ask("POST", "/api/export", {"kind": "store", "start": 1, "end": 3})
        export = client.exported()
        assert (export["state"], export["same"]) == ("done", False)
        assert "--direction both --start 1 --end 6" in export["command"]
        assert "first keyframe, frame 6" in export["why"]
        made = Path(export["path"])
    keys = made.parent / "keyframes.mavosmasks"
    written = run_of(clip, keys, "store", Part(1, 6), passes=Passes(Direction.BOTH))
    with MaskStore(made) as own, MaskStore(written) as other:
        assert own.numbers == (1, 2, 3)
        assert all(np.array_equal(labels, other[number]) for number, labels in own.items())


@pytest.mark.parametrize("kind", ["store", "overlay"])
def test_an_export_of_some_objects_and_frames_is_what_a_run_of_them_writes(
    tmp_path: Path, kind: str
) -> None:
    clip = video(tmp_path / "clip.mp4", sound_seconds=1)
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/objects", {})
        client.put(0, square(2, 40), [2])
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        client.ask("POST", "/api/export", {"kind": kind, "objects": [2], "start": 3, "end": 7})
        export = client.exported()
        assert (export["state"], export["same"]) == ("done", True)
        assert "--end 7 --write-from 3 --objects 2" in export["command"]
        made = Path(export["path"])
        taken = Taken(frozenset({2}), 3)
        keys = made.parent / "keyframes.mavosmasks"
        assert made.read_bytes() == run_of(clip, keys, kind, Part(end=7), taken).read_bytes()
    if kind == "store":
        with MaskStore(made) as store:
            assert store.numbers == (3, 4, 5, 6, 7)
            assert all(set(np.unique(labels)) <= {0, 2} for _, labels in store.items())
            assert any(labels.any() for _, labels in store.items())


def test_a_deleted_object_leaves_all_masks_and_comes_back(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        made = client.mask(8)
        client.ask("DELETE", "/api/objects/1")
        assert not client.mask(8).any()
        assert client.ask("POST", "/api/objects", {})["id"] == 2
        client.ask("POST", "/api/undo", {})
        client.ask("POST", "/api/undo", {})
        assert np.array_equal(client.mask(8), made)


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


def test_masks_are_copied_imported_and_dropped(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(square(3)).save(path)
    with served(clip) as client:
        name = {"x-file-name": "m%C3%A4sk.png"}
        status, _, content = client.send("POST", "/api/masks/4/import", path.read_bytes(), name)
        assert status == 200, content
        assert json.loads(content)["frames"] == [4]
        assert [thing["id"] for thing in client.project["objects"]] == [3]
        client.ask("POST", "/api/masks/5/copy", {"from": 4, "base": 0})
        assert np.array_equal(client.mask(5), square(3))
        client.ask("DELETE", "/api/keyframes/4")
        assert client.project["keyframes"] == [5]
        status, _, content = client.send("POST", "/api/masks/4/import", b"no picture", name)
        assert status == 400
        assert json.loads(content)["error"].startswith("mäsk.png: not a readable picture")


def test_a_mask_that_is_not_there_is_not_taken_away(clip: Path) -> None:
    with served(clip) as client:
        said = client.ask("DELETE", "/api/keyframes/3", status=400)
        assert said["error"] == "frame 3 has no mask that could be taken away"
        assert client.project["undo"] is None


def test_following_waits_goes_on_and_stops_at_once(clip: Path) -> None:
    with served(clip, stand_in(SlowSegmenter(0.05))) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        said = client.ask("POST", "/api/follow", {"from": 0}, 409)
        assert "already" in said["error"]
        client.wait(lambda project: project["following"]["done"] >= 2)
        client.ask("POST", "/api/follow/pause")
        time.sleep(0.15)
        done = client.project["following"]["done"]
        time.sleep(0.15)
        project = client.project
        assert project["following"]["state"] == "paused"
        assert project["following"]["done"] == done
        client.ask("POST", "/api/follow/resume")
        client.wait(lambda project: project["following"]["done"] > done)
        assert client.ask("POST", "/api/follow/stop")["state"] == "idle"
        reached = client.project["masks"][-1][1]
        assert reached < COUNT - 1
        client.ask("POST", "/api/follow", {"from": reached})
        assert client.followed()["masks"] == [[0, COUNT - 1]]
        whole = [client.mask(n) for n in range(COUNT)]
    with served(clip, folder=clip.parent / "other") as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.followed()
        assert all(np.array_equal(client.mask(n), whole[n]) for n in range(COUNT))


def test_an_edit_ends_following(clip: Path) -> None:
    with served(clip, stand_in(SlowSegmenter(0.05))) as client:
        begun(client)
        client.ask("POST", "/api/follow", {"from": 0})
        client.wait(lambda project: project["following"]["done"] >= 2)
        client.put(1, square(1, 40), [1])
        project = client.project
        assert project["following"]["state"] == "idle"
        assert project["undo"] == "the mask of frame 1"


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


def test_two_servers_do_not_open_one_project(clip: Path) -> None:
    words = r"clip.mavos is open already: process"
    with served(clip), pytest.raises(InputError, match=words), served(clip):
        pass


def test_a_full_disk_is_said_and_loses_nothing(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = StoreWriter.write
    full = False

    def filled(self: StoreWriter, frame: LabelledFrame) -> None:
        if full:
            self._file.write(b"torn")  # a part of a record reaches the disk
            self._file.flush()
            raise InputError("cannot write masks.mavosmasks: the disk is full")
        write(self, frame)

    monkeypatch.setattr(StoreWriter, "write", filled)
    with served(clip) as client:
        begun(client)
        full = True
        assert "the disk is full" in client.put(1, square(), [1], status=507)["error"]
        client.ask("POST", "/api/follow", {"from": 0})
        project = client.followed()
        assert "the disk is full" in project["following"]["message"]
        assert project["masks"] == [[0, 0]]
        full = False
        client.put(1, square(1, 20), [1])
        assert np.array_equal(client.mask(0), square())
        assert np.array_equal(client.mask(1), square(1, 20))
    with served(clip) as client:
        assert client.project["masks"] == [[0, 1]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"{", "is not valid JSON", id="no-json"),
        pytest.param({"from": -1}, "`from`", id="negative"),
        pytest.param({"from": 0, "direction": "up"}, "`direction`", id="direction"),
        pytest.param({"from": 99}, "no frame 99", id="beyond"),
        pytest.param({"from": 0}, "frame 0 has no mask", id="no-mask"),
        pytest.param({"from": 0, "direction": "both", "until": 3}, "two ends", id="both-until"),
    ],
)
def test_unusable_requests_are_refused_with_a_message(clip: Path, body: Any, words: str) -> None:  # noqa: ANN401
    with served(clip) as client:
        assert words in client.ask("POST", "/api/follow", body, 400)["error"]


def test_masks_of_another_size_or_object_are_refused(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        small = np.zeros((4, 4), np.uint8)
        assert "4x4" in client.put(0, small, [1], 400)["error"]
        assert "no object 7" in client.put(0, square(7), [7], 400)["error"]
        short = {**wire.runs_as_json(square()), "base": 1, "objects": [1], "lengths": [1]}
        assert "do not fill" in client.ask("PUT", "/api/masks/0", short, 400)["error"]
