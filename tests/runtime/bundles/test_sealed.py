"""Copies in memory hold what was hashed, whatever becomes of the file, and can't be written to."""

import hashlib
import os
from pathlib import Path

import pytest

from mavos_deploy.runtime.bundles.sealed import NAMES, can_seal, sealed

pytestmark = pytest.mark.skipif(not can_seal(1), reason="only Linux seals copies in memory")
CONTENT = os.urandom(3 << 20)


def test_a_copy_stays_what_was_hashed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    found: list[object] = []
    looked = lambda view: found.append(bytes(view[:9]))  # noqa: E731
    with path.open("rb") as file, sealed(file, found.append, looked) as name:
        path.write_bytes(b"another")
        assert found == [hashlib.sha256(CONTENT).hexdigest(), CONTENT[:9]]
        assert Path(name).read_bytes() == CONTENT
        for flags in (os.O_WRONLY, os.O_RDWR):
            number = os.open(name, flags)
            with pytest.raises(PermissionError):
                os.write(number, b"x")
            os.close(number)
    assert not Path(name).exists()


def test_a_refused_copy_is_not_named_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    before = len(list(NAMES.iterdir()))

    def refuse(_: object) -> None:
        raise ValueError("another")

    for check, look in ((refuse, lambda view: None), (lambda found: None, refuse)):
        with (
            path.open("rb") as file,
            pytest.raises(ValueError, match="another"),
            sealed(file, check, look),
        ):
            pytest.fail("it was named")
    assert len(list(NAMES.iterdir())) == before


def test_a_limit_on_files_is_one_on_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    assert can_seal(100)
    assert not can_seal(101)
