"""A library that can't be imported is one line."""

import sys
from pathlib import Path

import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from tests.bundles import hollow_bundle


def test_a_library_whose_import_fails_in_any_way_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise OSError('libfoo:\\n no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(BackendError, match=r"can't be imported \(libfoo: no such file\)"):
        open_backend(Bundle.open(hollow_bundle(tmp_path)))
