"""`mavos-export` writes a whole bundle or nothing, and says in one line what a file lacks."""

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")


from mavos_deploy.cli import export as cli  # noqa: E402
from mavos_deploy.evaluation.metrics import Score  # noqa: E402
from mavos_deploy.export import exporter  # noqa: E402
from mavos_deploy.export.parity import (  # noqa: E402
    LIMITS,
    ClipComparison,
    Difference,
    Parity,
)
from mavos_deploy.runtime.bundles.bundle import Bundle  # noqa: E402
from mavos_deploy.runtime.contract import GraphSpec  # noqa: E402
from tests.checkpoints import zeros  # noqa: E402

Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]
Refused = Callable[..., str]

EXPORT = ("mavos-export", "--variant", "mobilenet", "--size", "65x97", "--memory-gap", "2")
SCRIPTS = Path(sys.executable).parent


def _state(**changes: object) -> Callable[[Path], None]:
    """Write mobilenet's state dict with a change."""

    def write(path: Path) -> None:
        state = zeros("mobilenet")
        for key in changes.get("without", ()):  # type: ignore[attr-defined]
            del state[key]
        state.update(changes.get("extra", {}))  # type: ignore[call-overload]
        torch.save({"state_dict": state}, path)

    return write


def _cut(path: Path) -> None:
    torch.save(zeros("mobilenet"), path)
    path.write_bytes(path.read_bytes()[:-1000])


