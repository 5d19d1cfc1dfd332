"""The command `mavos-studio` serves a project until it is ended, and refuses unusable input."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from mavos_deploy.cli import studio
from mavos_deploy.cli.console import Console
from mavos_deploy.runtime.studio.guard import Door
from tests.made_videos import HEIGHT, WIDTH, video
from tests.studio_server import Client

Call = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]


def test_a_bundle_alone_is_refused_with_an_example(call: Call) -> None:
    ended = call("mavos-studio", "clip.mp4")
    assert ended.returncode == 2
    assert "got clip.mp4 alone; give BUNDLE and INPUT" in ended.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"no video", "clip.mp4 cannot be opened: not a video", id="no-video"),
        pytest.param(None, "clip.mp4 does not exist", id="missing"),
    ],
)
def test_what_is_no_video_is_refused(
    call: Call, tiny_bundle: Path, tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "clip.mp4").write_bytes(content)
    ended = call("mavos-studio", str(tiny_bundle), "clip.mp4", "--no-browser")
    assert ended.returncode == 2
    assert words in ended.stderr
    assert not (tmp_path / "clip.mavos").exists()


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_an_address_that_others_reach_is_warned_of(
    capfd: pytest.CaptureFixture[str], host: str, warned: bool
) -> None:
    studio._tell(Console(), "http://x/?token=y", Path("clip.mavos"), host)
    said = capfd.readouterr()
    assert said.out.startswith("http://x/?token=y\n")
    assert ("other machines reach this page, unencrypted" in said.err) is warned


@pytest.mark.parametrize(("name", "warned"), [("a.mp4", False), ("b.mp4", True)])
def test_a_project_that_was_made_for_another_name_is_warned_of(
    capfd: pytest.CaptureFixture[str], name: str, warned: bool
) -> None:
    studio._tell_other(Console(), Path("p"), "a.mp4", name)
    told = "p was made for a.mp4, and its masks are shown over b.mp4"
    assert (told in " ".join(capfd.readouterr().err.split())) is warned


def test_a_project_is_made_followed_and_written_as_mavos_run_does(
    call: Call, tiny_bundle: Path, tmp_path: Path
) -> None:
    clip = video(tmp_path / "clip.mp4", coding={"g": "4"})
    script = "from mavos_deploy.cli.studio import main; main()"
    words = [str(tiny_bundle), str(clip), "--no-browser", "--json", "--fit", "stretch"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        address = urlsplit(told["address"])
        token = parse_qs(address.query)["token"][0]
        client = Client(Door("127.0.0.1", address.port or 0, token))
        assert client.project["model"]["trained"] is True
        client.ask("POST", "/api/objects", {})
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[8:24, 10:30] = 1
        client.put(2, labels, [1])
        client.ask("POST", "/api/follow", {"from": 2})
        client.followed()
        client.ask("POST", "/api/export", {"kind": "palette"})
        exports = [client.exported()]
        client.put(9, labels, [1])
        client.ask("POST", "/api/follow", {"from": 2, "fuse": "blend"})
        client.followed()
        client.ask("POST", "/api/export", {"kind": "palette"})
        exports.append(client.exported())
        process.send_signal(signal.SIGINT)
        process.wait(60)
    written, contents = tmp_path / "clip-palette", []
    for export in exports:
        assert export["same"] is True
        command, *rest = export["command"].split()
        assert call(command, *rest).returncode == 0
        made = Path(export["path"])
        names = sorted(path.name for path in made.iterdir())
        assert len(names) == 10
        assert all((written / name).read_bytes() == (made / name).read_bytes() for name in names)
        contents.append([(made / name).read_bytes() for name in names])
        shutil.rmtree(written)
    assert "--fuse blend" in exports[1]["command"]
    assert contents[0] != contents[1]
