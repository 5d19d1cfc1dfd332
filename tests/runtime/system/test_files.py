"""Files appear whole or not at all, and failures name the path."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.system.files import replacing, replacing_directory


def _write_half_and_raise(path: Path, error: BaseException) -> None:
    path.write_bytes(b"half")
    raise error


def test_a_file_appears_under_its_name_with_the_usual_permissions(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "a.bin"
    with replacing(target) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.suffix == ".bin"
        assert not target.exists()
    assert target.read_bytes() == b"new"
    plain = tmp_path / "plain"
    plain.touch()
    assert target.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt], ids=["error", "ctrl-c"])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(error), replacing(target) as temporary:
        _write_half_and_raise(temporary, error())
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        pytest.param(errno.ENOSPC, "the disk is full", id="full-disk"),
        pytest.param(errno.EDQUOT, "quota is used up", id="quota"),
        pytest.param(errno.EFBIG, "grew past the size", id="too-large"),
        pytest.param(errno.EACCES, "permission denied", id="no-permission"),
        pytest.param(errno.EROFS, "read-only", id="read-only"),
    ],
)
def test_a_write_that_cannot_succeed_names_the_path_in_one_line(
    tmp_path: Path, code: int, text: str
) -> None:
    target = tmp_path / "a.bin"
    with (
        pytest.raises(InputError, match=rf"^cannot write .*a\.bin: .*{text}[^\n]*$"),
        replacing(target) as temporary,
    ):
        _write_half_and_raise(temporary, OSError(code, os.strerror(code)))
    assert not list(tmp_path.iterdir())


def test_an_error_of_another_file_is_not_blamed_on_the_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="weights"), replacing(tmp_path / "a.bin"):
        (tmp_path / "weights").read_bytes()


def test_a_file_larger_than_the_limit_is_refused_and_removed(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.system.files import replacing
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with replacing(Path(sys.argv[1])) as temporary:
        temporary.write_bytes(bytes(2000))
except InputError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.bin")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "a.bin: the file grew past the size that is allowed here" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"), replacing(tmp_path):
        pass


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match="is a file, not a folder"), replacing(tmp_path / "a/b"):
        pass


def test_a_linked_file_is_replaced_behind_its_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with replacing(tmp_path / "link") as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def _bundle(path: Path, content: str) -> None:
    path.mkdir()
    (path / "manifest.json").write_text(content)


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "bundle"
    with replacing_directory(target, overwrite=False) as temporary:
        (temporary / "manifest.json").write_text("new")
        assert not target.exists()
    assert (target / "manifest.json").read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_an_existing_folder_is_refused_without_overwrite(tmp_path: Path) -> None:
    _bundle(tmp_path / "bundle", "old")
    with (
        pytest.raises(InputError, match="bundle exists; pass --overwrite to replace it"),
        replacing_directory(tmp_path / "bundle", overwrite=False),
    ):
        pass
    assert (tmp_path / "bundle/manifest.json").read_text() == "old"


def test_overwriting_swaps_the_whole_folder(tmp_path: Path) -> None:
    _bundle(tmp_path / "bundle", "old")
    (tmp_path / "bundle/stale").touch()
    with replacing_directory(tmp_path / "bundle", True, marker="manifest.json") as temporary:
        (temporary / "manifest.json").write_text("new")
        assert (tmp_path / "bundle/manifest.json").read_text() == "old"
    assert [file.name for file in (tmp_path / "bundle").iterdir()] == ["manifest.json"]
    assert (tmp_path / "bundle/manifest.json").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "error",
    [RuntimeError("stop"), KeyboardInterrupt(), OSError(errno.ENOSPC, "no space")],
    ids=["error", "ctrl-c", "full-disk"],
)
def test_a_failed_folder_is_removed_and_the_old_one_stays(
    tmp_path: Path, error: BaseException
) -> None:
    _bundle(tmp_path / "bundle", "old")
    expected = InputError if isinstance(error, OSError) else type(error)
    with (
        pytest.raises(expected),
        replacing_directory(tmp_path / "bundle", overwrite=True) as temporary,
    ):
        _write_half_and_raise(temporary / "half", error)
    assert (tmp_path / "bundle/manifest.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_ctrl_c_during_the_removal_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = shutil.rmtree

    def interrupted(path: Path, ignore_errors: bool = False) -> None:
        signal.raise_signal(signal.SIGINT)
        remove(path, ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing_directory(tmp_path / "a", False) as folder:
        (folder / "b").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_old_folder_comes_back_when_the_swap_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _bundle(tmp_path / "bundle", "old")
    rename = Path.rename

    def fail_for_the_new_one(path: Path, target: Path) -> Path:
        if path.suffix == ".part" or ".part" in path.name:
            raise PermissionError(errno.EACCES, "no", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with (
        pytest.raises(InputError, match="permission denied"),
        replacing_directory(tmp_path / "bundle", overwrite=True),
    ):
        pass
    assert (tmp_path / "bundle/manifest.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_overwriting_refuses_what_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("notes")
    with (
        pytest.raises(InputError, match="is not a folder; choose another name"),
        replacing_directory(tmp_path / "bundle", overwrite=True),
    ):
        pass
    assert (tmp_path / "bundle").read_text() == "notes"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_without_the_marker_is_refused(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter").touch()
    with (
        pytest.raises(InputError, match=r"holds no manifest\.json, so it is not replaced"),
        replacing_directory(tmp_path / "thesis", overwrite, marker="manifest.json"),
    ):
        pass
    assert (tmp_path / "thesis/chapter").exists()


def test_an_empty_folder_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with replacing_directory(tmp_path / "bundle", True, marker="manifest.json") as temporary:
        (temporary / "manifest.json").touch()
    assert (tmp_path / "bundle/manifest.json").exists()
