"""Every row of the table opens a writer, which takes frames and leaves what the row promises."""

from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.media.outputs import Outputs, parse_wanted
from mavos_deploy.runtime.media.results import RESULTS, Place, Target
from tests.made_clips import synthetic_clip


@pytest.mark.parametrize("name", RESULTS)
def test_a_kind_writes_files_that_it_knows_as_its_own(tmp_path: Path, name: str) -> None:
    kind = RESULTS[name]
    clip = synthetic_clip(65, 97, 3, objects=2, seed=0)
    for option in ("", *kind.options):
        ending = kind.suffix if kind.place is Place.FILE else ""
        where = tmp_path / f"{option or 'default'}{ending}"
        words = f"{name}:{option}" if option else name
        wanted = parse_wanted(f"{words}={where}", "unused")
        with Outputs([wanted], overwrite=False).open(Target(Legend(), (65, 97))) as files:
            for number, (rgb, labels) in enumerate(zip(clip.frames, clip.labels, strict=True)):
                files.write(LabelledFrame(number, f"{number:05d}", labels, rgb))
        assert where.is_dir() == (kind.place is not Place.FILE)
        written = [where] if where.is_file() else [f for f in where.rglob("*") if f.is_file()]
        assert written
        for file in written:
            assert file.suffix == kind.suffix
            assert kind.owns(file)
        Outputs([wanted], overwrite=True).make().close()
        assert where.is_file() or kind.place is Place.BESIDE or not any(where.iterdir())


def test_a_kind_that_needs_no_pictures_takes_frames_without(tmp_path: Path) -> None:
    labels = np.ones((4, 5), np.uint8)
    for name, kind in RESULTS.items():
        if not kind.pictures:
            ending = kind.suffix if kind.place is Place.FILE else ""
            wanted = parse_wanted(f"{name}={tmp_path / name}{ending}", "unused")
            with Outputs([wanted], overwrite=False).open(Target(Legend())) as files:
                files.write(LabelledFrame(0, "00000", labels))
