"""The digest of a file, read in parts."""

import hashlib
import os
from pathlib import Path

import pytest

from mavos_deploy.hashing import file_sha256


def test_a_file_longer_than_a_part_has_its_own_digest(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    (tmp_path / "a").write_bytes(content)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_a_pipe_has_no_digest_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(OSError, match="it is a pipe"):
        file_sha256(tmp_path / "a")
