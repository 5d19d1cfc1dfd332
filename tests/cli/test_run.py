"""`mavos-run` writes whole masks with the ids it was given, and one JSON document if asked."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.masks.png import write_mask

Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]

SCRIPTS = Path(sys.executable).parent


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _confidence(path: Path) -> dict[tuple[int, int], dict[str, str]]:
    with path.open(newline="") as file:
        return {(int(row["frame"]), int(row["object"])): row for row in csv.DictReader(file)}


def _start(*arguments: str | Path, cwd: Path, limit: int | None = None) -> subprocess.Popen[str]:
    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background shell ignores it
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [SCRIPTS / str(arguments[0]), *arguments[1:]],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,  # noqa: PLW1509  # no thread of the test runs yet
    )


def _finished(process: subprocess.Popen[str]) -> Ended:
    said, complained = process.communicate(timeout=100)
    return Ended(process.args, process.returncode, said, complained)


def _frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_video_becomes_masks_an_overlay_and_one_json_document(
    bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    ended = _finished(
        _start(
            "mavos-run",
            bundle,
            video.clip,
            "--masks",
            video.mask,
            "--output",
            "masks",
            "--overlay",
            "over lay.mp4",
            "--json",
            cwd=tmp_path,
        )
    )
    assert ended.returncode == 0
    summary = json.loads(ended.stdout)
    assert summary["output"] == "masks"
    assert summary["frames"] == 10
    assert summary["objects"] == [1, 2]
    assert summary["trained"] is False
    assert summary["interrupted"] is False
    assert ended.stderr.count("UNTRAINED WEIGHTS") == 1
    assert len(ended.stderr.splitlines()) == 1
    assert _names(tmp_path / "masks") == [f"{index:05d}.png" for index in range(10)]
    assert _names(tmp_path) == ["masks", "over lay.mp4"]
    assert _frames_of(tmp_path / "over lay.mp4") == 10
    first = read_mask(tmp_path / "masks/00000.png")
    assert np.array_equal(first.labels, read_mask(video.mask).labels)


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_untrained_weights_are_named_once_even_if_nothing_else_is(
    call: Call, bundle: Path, video: SimpleNamespace, option: str
) -> None:
    ended = call(
        "mavos-run", bundle, video.frames, "--masks", video.mask, "--max-frames", "2", option
    )
    assert ended.returncode == 0
    assert ended.stderr.count("UNTRAINED WEIGHTS") == 1
    assert len(ended.stderr.splitlines()) == 1
    assert (ended.stdout == "") == (option == "--quiet")


@pytest.mark.parametrize("source", ["frames", "clip"])
def test_every_second_frame_keeps_its_number(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path, source: str
) -> None:
    ended = call(
        "mavos-run",
        bundle,
        getattr(video, source),
        "--masks",
        video.mask,
        "--every",
        "2",
        "--max-frames",
        "3",
    )
    assert ended.returncode == 0
    assert _names(tmp_path / f"{source}-masks") == ["00000.png", "00002.png", "00004.png"]


def test_a_later_mask_adds_an_object(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    masks = tmp_path / "given"
    masks.mkdir()
    (masks / "00000.png").write_bytes(video.mask.read_bytes())
    (masks / "00005.png").write_bytes((video.truth / "00005.png").read_bytes())
    ended = call("mavos-run", bundle, video.frames, "--masks", masks, "--json", "--output", "o")
    assert ended.returncode == 0
    summary = json.loads(ended.stdout)
    assert summary["objects"] == [1, 2, 3]
    assert summary["added"] == {"3": "00005"}
    assert 3 not in read_mask(tmp_path / "o/00004.png").labels
    assert 3 in read_mask(tmp_path / "o/00005.png").labels


def test_true_masks_of_all_frames_are_the_results_and_it_is_said(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    ended = call(
        "mavos-run", bundle, video.frames, "--max-frames", "4", "--masks", video.truth,
        "--output", "given",
    )  # fmt: skip
    assert ended.returncode == 0
    assert "warning: 3 later masks correct objects: those of all frames" in ended.stderr
    for index in range(4):
        name = f"{index:05d}.png"
        found, truth = (
            read_mask(folder / name).labels for folder in (tmp_path / "given", video.truth)
        )
        assert np.array_equal(found, truth)


def test_a_later_mask_of_a_known_object_corrects_it_and_no_other(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    arguments = ("mavos-run", bundle, video.frames, "--max-frames", "6", "--masks")
    assert call(*arguments, video.mask, "--output", "alone").returncode == 0
    given = tmp_path / "given"
    given.mkdir()
    (given / "00000.png").write_bytes(video.mask.read_bytes())
    correction = np.zeros_like(read_mask(video.mask).labels)
    correction[:5, :7] = 1
    write_mask(given / "00003.png", correction)
    ended = call(*arguments, given, "--output", "corrected", "--json")
    assert ended.returncode == 0
    summary = json.loads(ended.stdout)
    assert summary["corrected"] == ["00003"]
    assert summary["objects"] == [1, 2]
    assert "1 later mask corrects objects: 00003" in ended.stderr
    for index in range(3):
        name = f"{index:05d}.png"
        assert (tmp_path / "alone" / name).read_bytes() == (
            tmp_path / "corrected" / name
        ).read_bytes()
    before, after = (
        read_mask(tmp_path / folder / "00003.png").labels for folder in ("alone", "corrected")
    )
    assert np.array_equal(after == 1, correction == 1)
    outside = (correction == 0) & (before != 1)
    assert np.array_equal(after[outside], before[outside])


def test_a_video_starts_at_its_first_mask_which_may_be_in_the_middle(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "00005.png").write_bytes((video.truth / "00005.png").read_bytes())
    ended = call("mavos-run", bundle, video.frames, "--masks", given, "--output", "o")
    assert ended.returncode == 0
    assert _names(tmp_path / "o") == [f"{index:05d}.png" for index in range(5, 10)]
    assert "the 5 frames before it are left out; --direction both segments" in ended.stderr


def test_backward_is_forward_through_the_reversed_frames(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    for name in ("reversed", "own", "turned"):
        (tmp_path / name).mkdir()
    for file in video.frames.iterdir():
        (tmp_path / f"reversed/{9 - int(file.stem):05d}{file.suffix}").write_bytes(
            file.read_bytes()
        )
    for index in (9, 5):
        mask = (video.truth / f"{index:05d}.png").read_bytes()
        (tmp_path / f"own/{index:05d}.png").write_bytes(mask)
        (tmp_path / f"turned/{9 - index:05d}.png").write_bytes(mask)
    back = call(
        "mavos-run", bundle, video.frames, "--masks", "own", "--direction", "backward",
        "--output", "back",
    )  # fmt: skip
    forth = call("mavos-run", bundle, "reversed", "--masks", "turned", "--output", "forth")
    assert back.returncode == forth.returncode == 0
    for index in range(10):
        found = read_mask(tmp_path / f"back/{index:05d}.png").labels
        expected = read_mask(tmp_path / f"forth/{9 - index:05d}.png").labels
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("options", "frames", "said"),
    [
        pytest.param(("--direction", "both"), range(10), "", id="both"),
        pytest.param(
            ("--direction", "backward"), range(9), "1 frame behind it is left out", id="backward"
        ),
        pytest.param(("--fuse", "nearest"), range(10), "", id="nearest"),
        pytest.param(("--fuse", "blend"), range(10), "", id="blend"),
    ],
)
def test_keyframes_are_kept_whichever_way_the_passes_go(
    call: Call,
    bundle: Path,
    video: SimpleNamespace,
    tmp_path: Path,
    options: tuple[str, ...],
    frames: range,
    said: str,
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for index in (5, 8):
        (given / f"{index:05d}.png").write_bytes((video.truth / f"{index:05d}.png").read_bytes())
    ended = call(
        "mavos-run", bundle, video.clip, "--masks", given, "--output", "o",
        "--write=confidence=c.csv", *options,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert said in ended.stderr
    told = _confidence(tmp_path / "c.csv")
    assert {frame for frame, _ in told} == set(frames)
    assert all(0 <= float(row["confidence"]) <= 1 for row in told.values())
    assert _names(tmp_path / "o") == [f"{index:05d}.png" for index in frames]
    for index in (5, 8):
        truth = read_mask(given / f"{index:05d}.png").labels
        found = read_mask(tmp_path / f"o/{index:05d}.png").labels
        assert np.array_equal(found[truth > 0], truth[truth > 0])
        assert {told[index, own]["confidence"] for own in np.unique(truth) if own} == {"1.0000"}


def test_a_check_backward_changes_no_mask(
    call: Call, tiny_bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    for name, options in (("plain", ()), ("checked", ("--check", "4"))):
        ended = call(
            "mavos-run", tiny_bundle, video.clip, "--masks", video.mask, "--output", name,
            "--fit=stretch", f"--write=confidence={name}.csv", *options,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
    assert _names(tmp_path / "plain") == [f"{index:05d}.png" for index in range(10)]
    for file in (tmp_path / "plain").iterdir():
        assert file.read_bytes() == (tmp_path / "checked" / file.name).read_bytes()
    plain, checked = (_confidence(tmp_path / f"{name}.csv") for name in ("plain", "checked"))
    overlaps = {place: row.pop("check") for place, row in checked.items()}
    assert checked == plain
    assert {frame for (frame, _), value in overlaps.items() if value} == {4, 8, 9}
    found = [float(value) for value in overlaps.values() if value]
    assert all(0 <= value <= 1 for value in found)
    assert max(found) > 0.5


def test_masks_beyond_the_last_frame_are_counted_and_named(
    call: Call, bundle: Path, video: SimpleNamespace
) -> None:
    ended = call("mavos-run", bundle, video.frames, "--masks", video.truth, "--max-frames", "2")
    assert ended.returncode == 0
    assert "8 masks belong to no frame of this run: 00002.png, " in ended.stderr


def test_an_object_that_another_one_covers_is_named_in_a_warning(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    whole = (read_mask(video.mask).labels > 0).astype(np.uint8)
    for number, labels in ((1, whole), (2, np.where(whole.cumsum(1) < 9, whole, 0))):
        (tmp_path / f"each/{number}").mkdir(parents=True)
        write_mask(tmp_path / f"each/{number}/00000.png", labels.astype(np.uint8))
    ended = call("mavos-run", bundle, video.frames, "--masks", "each", "--max-frames", "1")
    assert ended.returncode == 0
    assert "warning: object 2 has no pixel left in frame 00000: object 1 lies over" in ended.stderr


def test_ids_with_gaps_are_kept(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    labels = read_mask(video.mask).labels
    table = np.zeros(256, np.uint8)
    table[[1, 2]] = [7, 200]
    write_mask(tmp_path / "gaps.png", table[labels])
    ended = call(
        "mavos-run", bundle, video.frames, "--masks", "gaps.png", "--json", "--output", "o"
    )
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["objects"] == [7, 200]
    for path in (tmp_path / "o").iterdir():
        assert set(np.unique(read_mask(path).labels)) <= {0, 7, 200}


def test_a_video_of_another_shape_runs_if_distortion_is_accepted(
    call: Call, bundle: Path, encode: Callable[..., None], tmp_path: Path
) -> None:
    encode(tmp_path / "wide.mp4", np.full((3, 32, 96, 3), 90, np.uint8))
    labels = np.zeros((32, 96), np.uint8)
    labels[8:24, 8:40] = 1
    write_mask(tmp_path / "first.png", labels)
    ended = call(
        "mavos-run", bundle, "wide.mp4", "--masks", "first.png", "--fit", "stretch", "--output", "o"
    )
    assert ended.returncode == 0
    assert Image.open(tmp_path / "o/00002.png").size == (96, 32)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("two  spaces", id="two-spaces"),
        pytest.param("[bold]x", id="markup"),
        pytest.param("a:smile:b", id="emoji"),
        pytest.param("Łódź 視頻", id="unicode"),
        pytest.param("50%d", id="percent"),
        pytest.param("-leading", id="leading-dash"),
        pytest.param("a:b", id="colon"),
    ],
)
def test_names_of_files_come_through_unchanged(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / f"{name}.mp4").write_bytes(video.clip.read_bytes())
    (tmp_path / name / f"{name}.png").write_bytes(video.mask.read_bytes())
    masks = tmp_path / name / f"{name}.png"
    ended = call(
        "mavos-run",
        "--max-frames",
        "2",
        f"--masks={masks}",
        f"--output={name}/out {name}",
        f"--overlay={name}/{name}-overlay.mp4",
        "--",
        bundle,
        f"{name}/{name}.mp4",
    )
    assert ended.returncode == 0, ended.stderr
    assert f"2 masks of 2 objects in {name}/out {name} and {name}/{name}-overlay.mp4" in (
        ended.stdout
    )
    assert _names(tmp_path / name / f"out {name}") == ["00000.png", "00001.png"]
    assert _frames_of(tmp_path / name / f"{name}-overlay.mp4") == 2


def test_a_name_that_is_no_text_does_not_end_the_run_in_an_error(
    bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    command = [SCRIPTS / "mavos-run", bundle, video.frames, "--masks", video.mask, "--output"]
    ended = subprocess.run(
        [*map(os.fsencode, command), b"o\xff", b"--max-frames", b"1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert ended.returncode == 0, ended.stderr
    assert "1 mask of 2 objects in o" in ended.stdout


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_run_that_is_stopped_leaves_whole_files(
    bundle: Path, video: SimpleNamespace, tmp_path: Path, stop: signal.Signals
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(3000):
        os.link(video.frames / f"{index % 10:05d}.png", frames / f"{index:05d}.png")
    process = _start(
        "mavos-run",
        bundle,
        frames,
        "--masks",
        video.mask,
        "--output",
        "masks",
        "--overlay",
        "overlay.mp4",
        "--json",
        cwd=tmp_path,
    )
    while not (tmp_path / "masks/00005.png").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(stop)
    ended = _finished(process)
    assert ended.returncode == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    assert json.loads(ended.stdout)["interrupted"] is True
    assert _names(tmp_path) == ["frames", "masks", "overlay.mp4"]
    names = _names(tmp_path / "masks")
    assert 6 <= len(names) < 3000
    assert names == [f"{index:05d}.png" for index in range(len(names))]
    for name in names:
        assert read_mask(tmp_path / "masks" / name).labels.shape == (64, 96)
    assert _frames_of(tmp_path / "overlay.mp4") in (len(names), len(names) - 1)


@pytest.mark.parametrize(
    ("limit", "file", "kept"),
    [
        pytest.param(500, "masks/00000.png", 0, id="no-room-for-a-mask"),
        pytest.param(3000, "overlay.mp4", 10, id="no-room-for-the-overlay"),
    ],
)
def test_a_full_disk_is_named_and_leaves_whole_files(
    bundle: Path,
    video: SimpleNamespace,
    tmp_path: Path,
    one_line: Callable[[Ended, str], str],
    limit: int,
    file: str,
    kept: int,
) -> None:
    ended = _finished(
        _start(
            "mavos-run",
            bundle,
            video.clip,
            "--masks",
            video.mask,
            "--output",
            "masks",
            "--overlay",
            "overlay.mp4",
            cwd=tmp_path,
            limit=limit,
        )
    )
    said = one_line(ended, "mavos-run")
    assert said.startswith(f"cannot write {file}: ")
    assert said.endswith(f"; {kept} masks are whole and kept") == (kept > 0)
    assert _names(tmp_path) == ["masks"]
    assert _names(tmp_path / "masks") == [f"{index:05d}.png" for index in range(kept)]


def test_overwrite_replaces_the_masks_and_the_overlay(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    arguments = (
        "mavos-run",
        bundle,
        video.frames,
        "--masks",
        video.mask,
        "--output",
        "o",
        "--overlay",
        "o/seen.mp4",
    )
    assert call(*arguments).returncode == 0
    again = call(*arguments, "--overwrite", "--max-frames", "2")
    assert again.returncode == 0
    assert _names(tmp_path / "o") == ["00000.png", "00001.png", "seen.mp4"]


def test_a_run_needs_no_torch(bundle: Path, video: SimpleNamespace, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\nfrom mavos_deploy.cli.run import main\nmain()"
    )
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            bundle,
            video.frames,
            "--masks",
            video.mask,
            "--max-frames",
            "2",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "option",
    ["--dataset", "--layout", "--split", "--sequences", "--workers", "--shard", "--ray"],
)
def test_options_of_a_data_set_are_unknown(
    call: Call, bundle: Path, video: SimpleNamespace, option: str
) -> None:
    ended = call("mavos-run", bundle, video.frames, "--masks", video.mask, option, "val")
    assert ended.returncode == 2
    assert f"No such option: {option}" in ended.stderr


def test_masks_are_needed(call: Call, bundle: Path, video: SimpleNamespace) -> None:
    ended = call("mavos-run", bundle, video.frames)
    assert ended.returncode == 2
    assert "--masks is missing; give the first frame's mask or a folder of masks" in ended.stderr
