"""`mavos-build` on the command line: refusals in one line, and what it prints."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mavos_deploy.export import build_engines
from mavos_deploy.export.build_engines import BuildRequest, BuiltEngine
from mavos_deploy.export.engine_shapes import ShapeLimits
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.engines import Engine, Flags, Library
from mavos_deploy.runtime.bundles.manifest import Target, write_manifest
from tests.bundles import hollow_bundle

Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]
Refused = Callable[..., str]


@pytest.fixture
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hollow_bundle(tmp_path_factory.mktemp("hollow"))


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[BuildRequest]:
    """What the builder is asked for; it builds nothing and says that one engine of two is new."""
    seen: list[BuildRequest] = []

    def build(
        bundle: Bundle, request: BuildRequest, report: Callable[[BuiltEngine], None]
    ) -> list[BuiltEngine]:
        seen.append(request)
        engine = Engine(
            graph="encoder",
            file="engines/a.plan",
            sha256="0",
            graph_sha256="1",
            library=Library.TENSORRT_RTX,
            version="1.7.1",
            capability="8.6",
            gpu=None,
            driver=None,
            flags=request.flags,
            profiles=(),
        )
        results = [BuiltEngine(engine, built, 1.25, 5_000_000) for built in (True, False)]
        for result in results:
            report(result)
        return results

    monkeypatch.setattr(build_engines, "build_engines", build)
    return seen


def test_options_reach_the_builder(call: Call, hollow: Path, requests: list[BuildRequest]) -> None:
    ended = call(
        *("mavos-build", hollow, "--library", "tensorrt_rtx", "--compute-capability", "8.6, 12.0"),
        *("--max-groups", "5", "--best-groups", "2", "--max-output", "720x1280"),
        *("--memory-limit", "512", "--tf32", "--jobs", "3"),
    )
    assert ended.returncode == 0, ended.stderr
    assert requests == [
        BuildRequest(
            library=Library.TENSORRT_RTX,
            capabilities=("8.6", "12.0"),
            limits=ShapeLimits(5, 2, (720, 1280)),
            flags=Flags(tf32=True, memory_limit=512),
            jobs=3,
        )
    ]


def test_each_engine_is_a_line(call: Call, hollow: Path, requests: list[BuildRequest]) -> None:
    ended = call("mavos-build", hollow)
    what = "  encoder, tensorrt_rtx 1.7.1, compute capability 8.6: 5.0 MB, "
    assert ended.stdout.splitlines() == [
        f"{what}built in 1.2 s",
        f"{what}up to date",
        f"1 engines built, 1 up to date, in {hollow}",
    ]
    assert requests == [BuildRequest()]


@pytest.mark.usefixtures("requests")
def test_a_bundle_for_the_cpu_is_warned_of(call: Call, hollow: Path) -> None:
    manifest = Bundle.open(hollow).manifest
    write_manifest(hollow, replace(manifest, target=Target.CPU))
    assert "exported with --target cpu" in call("mavos-build", hollow).stderr


@pytest.mark.usefixtures("requests")
def test_json_lists_the_engines(call: Call, hollow: Path) -> None:
    ended = call("mavos-build", hollow, "--json")
    first, second = json.loads(ended.stdout)
    assert (first["graph"], first["built"], first["bytes"]) == ("encoder", True, 5_000_000)
    assert second["built"] is False


@pytest.mark.usefixtures("requests")
def test_quiet_prints_nothing_but_warnings(call: Call, hollow: Path) -> None:
    assert call("mavos-build", hollow, "--quiet").stdout == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--compute-capability", "86"], "expected a number such as 8.6", id="no-dot"),
        pytest.param(["--compute-capability", "8.6,"], "expected a number such as", id="comma"),
        pytest.param(["--compute-capability", ""], "expected a number such as", id="empty"),
        pytest.param(["--library", "cuda"], "accepted are auto, tensorrt, tensorrt", id="library"),
        pytest.param(["--max-output", "large"], "expected height x width in pixels", id="size"),
        pytest.param(["--max-output", "99999x9"], "sides end at 8192 pixels", id="huge-size"),
        pytest.param(
            ["--max-groups", "2", "--best-groups", "3"], "it must be 1 to 2", id="best-groups"
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    refused: Refused, hollow: Path, options: list[str], said: str
) -> None:
    assert said in refused("mavos-build", hollow, *options)


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_what_is_no_bundle_is_refused(refused: Refused, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert name in refused("mavos-build", name)


def test_a_missing_library_names_its_extra(
    refused: Refused, hollow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text("raise ImportError('none')")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a refusal leaves the folder as it is
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    options = ["--library", "tensorrt_rtx", "--compute-capability", "8.6"]
    reason = refused("mavos-build", hollow, *options)
    assert reason.endswith("install it with pip install 'mavos-deploy[tensorrt-rtx]'")


def test_much_memory_is_warned_of_before_anything_is_built(
    call: Callable[..., Ended], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_engines, "build_engines", lambda *arguments: [])
    options = ("--compute-capability", "8.6", "--max-output", "8192x8192")
    ended = call("mavos-build", bundle, *options)
    assert ended.returncode == 0, ended
    assert "videos of 8192x8192 holds 12 GB of logits" in ended.stderr
    assert "logits" not in call("mavos-build", bundle, *options[:2]).stderr
