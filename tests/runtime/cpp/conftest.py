"""The built C++ runtime, and the quantised bundle of another file."""

import os
from pathlib import Path

import pytest

from tests.calibration.test_quantise_attention import attention_bundle
from tests.cpp_library import CppLibrary

__all__ = ["attention_bundle"]

VARIABLE = "MAVOS_CPP"


@pytest.fixture(scope="session")
def cpp() -> CppLibrary:
    """The library in the build folder that MAVOS_CPP names, as `.ci/run` builds it."""
    given = os.environ.get(VARIABLE)
    if not given:
        pytest.skip(f"{VARIABLE} names no folder with a built libmavos (docs/cpp.md)")
    return CppLibrary(Path(given) / "libmavos.so")


def built_program(name: str) -> Path:
    """A program of that folder that needs FFmpeg and OpenCV; skips the test without it."""
    path = Path(os.environ[VARIABLE]) / name
    if not path.exists():
        pytest.skip("mavos-track was not built, which needs packages (docs/cpp.md)")
    return path
