"""`mavos-run --write` writes any number of results in one pass, and `--resume` continues them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from pycocotools.coco import COCO

from mavos_deploy.runtime.masks.formats.store import MaskStore
from mavos_deploy.runtime.masks.opening import open_label_maps

Call = Callable[..., subprocess.CompletedProcess[str]]
RESULTS = ("palette", "coco", "store", "cutouts", "overlay", "matte")


def _frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_all_results_of_one_pass_show_the_same_masks(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    written = [f"--write={kind}" for kind in RESULTS]
    ended = call("mavos-run", bundle, video.clip, "--masks", video.mask, *written, "--json")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    paths = {entry["kind"]: tmp_path / entry["path"] for entry in document["written"]}
    assert tuple(paths) == RESULTS
    assert document["output"] == "clip-palette"
    masks = {stem: read() for stem, read in open_label_maps(paths["palette"]).frames.items()}
    assert len(masks) == 10
    with MaskStore(paths["store"]) as store:
        assert store.complete
        for number, labels in store.items():
            assert np.array_equal(labels, masks[f"{number:05d}"])
    coco = COCO(str(paths["coco"]))
    for image in coco.dataset["images"]:
        found = np.zeros((64, 96), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
            found[coco.annToMask(annotation) > 0] = annotation["track_id"]
        assert np.array_equal(found, masks[f"{image['frame_index']:05d}"])
    assert _frames_of(paths["overlay"]) == _frames_of(paths["matte"]) == 10
    assert (paths["cutouts"] / "1/00000.png").exists()


def test_palette_pngs_are_left_out_where_other_results_are_wanted(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    ended = call(
        "mavos-run",
        bundle,
        video.clip,
        "--masks",
        video.mask,
        "--max-frames=2",
        "--write=mots=a b.txt",
    )
    assert ended.returncode == 0
    assert ended.stdout.startswith("2 masks of 2 objects in a b.txt, ")
    assert [path.name for path in tmp_path.iterdir()] == ["a b.txt"]


def test_a_run_goes_on_and_its_results_are_those_of_one_run(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    arguments = ("mavos-run", bundle, video.frames, "--masks", video.truth, "--json")
    folders = {}
    for name, runs in (("whole", [()]), ("parts", [("--max-frames=7",), ()])):
        folders[name] = tmp_path / name
        written = [
            f"--write={kind}={name}/r{ending}"
            for kind, ending in (("palette", ""), ("coco", ".json"), ("overlay", ".mp4"))
        ]
        resume = ["--resume", "--save-every=3"] if name == "parts" else []
        for more in runs:
            ended = call(*arguments, *written, *resume, *more)
            assert ended.returncode == 0, ended.stderr
    assert "going on after 7 frames that parts/r.resume has" in ended.stderr
    document = json.loads(ended.stdout)
    assert (document["frames"], document["resumed"]) == (10, 7)
    assert document["objects"] == [1, 2, 3]
    for file in folders["whole"].rglob("*"):
        if file.is_file():
            other = folders["parts"] / file.relative_to(folders["whole"])
            assert other.read_bytes() == file.read_bytes(), file


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("--write=x",), "--write x: 'x' is unknown; accepted are palette", id="kind"),
        pytest.param(("--write=coco", "--write=coco"), "both be written to clip-coco", id="twice"),
        pytest.param(("--save-every=5",), "--save-every is for --resume; add that", id="alone"),
        pytest.param(
            ("--resume", "--direction=both"), "--resume continues runs that go forward", id="back"
        ),
        pytest.param(
            ("--fuse=blend", "--direction=forward"), "nothing for --fuse blend to fuse", id="fuse"
        ),
    ],
)
def test_results_that_make_no_sense_are_refused(
    refused: Callable[..., str],
    hollow: Path,
    video: SimpleNamespace,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    assert said in refused("mavos-run", hollow, video.clip, "--masks", video.mask, *arguments)


def test_without_a_saved_run_resume_replaces_nothing(
    refused: Callable[..., str], hollow: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"somebody's film")
    said = refused(
        *("mavos-run", hollow, video.clip, "--masks", video.mask),
        *("--overlay=a.mp4", "--resume"),
    )
    assert "a.mp4 exists; pass --overwrite to replace it" in said


def test_a_server_keeps_the_state_so_that_no_run_is_saved(
    refused: Callable[..., str], video: SimpleNamespace
) -> None:
    said = refused(
        "mavos-run", "--server=localhost:1", video.clip, "--masks", video.mask, "--resume"
    )
    assert "--resume needs the state of the video, which a server keeps" in said
