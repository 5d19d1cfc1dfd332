"""What a measurement says about the machine."""

import os
import subprocess
import sys
import time

import pytest

from mavos_deploy.runtime.system import machine
from mavos_deploy.runtime.system.machine import Load, LoadMeter, describe_machine, peak_bytes


def test_the_machine_is_described() -> None:
    described = describe_machine()
    assert described["processor"]
    assert described["usable_processors"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't say it")
def test_the_peak_of_another_process_is_its_own_and_not_its_parents() -> None:
    here = bytearray(b"x" * (64 << 20))  # which the child doesn't have
    code = "input(); memory = bytearray(b'x' * (16 << 20)); print('now', flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.stdout.readline() == "now\n"
    peak, own = peak_bytes(child.pid), peak_bytes()
    child.communicate("\n", timeout=60)
    assert peak is not None
    assert own is not None
    assert 16 << 20 < peak < len(here) < own
    assert peak_bytes(child.pid) is None


@pytest.mark.parametrize(
    ("vendor", "family", "model", "expected"),
    [
        pytest.param("AuthenticAMD", "26", "2", "Zen 5", id="zen-5"),
        pytest.param("AuthenticAMD", "25", "17", "Zen 4", id="zen-4"),
        pytest.param("AuthenticAMD", "25", "1", "Zen 3", id="zen-3"),
        pytest.param("AuthenticAMD", "23", "49", "Zen 2", id="zen-2"),
        pytest.param("AuthenticAMD", "99", "1", None, id="unknown-family"),
        pytest.param("GenuineIntel", "6", "143", None, id="other-vendor"),
        pytest.param(None, None, None, None, id="no-cpuinfo"),
    ],
)
def test_the_generation_of_a_processor(
    vendor: str | None, family: str | None, model: str | None, expected: str | None
) -> None:
    assert machine.generation(vendor, family, model) == expected


@pytest.mark.parametrize(
    ("after", "own", "load"),
    [
        pytest.param([100, 0, 0, 900, 0, 0, 0, 0], 1.0, Load(0.0, 0.0), id="alone"),
        pytest.param([300, 100, 0, 500, 100, 0, 0, 0], 1.0, Load(0.3, 0.0), id="others"),
        pytest.param([100, 0, 0, 800, 0, 0, 0, 100], 1.0, Load(0.0, 0.1), id="stolen"),
    ],
)
def test_the_load_is_what_this_process_did_not_cause(
    monkeypatch: pytest.MonkeyPatch, after: list[int], own: float, load: Load
) -> None:
    times, process = iter([[0] * 8, after]), iter([0.0, own])
    monkeypatch.setattr(machine, "_processor_times", lambda: next(times))
    monkeypatch.setattr(time, "process_time", lambda: next(process))
    monkeypatch.setattr(os, "sysconf", lambda name: 100, raising=False)
    read = LoadMeter().read()
    assert read == load
    assert read is not None
    assert read.busy == (load.others + load.stolen > 0)


def test_an_unknown_load_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_processor_times", lambda: None)
    assert LoadMeter().read() is None
