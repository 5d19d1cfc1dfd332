"""What a killed process left is removed by the next, and what another is writing stays."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mavos_deploy.runtime.system.files import replacing, replacing_directory
from mavos_deploy.runtime.system.left_overs import Token, clear_left_overs, is_left_over

HANG = """
import os, signal, sys
from pathlib import Path
from mavos_deploy.runtime.system import files
kind, target = sys.argv[1], Path(sys.argv[2])
if kind == "file":
    with files.replacing(target) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
if kind == "swap":
    files.shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if kind == "between":
    rename = Path.rename
    def once(path, to):
        rename(path, to)
        os.kill(os.getpid(), signal.SIGKILL)
    Path.rename = once
with files.replacing_directory(target, overwrite=True) as temporary:
    (temporary / "a").write_text("new")
    if kind == "folder":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def _killed(kind: str, target: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", HANG, kind, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    return sorted(path.name for path in target.parent.iterdir())


def test_hidden_names_are_recognised() -> None:
    for name in ("a.png", "v1.0", "b", ".hidden", "no suffix."):
        assert not is_left_over(Path(name))
        for label in ("part", "old", "lock"):
            assert is_left_over(Token().path(Path("x") / name, label)), name


def test_a_killed_file_is_removed_by_the_next(tmp_path: Path) -> None:
    assert len(_killed("file", tmp_path / "a.mp4")) == 1
    with replacing(tmp_path / "a.mp4") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        pytest.param("folder", "old", id="while-filled"),
        pytest.param("between", "old", id="between-the-renames"),
        pytest.param("swap", "new", id="after-the-renames"),
    ],
)
def test_a_killed_folder_is_removed_and_the_one_before_it_is_not_lost(
    tmp_path: Path, kind: str, kept: str
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/a").write_text("old")
    assert len(_killed(kind, tmp_path / "b")) > 1
    clear_left_overs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b/a").read_text() == kept


def test_what_is_being_written_stays(tmp_path: Path) -> None:
    with (
        replacing(tmp_path / "a.txt") as temporary,
        replacing_directory(tmp_path / "b", False) as b,
    ):
        (b / "x").touch()
        clear_left_overs(tmp_path)
        temporary.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b"]


def test_only_names_of_ours_are_touched(tmp_path: Path) -> None:
    names = {".a.0123456.part", ".gitignore", "a.01234567.part", ".x.0123456g.part", "plain"}
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".dir.01234567.part").mkdir()  # without a lock: not known to be ours
    (tmp_path / ".link.01234567.part").symlink_to("plain")
    clear_left_overs(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == names | {
        ".dir.01234567.part",
        ".link.01234567.part",
    }
