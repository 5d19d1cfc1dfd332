"""mavos-build with TensorRT-RTX itself, which needs no GPU to build."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.kernels import frame_bytes, fused_graph
from mavos_deploy.errors import BackendError, InputError
from mavos_deploy.export import build_engines as engines
from mavos_deploy.export.build_engines import BuildRequest, BuiltEngine, build_engines
from mavos_deploy.export.engine_shapes import ShapeLimits
from mavos_deploy.export.tensorrt_build import Task, build_plan
from mavos_deploy.hashing import file_sha256
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.bundles.engines import Engine, Flags, Hardware, Library
from mavos_deploy.runtime.bundles.manifest import GraphFile
from mavos_deploy.runtime.bundles.memory import MemoryRule
from mavos_deploy.runtime.contract import GraphName
from tests.bundles import copy_to_change
from tests.exports import Exports

if os.environ.get("MAVOS_REQUIRE_TENSORRT") and find_spec("tensorrt_rtx") is None:
    raise ImportError("tensorrt_rtx is missing, and MAVOS_REQUIRE_TENSORRT asks for it")

pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.skipif(
        find_spec("tensorrt_rtx") is None,
        reason="tensorrt_rtx is not installed; pip install 'mavos-deploy[tensorrt-rtx]'",
    ),
]
CAPABILITIES = ("8.6", "8.9", "12.0")
FAST = "memory_write"  # takes the least time to build


def _silent(result: BuiltEngine) -> None:
    del result


@pytest.fixture(scope="session")
def built(half_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with engines for three generations of GPUs."""
    folder: Path = tmp_path_factory.mktemp("built") / "bundle"
    copy_to_change(half_bundle, folder)
    reported: list[BuiltEngine] = []
    request = BuildRequest(Library.TENSORRT_RTX, CAPABILITIES, ShapeLimits(max_groups=3))
    results = build_engines(Bundle.open(folder), request, reported.append)
    assert len(results) == len(reported) == 18
    assert all(result.built for result in results)
    return folder


@pytest.fixture
def own(built: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return copy_to_change(built, tmp_path / "bundle")


@pytest.fixture
def plain(half_bundle: Path, tmp_path: Path) -> Path:
    """A float16 bundle without engines, to change; its graphs are links to the other's."""
    return copy_to_change(half_bundle, tmp_path / "bundle")


def _with_fast_graph_only(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    only = {FAST: bundle.specs[FAST]}
    monkeypatch.setattr(Bundle, "specs", property(lambda self: only))
    return bundle


def _contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.read_bytes()[-64:])
        for path in folder.rglob("*")
        if path.is_file()
    } | {str(path.relative_to(folder)): (0, b"") for path in folder.rglob("*") if path.is_dir()}


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_graph_has_an_engine_that_is_found(built: Path, capability: str) -> None:
    bundle = Bundle.open(built)
    version = bundle.manifest.engines[0].version
    for graph in bundle.specs:
        plan = bundle.plan(bundle.engine(graph, "tensorrt_rtx", version, capability))
        assert len(plan) > 1_000_000
    files = {path.name for path in (built / "engines").rglob("*.plan")}
    assert len(files) == 18


def test_profiles_go_from_one_group_and_small_videos_to_the_most(built: Path) -> None:
    entries = {e.graph: e for e in Bundle.open(built).manifest.engines if e.capability == "8.9"}
    assert entries["encoder"].profiles == ()
    (decoder,) = entries["decoder"].profiles
    assert decoder["decoder_embedding"] == ((1, 512, 7, 7), (1, 512, 7, 7), (3, 512, 7, 7))
    assert decoder["row_weights"] == ((8, 25), (97, 25), (1080, 25))
    assert decoder["column_weights"] == ((8, 25), (97, 25), (1920, 25))
    (step,) = entries["elstt_step"].profiles
    assert "embedding" not in step
    assert len(step) == 18


def test_what_is_up_to_date_is_kept(own: Path) -> None:
    before = _contents(own)
    request = BuildRequest(Library.TENSORRT_RTX, CAPABILITIES, ShapeLimits(max_groups=3))
    results = build_engines(Bundle.open(own), request, _silent)
    assert not any(result.built for result in results)
    assert _contents(own) == before