class _Touch:
    """Runs a command when it is unpickled carelessly."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch touched",)


BIAS = "encoder.features.0.1.bias"
CHECKPOINTS = [
    pytest.param(
        lambda p: torch.save(zeros("resnet50"), p),
        "is a checkpoint of resnet50 (r50_mavos), not of mobilenet; pass --variant resnet50",
        id="another-variant",
    ),
    pytest.param(_state(without=[BIAS]), f"1 missing: {BIAS}", id="missing-key"),
    pytest.param(_state(extra={"x.y": torch.zeros(1)}), "1 unknown: x.y", id="extra-key"),
    pytest.param(
        _state(extra={BIAS: torch.zeros(7)}),
        f"1 of another shape: {BIAS} is [7] instead of [32]",
        id="another-shape",
    ),
    pytest.param(
        _state(extra={BIAS: torch.full((32,), torch.nan)}), f"{BIAS} holds values that", id="nan"
    ),
    pytest.param(
        _state(extra={BIAS: torch.zeros(32, device="meta")}), "holds no plain values", id="meta"
    ),
    pytest.param(
        _state(extra={BIAS: torch.zeros(32).to_sparse()}), "holds no plain values", id="sparse"
    ),
    *(
        pytest.param(
            _state(extra={BIAS: torch.zeros(32, dtype=dtype)}),
            f"{BIAS} is of type {str(dtype).removeprefix('torch.')}; accepted are float32, float16",
            id=str(dtype),
        )
        for dtype in (torch.int8, torch.complex64, torch.float8_e4m3fn)
    ),
    pytest.param(
        _state(extra={f"module.{BIAS}": torch.zeros(32)}), "both with and without", id="key-twice"
    ),
    pytest.param(
        lambda p: torch.save(zeros("deaot_l"), p),
        "is a checkpoint of deaot_b (deaotb) or deaot_l (deaotl), not of mobilenet; pass --variant "
        "deaot_b or deaot_l",
        id="deaot",
    ),
    pytest.param(_cut, "damaged or not a PyTorch file", id="cut-off"),
    pytest.param(lambda p: p.touch(), "damaged or not a PyTorch file", id="empty"),
    pytest.param(lambda p: p.write_text("hello\n" * 9), "damaged or not a PyTorch", id="text"),
    pytest.param(
        lambda p: p.write_bytes(bytes(range(255, 0, -1)) * 9),
        "damaged or not a PyTorch file",
        id="random-bytes",
    ),
    pytest.param(lambda p: torch.save([1, 2], p), "holds no state dict", id="list"),
    pytest.param(
        lambda p: torch.save({"state_dict": {"a": 1}}, p), "holds no state dict", id="no-tensors"
    ),
    pytest.param(
        lambda p: torch.save({"state_dict": _Touch()}, p), "that could run code", id="code"
    ),
    pytest.param(
        lambda p: torch.save(_Touch(), p, _use_new_zipfile_serialization=False),
        "that could run code",
        id="code-in-an-old-file",
    ),
    pytest.param(
        lambda p: p.write_bytes(pickle.dumps(_Touch())), "not a PyTorch file", id="plain-pickle"
    ),
    pytest.param(lambda p: p.mkdir(), "is a folder; give the checkpoint file", id="folder"),
    pytest.param(lambda p: None, "no such file; see docs/checkpoints.md", id="missing"),
]


@pytest.mark.parametrize(("write", "said"), CHECKPOINTS)
def test_a_checkpoint_that_does_not_fit_is_refused(
    refused: Refused, tmp_path: Path, write: Callable[[Path], object], said: str
) -> None:
    write(tmp_path / "[my] weights.pth")
    reason = refused(*EXPORT, "--quiet", "--checkpoint", "[my] weights.pth", "--output", "b")
    assert reason.startswith("[my] weights.pth")
    assert said in reason
    assert not (tmp_path / "touched").exists()


def test_a_safetensors_file_that_is_damaged_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 100)
    reason = refused(*EXPORT, "--quiet", "--checkpoint", "w.safetensors")
    assert reason.startswith("w.safetensors: damaged or not a PyTorch file")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--size", "480x854"], "the nearest size is 481x849", id="off-the-rule"),
        pytest.param(["--size", "large"], "expected height x width in pixels", id="no-size"),
        pytest.param(["--size", "97"], "for example 481x849, each", id="one-side"),
        pytest.param(["--size", ""], "expected height x width in pixels", id="nothing"),
        pytest.param(["--size", "-65x97"], "expected height x width", id="negative"),
        pytest.param(["--size", "1x1"], "too small: both sides need at least 17", id="tiny"),
        pytest.param(["--size", "99985x99985"], "the limit is 67108864 pixels", id="huge"),
        pytest.param(["--size-for", "7x7000"], "a side is shorter than 8 pixels", id="narrow"),
        pytest.param(
            ["--size", "65x97", "--size-for", "96x64"], "exclude each other", id="two-sizes"
        ),
        pytest.param(
            ["--size", "", "--size-for", "96x64"], "exclude each other", id="two-sizes-one-empty"
        ),
    ],
)
def test_a_size_that_cannot_be_used_is_refused(
    refused: Refused, options: list[str], said: str
) -> None:
    assert said in refused("mavos-export", "--variant", "mobilenet", *options)


@pytest.mark.parametrize(
    ("variant", "options", "said"),
    [
        pytest.param(
            "deaot_l",
            ["--memory", "mca"],
            "deaot_l has no modulated cross-attention, which is MAVOS' own; take one of "
            "annotations, latest and lvos:L, such as lvos:6, or leave --memory out",
            id="mca-of-deaot",
        ),
        pytest.param("deaot_l", ["--memory", "growing"], "take lvos:6", id="growing"),
        pytest.param("mobilenet", ["--memory", "lvos"], "lvos:L, such as lvos:6", id="no-number"),
        pytest.param("mobilenet", ["--slots", "3"], "--slots has no effect with", id="slots"),
        pytest.param(
            "deaot_t", ["--memory-gap", "5"], "has no effect with memory annotations", id="gap"
        ),
    ],
)
def test_a_memory_that_cannot_be_used_is_refused(
    refused: Refused, variant: str, options: list[str], said: str
) -> None:
    assert said in refused("mavos-export", "--variant", variant, *options)


def test_a_variant_that_is_unknown_is_refused(refused: Refused) -> None:
    said = "--variant large: accepted are mobilenet, resnet50, swin_base, tiny"
    assert refused("mavos-export", "--variant", "large").startswith(said)


@pytest.fixture
def ready_graphs(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take each graph from the bundle that exists, which saves most of an export's time."""

    def export(network: object, spec: GraphSpec, path: Path, target: str) -> None:
        os.link(bundle / f"graphs/{spec.name}.onnx", path)

    monkeypatch.setattr(exporter, "export_graph", export)


def _graphs(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "graphs").iterdir())


@pytest.mark.usefixtures("ready_graphs")
def test_an_export_verifies_and_prints_its_manifest(call: Call, tmp_path: Path) -> None:
    ended = call(*EXPORT, "--output", "deep/[x] b", "--json")
    assert ended.returncode == 0
    printed = json.loads(ended.stdout)
    assert printed == json.loads((tmp_path / "deep/[x] b/manifest.json").read_text())
    assert printed["parity"]["passed"] is True
    assert ended.stderr.count("UNTRAINED WEIGHTS") == 1
    assert len(ended.stderr.splitlines()) == 1
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["[x] b"]
    assert Bundle.open(tmp_path / "deep/[x] b").manifest.trained is False


