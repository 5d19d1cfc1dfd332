"""Sequences that go forward and backward."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples import make_ping_pong
from tests.made_sequences import write_clips


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["make_ping_pong.py", *map(str, arguments)])
    return make_ping_pong.main()


def test_frames_and_masks_turn_at_the_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_clips(tmp_path / "data", ["first", "second"], (64, 96), 4)
    output = tmp_path / "long"
    wanted = ("--sequences", "second", "--frames", "9", "--output", output)
    assert run(monkeypatch, source, *wanted) == 0
    assert (output / "ImageSets/2017/val.txt").read_text() == "second\n"
    order = [0, 1, 2, 3, 2, 1, 0, 1, 2]
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        short = sorted((source / kind / "480p/second").iterdir())
        long = sorted((output / kind / "480p/second").iterdir())
        assert [path.name for path in long] == [f"{n:05d}.{suffix}" for n in range(9)]
        for path, number in zip(long, order, strict=True):
            assert np.array_equal(
                np.asarray(Image.open(path)), np.asarray(Image.open(short[number]))
            )


def test_an_unknown_sequence_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clips(tmp_path / "data", ["first"], (64, 96), 4)
    assert run(monkeypatch, source, "--sequences", "third", "--output", tmp_path / "long") == 2
    assert "has no sequence third" in capsys.readouterr().err
    assert not (tmp_path / "long").exists()
