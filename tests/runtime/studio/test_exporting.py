"""Results that mavos-studio writes are those of the command that it shows."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.runtime.masks.formats.store import MaskStore
from mavos_deploy.runtime.masks.source import MaskSource
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.outputs import Outputs, Taken, parse_wanted
from mavos_deploy.runtime.media.part import Part
from mavos_deploy.runtime.media.passes.directions import Direction, Fuse, Passes
from mavos_deploy.runtime.media.video import segment_video
from tests.made_videos import COUNT, video
from tests.stand_in_segmenter import StandInSegmenter
from tests.studio_server import begun, served, square

EVERYTHING, WHOLE = Taken(), Part()


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


@pytest.mark.parametrize("kind", ["overlay", "store"])
def test_an_export_of_frames_from_both_sides_is_what_one_run_fuses(clip: Path, kind: str) -> None:
    fuse = Passes(Direction.BOTH, Fuse.NEAREST)
    with served(clip) as client:
        begun(client, 2)
        client.put(8, square(1, 40), [1])
        client.ask("POST", "/api/follow", {"from": 2})
        client.followed()
        one_way = [client.mask(n) for n in range(2, COUNT)]
        client.ask("POST", "/api/follow", {"from": 2, "fuse": "nearest"})
        assert client.followed()["undo"].startswith("following from keyframes on both sides")
        both = [client.mask(n) for n in range(2, COUNT)]
        differ = [n for n in range(2, COUNT) if not np.array_equal(one_way[n - 2], both[n - 2])]
        assert differ == [6, 7]  # nearer to the later keyframe
        client.ask("POST", "/api/export", {"kind": kind})
        after = client.exported()
        inside = client.ask("POST", "/api/export/command", {"kind": kind, "end": 5})
        client.ask("POST", "/api/follow", {"from": 2, "direction": "backward"})
        client.followed()
        client.ask("POST", "/api/export", {"kind": kind})
        whole = client.exported()
        confidence = client.ask("GET", "/api/confidence")["objects"]["1"]
    assert "--end 8" in inside["command"]
    assert "up to the next keyframe, frame 8" in inside["why"]
    assert [n for n in range(COUNT) if confidence[n] is None] == [2]
    for export, part in ((after, Part(start=2)), (whole, WHOLE)):
        assert (export["state"], export["why"]) == ("done", "")
        assert "--fuse nearest" in export["command"]
        made = Path(export["path"])
        keys = made.parent / "keyframes.mavosmasks"
        written = run_of(clip, keys, kind, part, passes=fuse)
        assert made.read_bytes() == written.read_bytes()
        written.unlink()


def test_frames_between_keyframes_that_were_made_in_two_ways_are_told(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        for frame in (4, 8):
            client.put(frame, square(1, 40), [1])
        client.ask("POST", "/api/follow", {"from": 0, "fuse": "nearest"})
        client.followed()
        assert client.ask("POST", "/api/export/command", {"kind": "store"})["same"]
        client.ask("POST", "/api/follow", {"from": 4, "until": 6})
        client.followed()
        found = client.ask("POST", "/api/export/command", {"kind": "store"})
        assert found["same"] is False
        assert "some frames between keyframes were followed from both sides" in found["why"]
        client.ask("POST", "/api/follow", {"from": 0, "fuse": "nearest"})
        client.followed()
        client.put(6, square(1, 20), [1])
        found = client.ask("POST", "/api/export/command", {"kind": "store"})
        assert "without the mask of frame 6" in found["why"]


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