@pytest.mark.usefixtures("ready_graphs")
def test_an_export_says_where_it_went(call: Call, tmp_path: Path) -> None:
    ended = call(*EXPORT, "--no-verify", "--output", "[bold]a  b:smile:")
    assert ended.returncode == 0
    assert ended.stdout.endswith("not verified (--no-verify)\nwrote [bold]a  b:smile:\n")
    assert _graphs(tmp_path / "[bold]a  b:smile:")


@pytest.mark.usefixtures("ready_graphs")
def test_overwrite_replaces_a_bundle_whole(call: Call, own_bundle: Path) -> None:
    (own_bundle / "graphs/encoder.onnx").unlink()
    (own_bundle / "graphs/old.onnx").touch()
    ended = call(*EXPORT, "--no-verify", "--output", own_bundle, "--overwrite", "--quiet")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    assert "old.onnx" not in _graphs(own_bundle)
    Bundle.open(own_bundle)
    assert [path.name for path in own_bundle.parent.iterdir()] == [own_bundle.name]


@pytest.mark.parametrize(
    ("output", "overwrite", "said"),
    [
        pytest.param("bundle", False, "bundle exists; pass --overwrite", id="bundle"),
        pytest.param("notes", True, "notes holds no bundle, so it is not", id="other-files"),
        pytest.param("site", True, "site holds no bundle, so it is not", id="other-manifest"),
        pytest.param("file", True, "file exists and is not a folder", id="file"),
        pytest.param("file/b", False, "a part of the path is a file", id="below-a-file"),
    ],
)
@pytest.mark.usefixtures("ready_graphs")
def test_what_is_no_bundle_is_never_replaced(
    refused: Refused, own_bundle: Path, tmp_path: Path, output: str, overwrite: bool, said: str
) -> None:
    for name in ("notes", "site"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes/a.txt").touch()
    (tmp_path / "site/manifest.json").write_text('{"name": "a web page"}')
    (tmp_path / "file").touch()
    options = ["--overwrite"] if overwrite else []
    assert said in refused(*EXPORT, "--quiet", "--no-verify", "--output", output, *options)


@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "replacing"])
def test_an_export_that_is_stopped_changes_nothing(
    call: Call,
    own_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overwrite: bool,
) -> None:
    def stopped(network: object, spec: object, path: Path, target: str) -> None:
        path.write_bytes(b"half")
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(exporter, "export_graph", stopped)
    folder = own_bundle if overwrite else tmp_path / "new"
    ended = call(*EXPORT, "--output", folder, *(["--overwrite"] if overwrite else []))
    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == [own_bundle.name]
    Bundle.open(own_bundle)


@pytest.mark.usefixtures("ready_graphs")
def test_an_export_that_differs_from_pytorch_is_not_kept(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Difference("encoder", "embedding", 4, relative=0.5, absolute=0.5, limit=1e-4)
    clip = ClipComparison("97x97", 1, (), (wrong,), (1.0,), (Score(1.0, 1.0),))
    failed = Parity(LIMITS["fp32"], "onnxruntime-cpu", 8, 3, (clip,))
    monkeypatch.setattr(cli, "compare", lambda *arguments: failed)
    ended = call(*EXPORT, "--output", "b")
    assert ended.returncode == 1
    assert "FAILED: first embedding of encoder at frame 4, 5.0e-01" in ended.stderr
    assert "export with --no-verify and run mavos-verify" in ended.stderr
    assert not list(tmp_path.iterdir())
    ended = call(*EXPORT, "--output", "b", "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["first_divergence"]["tensor"] == "embedding"


@pytest.mark.exports
def test_a_full_disk_is_named_and_nothing_is_left(
    one_line: Callable[[Ended, str], str], tmp_path: Path
) -> None:
    ended = subprocess.run(
        [SCRIPTS / EXPORT[0], *EXPORT[1:], "--output", "b", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert one_line(ended, "mavos-export").startswith("cannot write b: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "options"),
    [
        pytest.param("torch", [], id="torch"),
        pytest.param("onnx", ["--no-verify"], id="onnx"),
        pytest.param("onnxscript", [], id="onnxscript"),
        pytest.param("onnxruntime", [], id="onnxruntime"),
    ],
)
def test_a_missing_library_names_its_extra_before_any_work(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, module: str, options: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    reason = refused(*EXPORT, *options)
    assert reason.startswith(f"{module} can't be found")
    assert "pip install 'mavos-deploy[export,cpu]'" in reason


@pytest.mark.usefixtures("ready_graphs")
def test_an_export_without_comparison_needs_no_onnx_runtime(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert call(*EXPORT, "--no-verify", "--output", "b").returncode == 0
