"""Files that are cut into pieces come together again as they were, or not at all."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools.pieces import LIST, cut, join

ROOT = Path(__file__).resolve().parents[1]
SIZE = 10_000  # bytes of a piece


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, 64_000).astype(np.uint8).tobytes()
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.whl").write_bytes(noise)
    (folder / "inner" / "b.txt").write_text("b", encoding="utf-8")
    return folder


def test_files_come_together_as_they_were(folder: Path, tmp_path: Path) -> None:
    pieces = cut(folder, tmp_path / "pieces", SIZE)
    assert len(pieces) > 6
    assert all(piece.stat().st_size <= SIZE for piece in pieces)
    join(tmp_path / "pieces", tmp_path / "again")
    for name in ("a.whl", "inner/b.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_missing_piece_is_named(folder: Path, tmp_path: Path) -> None:
    pieces = cut(folder, tmp_path / "pieces", SIZE)
    pieces[2].unlink()
    with pytest.raises(ValueError, match="piece-003 is missing"):
        join(tmp_path / "pieces", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_an_altered_piece_is_named(folder: Path, tmp_path: Path) -> None:
    pieces = cut(folder, tmp_path / "pieces", SIZE)
    pieces[1].write_bytes(pieces[1].read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="piece-002 is not what was cut"):
        join(tmp_path / "pieces", tmp_path / "again")


def test_pieces_are_not_mixed_with_older_ones(folder: Path, tmp_path: Path) -> None:
    cut(folder, tmp_path / "pieces", SIZE)
    with pytest.raises(ValueError, match="has pieces already"):
        cut(folder, tmp_path / "pieces", SIZE)


@pytest.mark.parametrize("content", ["", "no list\n", "a  ../../etc/passwd\n"])
def test_a_list_that_is_none_is_refused_in_a_line(content: str, tmp_path: Path) -> None:
    (tmp_path / LIST).write_text(content, encoding="utf-8")
    command = [sys.executable, "tools/pieces.py", "join", str(tmp_path), "--output"]
    ran = subprocess.run(
        [*command, str(tmp_path / "again")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("pieces.py: ")
    assert len(ran.stderr.splitlines()) == 1