@pytest.mark.parametrize("change", ["delete", "alter", "rename"])
def test_only_what_is_missing_or_spoilt_is_built_again(own: Path, change: str) -> None:
    engine = next(
        e for e in Bundle.open(own).manifest.engines if (e.graph, e.capability) == (FAST, "8.9")
    )
    plan = own / engine.file
    if change == "delete":
        plan.unlink()
    elif change == "rename":
        plan.rename(plan.with_name("other.plan"))
    else:
        text = plan.read_bytes()
        plan.unlink()
        plan.write_bytes(text[:-1] + bytes([text[-1] ^ 1]))
    request = BuildRequest(Library.TENSORRT_RTX, CAPABILITIES, ShapeLimits(max_groups=3))
    results = build_engines(Bundle.open(own), request, _silent)
    assert [o.engine.slot for o in results if o.built] == [engine.slot]
    bundle = Bundle.open(own)
    assert len(bundle.manifest.engines) == 18
    assert bundle.plan(bundle.engine(FAST, "tensorrt_rtx", engine.version, "8.9"))
    named = {own / e.file for e in bundle.manifest.engines}
    assert {p for p in (own / "engines").rglob("*.plan") if p.name != "other.plan"} == named


def test_other_flags_replace_the_plan_of_a_graph(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = _with_fast_graph_only(Bundle.open(own), monkeypatch)
    request = BuildRequest(
        Library.TENSORRT_RTX, ("8.6",), ShapeLimits(max_groups=3), Flags(memory_limit=512)
    )
    (result,) = build_engines(bundle, request, _silent)
    assert result.built
    manifest = json.loads((own / "manifest.json").read_text())
    of_graph = [e for e in manifest["engines"] if (e["graph"], e["capability"]) == (FAST, "8.6")]
    assert [e["flags"]["memory_limit"] for e in of_graph] == [512]
    assert len(list((own / "engines").rglob(f"{FAST}-sm86-*.plan"))) == 1


def test_the_librarys_words_say_why_a_build_fails(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _contents(plain)
    bundle = _with_fast_graph_only(Bundle.open(plain), monkeypatch)
    request = BuildRequest(Library.TENSORRT_RTX, ("8.6",), flags=Flags(memory_limit=1))
    with pytest.raises(BackendError, match=r"failed to build it: .*workspace") as caught:
        build_engines(bundle, request, _silent)
    assert len(str(caught.value).splitlines()) == 1
    assert _contents(plain) == before


def test_a_graph_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph" * 99)
    engine = Engine(
        *("a", "", "", file_sha256(tmp_path / "a.onnx"), Library.TENSORRT_RTX, "1.7.1", "8.6"),
        gpu=None,
        driver=None,
        flags=Flags(),
        profiles=(),
    )
    task = Task(engine, tmp_path / "a.onnx", None, tmp_path / "a.plan")
    with pytest.raises(
        BackendError, match=r"can't read the graph: .*a\.onnx for 8\.6: .*parse the"
    ):
        build_plan(task)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        pytest.param(
            BuildRequest(Library.TENSORRT_RTX, ("6.1",)),
            "capability 6.1; accepted are 7.5,",
            id="old-gpu",
        ),
        pytest.param(
            BuildRequest(Library.TENSORRT_RTX, ("8.6",), flags=Flags(version_compatible=True)),
            "leave --version-compatible out",
            id="version",
        ),
        pytest.param(
            BuildRequest(
                Library.TENSORRT_RTX,
                ("8.6",),
                flags=Flags(hardware_compatible=Hardware.AMPERE_PLUS),
            ),
            "name every GPU's capability with --compute-capability",
            id="hardware",
        ),
        pytest.param(
            BuildRequest(Library.TENSORRT_RTX, ("8.6",), timing_cache=Path("x")),
            "leave --timing-cache out",
            id="timings",
        ),
        pytest.param(BuildRequest(Library.TENSORRT_RTX), "--compute-capability 8.6", id="no-gpu"),
    ],
)
def test_what_the_library_cannot_do_is_refused(
    plain: Path, request_: BuildRequest, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "first_gpu", lambda: None)
    before = _contents(plain)
    with pytest.raises((BackendError, InputError)) as caught:
        build_engines(Bundle.open(plain), request_, _silent)
    assert said in str(caught.value)
    assert _contents(plain) == before


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupt_leaves_the_bundle_as_it_was(plain: Path, signum: int) -> None:
    before = _contents(plain)
    process = _start("mavos-build", plain, "--compute-capability", "8.6,8.9,12.0")
    deadline = time.monotonic() + 60
    while not list(plain.glob("engines/.building-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signum)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert _contents(plain) == before


def test_a_disk_that_is_full_is_named_and_changes_nothing(plain: Path) -> None:
    before = _contents(plain)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    process = _start("mavos-build", plain, "--compute-capability", "8.6", before=limit)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert f"cannot write {plain / 'engines'}: the file grew past the size" in said
    assert _contents(plain) == before


def test_graphs_are_written_so_that_they_fuse(half_bundle: Path) -> None:
    """A rewrite that breaks fusion shows as more kernels, more bytes or fewer fused attentions."""
    bundle = Bundle.open(half_bundle)
    update, decoder, one = (
        fused_graph(bundle, graph, (1080, 1920))
        for graph in (GraphName.MEMORY_UPDATE, GraphName.DECODER, GraphName.DECODER_ONE)
    )
    assert update.fused_attentions == 9  # keys, visual and identity values of three blocks
    assert len(one.kernels) <= len(decoder.kernels) - 8
    # Nothing but the labels has the size of the video.
    assert one.size < decoder.size / 10
    assert one.scratch < decoder.scratch / 10


@pytest.mark.exports
def test_the_step_is_written_so_that_it_fuses_at_480p(half_bundle: Path, tmp_path: Path) -> None:
    """Layers fuse by size, so that it is exported at this one, alone."""
    from mavos_deploy.export.exporter import Plan
    from mavos_deploy.export.onnx_graphs import export_graph
    from mavos_deploy.models.checkpoint import load_network
    from mavos_deploy.models.half import half_precision
    from mavos_deploy.models.variants import VARIANTS

    plan = Plan(VARIANTS["mobilenet"], (481, 849), 10, "gpu", "fp16")
    spec = plan.specs_at(plan.size)[GraphName.STEP]
    network, _ = load_network(plan.variant, None)
    file = tmp_path / "step.onnx"
    export_graph(half_precision(network), spec, file, plan.target)
    graph = GraphFile(file.name, file_sha256(file), spec.inputs, spec.outputs)
    manifest = replace(
        Bundle.open(half_bundle).manifest, height=481, width=849, graphs={GraphName.STEP: graph}
    )
    step = fused_graph(Bundle(tmp_path, manifest), GraphName.STEP, (1080, 1920))
    assert len(step.kernels) <= 99  # 159 over maps
    assert step.size <= 735e6  # 970e6 over maps
    # Gates behind both reads and the frame's own attention, in three blocks.
    assert sum("FcMul" in kernel.name for kernel in step.kernels) == 9


@pytest.mark.slow
@pytest.mark.exports
def test_a_frame_moves_what_the_documentation_says_at_480p(exported: Exports) -> None:
    bundle = Bundle.open(exported("mobilenet", (481, 849), 10, "gpu", "fp16"))
    graphs = {name: fused_graph(bundle, name, (1080, 1920)) for name in bundle.specs}
    assert frame_bytes(graphs, 1, bundle.manifest.memory_gap) <= 1300e6


@pytest.mark.slow
@pytest.mark.exports
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("variant", ["tiny", "mobilenet", "resnet50", "swin_base"])
def test_every_variant_builds_at_480p(variant: str, precision: str, tmp_path: Path) -> None:
    from mavos_deploy.export.exporter import Plan, write_bundle
    from mavos_deploy.models.variants import VARIANTS

    size = (481, 849) if VARIANTS[variant].align_corners else (480, 848)
    write_bundle(Plan(VARIANTS[variant], size, 10, "gpu", precision), None, tmp_path, print)
    request = BuildRequest(Library.TENSORRT_RTX, CAPABILITIES)
    results = build_engines(Bundle.open(tmp_path), request, print)
    assert len(results) == 18


def _start(command: str, *arguments: str | Path, before: str = "") -> subprocess.Popen[str]:
    # A background shell makes its children ignore Ctrl-C.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = f"{heard}{before}from mavos_deploy.cli.build import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "memory"), [("deaot_t", "annotations"), ("deaot_l", "lvos:3")])
def test_every_graph_of_deaot_builds(
    exported: Exports, tmp_path: Path, variant: str, memory: str
) -> None:
    """Of one block with a step for the reference alone, and of three with a bias of slots."""
    rule = MemoryRule.named(memory)
    gap = 3 if rule.at_gaps else None
    source = exported(variant, (97, 97), gap, "gpu", "fp16", memory=rule)
    bundle = Bundle.open(copy_to_change(source, tmp_path / "bundle"))
    request = BuildRequest(Library.TENSORRT_RTX, CAPABILITIES[:1], ShapeLimits(max_groups=2))
    results = build_engines(bundle, request, _silent)
    assert {result.engine.graph for result in results} == bundle.specs.keys()
    assert (GraphName.STEP_ONE in bundle.specs) == (variant == "deaot_t")
