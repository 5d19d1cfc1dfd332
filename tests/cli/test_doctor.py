"""`mavos-doctor` tries what it reports, and whatever is broken is a line, never a traceback."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends import doctor
from mavos_deploy.runtime.backends.table import BACKENDS
from mavos_deploy.runtime.system.gpu import Gpu

Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]


def test_without_a_bundle_libraries_and_devices_are_looked_for(call: Call) -> None:
    ended = call("mavos-doctor", "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["healthy"]
    assert found["backends"].keys() == BACKENDS.keys()
    assert found["backends"]["onnxruntime-cpu"] == {"works": True, "tried": False, "reason": None}
    assert found["packages"]["onnxruntime"]
    assert found["machine"]["usable_processors"] >= 1


def test_with_a_bundle_backends_are_given_a_frame(
    call: Call, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(bundle: object, threads: int | None) -> Any:  # noqa: ANN401
        raise RuntimeError("a library\nfails")

    def absent(bundle: object, threads: int | None) -> Any:  # noqa: ANN401
        raise BackendError("absent: there is none; install it")

    first = BACKENDS["onnxruntime-cpu"]
    table = {
        "onnxruntime-cpu": first,
        "broken": replace(first, name="broken", open=broken),
        "absent": replace(first, name="absent", open=absent),
    }
    monkeypatch.setattr(doctor, "BACKENDS", table)
    ended = call("mavos-doctor", bundle)
    assert ended.returncode == 0, ended.stderr
    lines = [line.strip() for line in ended.stdout.splitlines()]
    assert "backends     each loaded the bundle and segmented a frame" in lines
    assert "onnxruntime-cpu  works (the default)" in lines
    assert (
        "broken           unusable: RuntimeError: a library fails; install its package again"
        in lines
    )
    assert "absent           unusable: there is none; install it" in lines


def broken_module(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text("raise OSError('libsome.so.9: cannot open\\nit')")


def test_a_broken_default_exits_with_1(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnxruntime", "openvino"):
        broken_module(tmp_path, name)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    ended = call("mavos-doctor")
    assert ended.returncode == 1
    broken = ended.stdout.count("can't be imported (libsome.so.9: cannot open it)")
    assert broken == len(BACKENDS) - 2  # all but TensorRT's own
    assert "onnxruntime-cpu    unusable (the default): ONNX Runtime" in ended.stdout
    assert ended.stderr == ""


def test_a_hollow_onnxruntime_is_named(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    ended = call("mavos-doctor")
    assert ended.returncode == 1
    assert "hollow module" in ended.stdout


def test_packages_that_exclude_each_other_or_are_broken_are_problems(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1", "pycuda": "2026.1"}

    def version(name: str) -> str:
        return installed[name]  # a KeyError stands for damaged metadata

    monkeypatch.setattr(doctor, "version", version)
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda/driver.py").write_text("raise SystemExit('no libcuda')")
    monkeypatch.syspath_prepend(tmp_path)
    ended = call("mavos-doctor", "--json")
    problems = json.loads(ended.stdout)["problems"]
    assert any("onnxruntime-gpu are both installed" in problem for problem in problems)
    assert any("pycuda 2026.1 is installed, but can't be imp" in problem for problem in problems)


def test_a_gpu_is_described_and_one_without_a_driver_is_a_problem(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu("NVIDIA RTX A4000", "8.6", "580.65.06", "13.0")
    monkeypatch.setattr(doctor, "first_gpu", lambda: gpu)
    said = "NVIDIA RTX A4000, compute capability 8.6, driver 580.65.06, CUDA 13.0"
    assert said in call("mavos-doctor").stdout
    monkeypatch.setattr(doctor, "first_gpu", lambda: None)
    monkeypatch.setattr(doctor, "_has_nvidia_card", lambda: True)
    assert "problem: there is an NVIDIA GPU, but its driver" in call("mavos-doctor").stdout

    def lacking() -> Gpu | None:
        raise AttributeError("undefined symbol: cuInit")

    monkeypatch.setattr(doctor, "first_gpu", lacking)
    assert "can't be asked (undefined symbol: cuInit)" in call("mavos-doctor").stdout


def test_quiet_prints_problems_alone(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "first_gpu", lambda: None)
    monkeypatch.setattr(doctor, "_has_nvidia_card", lambda: False)
    ended = call("mavos-doctor", "--quiet")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    broken_module(tmp_path, "onnxruntime")
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    ended = call("mavos-doctor", "--quiet")
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("onnxruntime-cpu, the default backend, is unusable: ONNX Runtime can't")


def test_cards_are_found_on_the_pci_bus(tmp_path: Path) -> None:
    assert not doctor._has_nvidia_card(tmp_path / "none")
    for place, vendor, kind in (("a", "0x8086", "0x030000"), ("b", "0x10de", "0x040300")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "vendor").write_text(f"{vendor}\n")
        (tmp_path / place / "class").write_text(f"{kind}\n")
    assert not doctor._has_nvidia_card(tmp_path)
    (tmp_path / "b/class").write_text("0x030200\n")
    assert doctor._has_nvidia_card(tmp_path)


def test_a_folder_that_is_no_bundle_is_bad_input(refused: Callable[..., str]) -> None:
    assert "none does not exist" in refused("mavos-doctor", "none")
