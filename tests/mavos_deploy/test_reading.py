"""Only regular files are read, at once or not at all, and no more of them than a limit."""

import os
import socket
from pathlib import Path

import pytest

from mavos_deploy.reading import UnfitFileError, open_regular, read_regular


def test_a_file_is_read_whole_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link", 5) == b"12345"
    with pytest.raises(UnfitFileError, match="it has 5 bytes; the limit is 4"):
        read_regular(tmp_path / "a", 4)


def test_nothing_is_read_of_a_file_that_is_too_long(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 40)  # sparse; read, it would not fit in memory
    with pytest.raises(UnfitFileError, match=f"it has {1 << 40} bytes"):
        read_regular(tmp_path / "a", 1 << 20)


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(UnfitFileError, match="it is a pipe, not a regular file"):
        open_regular(tmp_path / "a")


def test_devices_sockets_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnfitFileError, match="it is a device"):
        read_regular(Path("/dev/zero"), 10)
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        open_regular(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(OSError, match=r"No such device|it is a socket"):
            open_regular(tmp_path / "s")
