"""Changes of masks and objects through the server of mavos-studio, each a step that is kept."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.formats.store import StoreWriter
from mavos_deploy.runtime.masks.writing import LabelledFrame
from mavos_deploy.runtime.studio import wire
from tests.made_videos import HEIGHT, WIDTH
from tests.studio_server import Client, begun, served, square


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


def test_objects_of_a_file_without_a_pixel_are_told_apart(clip: Path) -> None:
    def shape(label: str, left: int) -> dict[str, object]:
        points = [[left, 8], [left + 16, 8], [left + 16, 24], [left, 24]]
        return {"label": label, "shape_type": "polygon", "points": points}

    shapes = [shape("below", 10), shape("above", 10), shape("outside", 3 * WIDTH)]
    made = {"shapes": shapes, "imageHeight": HEIGHT, "imageWidth": WIDTH, "imagePath": "0.png"}
    with served(clip) as client:
        name = {"x-file-name": "mask.json"}
        content = json.dumps(made).encode()
        status, _, said = client.send("POST", "/api/masks/4/import", content, name)
        assert status == 200, said
        answer = json.loads(said)
        assert [("has no pixel" in line) for line in answer["lost"]] == [True, True]
        assert not any("has no pixel" in line for line in answer["notes"])


def test_a_mask_that_is_not_there_is_not_taken_away(clip: Path) -> None:
    with served(clip) as client:
        said = client.ask("DELETE", "/api/keyframes/3", status=400)
        assert said["error"] == "frame 3 has no mask that could be taken away"
        assert client.project["undo"] is None


def test_masks_of_another_size_or_object_are_refused(clip: Path) -> None:
    with served(clip) as client:
        begun(client)
        small = np.zeros((4, 4), np.uint8)
        assert "4x4" in client.put(0, small, [1], 400)["error"]
        assert "no object 7" in client.put(0, square(7), [7], 400)["error"]
        short = {**wire.runs_as_json(square()), "base": 1, "objects": [1], "lengths": [1]}
        assert "do not fill" in client.ask("PUT", "/api/masks/0", short, 400)["error"]


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
