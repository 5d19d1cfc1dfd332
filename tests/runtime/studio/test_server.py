"""The server of mavos-studio from request to answer, with a segmenter without a network."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.studio import server, wire
from mavos_deploy.runtime.studio.pictures import Pictures
from tests.made_videos import COUNT, HEIGHT, WIDTH
from tests.stand_in_segmenter import StandInSegmenter
from tests.studio_server import PATIENCE, begun, served, square, stand_in


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


def test_a_page_hears_of_the_project_first(clip: Path) -> None:
    with served(clip) as client:
        for _ in range(20):  # while thumbnails are made
            with client.live() as live:
                assert json.loads(live.recv(PATIENCE))["type"] == "project"


def test_two_servers_do_not_open_one_project(clip: Path) -> None:
    words = r"clip.mavos is open already: process"
    with served(clip), pytest.raises(InputError, match=words), served(clip):
        pass


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
