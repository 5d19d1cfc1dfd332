"""A TensorRT library that does not load is named with its cure."""

import sys
from pathlib import Path

import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends.tensorrt_library import open_library


def test_a_library_that_does_not_load_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text("raise RuntimeError('libcudart.so\\nis missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    with pytest.raises(BackendError) as caught:
        open_library("tensorrt_rtx")
    assert str(caught.value) == (
        "tensorrt_rtx can't be imported (libcudart.so is missing); install it with "
        "pip install 'mavos-deploy[tensorrt-rtx]'"
    )
