"""Which instructions the tool replaces, and what libraries see of the processor then."""

import ctypes
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.without_vnni import variables
from tools import without_vnni
from tools.without_vnni import CPUID, ILLEGAL

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="about x86-64 on Linux"
)

# The two bytes as an instruction, in a constant, and in the distance of a jump.
CODE = """
    .text
    .globl asks, constant, far
asks:
    push %rbx
    xor %eax, %eax
    cpuid
    pop %rbx
    ret
constant:
    mov $0x1122a20f, %eax
    ret
far:
    jmp . + 5 + 0x22a20f
"""
LIBRARIES = """
import json
import openvino
import onnxruntime
from mavos_deploy.runtime.system.machine import describe_machine
print(json.dumps({
    "able": list(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
    "instructions": describe_machine()["instructions"],
    "files": [openvino.__file__, onnxruntime.__file__],
}))
"""


def test_only_the_instruction_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "code.s").write_text(CODE)
    library = tmp_path / "code.so"
    # Without the linker's check that the jump stays in the library.
    subprocess.run(
        ["gcc", "-shared", "-nostdlib", str(tmp_path / "code.s"), "-o", str(library)], check=True
    )
    before = library.read_bytes()
    assert before.count(CPUID) == 3
    assert without_vnni._replace(library) == 1
    after = library.read_bytes()
    at = before.index(CPUID)  # `asks` comes first
    assert after == before[:at] + ILLEGAL + before[at + 2 :]
    assert ctypes.CDLL(str(library)).constant() == 0x1122A20F


@pytest.mark.slow
def test_libraries_see_a_processor_without_the_extensions(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LIBRARIES],
        env=variables(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert all(file.startswith(str(tmp_path)) for file in seen["files"])
    assert "FP32" in seen["able"]
    assert "BF16" not in seen["able"]
    assert seen["instructions"] == ["avx2"]


def test_a_missing_tool_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert without_vnni.main(["true"]) == 1
    assert capsys.readouterr().err == (
        "without_vnni: gcc is not installed: apt-get install gcc binutils\n"
    )


def test_a_folder_that_holds_something_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").write_text("")
    assert without_vnni.main(["--folder", str(tmp_path), "true"]) == 1
    assert "is not an empty folder; name a new one" in capsys.readouterr().err
