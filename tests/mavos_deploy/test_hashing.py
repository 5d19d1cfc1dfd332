"""The digest of a file, read in parts."""

import hashlib
from pathlib import Path

from mavos_deploy.hashing import file_sha256


def test_a_file_longer_than_a_part_has_its_own_digest(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    (tmp_path / "a").write_bytes(content)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
