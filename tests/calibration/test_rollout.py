"""Clips are read as the masks ask for it, and it is said how."""

from pathlib import Path

from PIL import Image

from mavos_deploy.calibration.rollout import frames_of
from mavos_deploy.runtime.datasets.opening import open_dataset
from tests.made_sequences import write_clips


def test_it_is_told_how_annotations_were_read(tmp_path: Path) -> None:
    folder = write_clips(tmp_path / "DAVIS", ["plain", "binary"], (64, 96), 2)
    for file in (folder / "Annotations/480p/binary").iterdir():
        Image.open(file).point(lambda value: 255 * (value > 0), "L").save(file)
    notes: dict[str, list[str]] = {}
    for clip in open_dataset(folder).sequences:
        assert len(list(frames_of(clip, (65, 97), 2, notes))) == 2
    assert notes == {"plain": [], "binary": ["annotations are 0 and 255: object 1"]}
