"""An opened bundle: the engine it gives for a machine, and files that are as they were made."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from mavos_deploy.errors import BackendError, BundleError
from mavos_deploy.export.build_engines import _up_to_date
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.backends import doctor
from mavos_deploy.runtime.bundles.engines import Engine, Flags, Hardware, Library
from mavos_deploy.runtime.bundles.manifest import is_bundle, write_manifest
from tests.bundles import hollow_bundle

PLAN = b"a plan"
ENGINE = Engine(
    graph="encoder",
    file="engines/tensorrt_rtx-1.7.1/encoder-sm86-0.plan",
    sha256=hashlib.sha256(PLAN).hexdigest(),
    graph_sha256=hashlib.sha256(b"encoder").hexdigest(),
    library=Library.TENSORRT_RTX,
    version="1.7.1",
    capability="8.6",
    gpu=None,
    driver=None,
    flags=Flags(),
    profiles=({"frame": ((1, 3), (2, 3), (4, 3))},),
)
CALL = ("encoder", "tensorrt_rtx", "1.7.1", "8.6")
COMMAND = "--library tensorrt_rtx --compute-capability 8.6"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with one engine."""
    hollow_bundle(tmp_path)
    (tmp_path / ENGINE.file).parent.mkdir(parents=True)
    (tmp_path / ENGINE.file).write_bytes(PLAN)
    manifest = Bundle.open(tmp_path).manifest
    write_manifest(tmp_path, replace(manifest, engines=(ENGINE,)))
    return tmp_path


def _change(folder: Path, **fields: object) -> Bundle:
    manifest = Bundle.open(folder).manifest
    write_manifest(folder, replace(manifest, engines=(replace(ENGINE, **fields),)))  # type: ignore[arg-type]
    return Bundle.open(folder)


def test_a_fitting_engine_is_found(folder: Path) -> None:
    assert Bundle.open(folder).engine(*CALL) == ENGINE


def test_a_bundle_without_engines_opens(folder: Path) -> None:
    data = json.loads((folder / "manifest.json").read_text())
    del data["engines"]
    (folder / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BackendError, match="built for: none at all"):
        Bundle.open(folder).engine(*CALL)


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
def test_a_manifest_that_is_no_small_file_is_refused_unread(folder: Path, kind: str) -> None:
    file = folder / "manifest.json"
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        with file.open("wb") as opened:
            opened.truncate(1 << 40)
    with pytest.raises(BundleError, match=r"manifest\.json .*it can't be read"):
        Bundle.open(folder)
    assert not is_bundle(folder)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        pytest.param(("decoder", *CALL[1:]), "no tensorrt_rtx engine of decoder", id="graph"),
        pytest.param(
            ("encoder", "tensorrt", "10.3", "8.6"), "no tensorrt engine of encoder", id="library"
        ),
        pytest.param((*CALL[:2], "1.8.0", "8.6"), "can't be loaded by 1.8.0", id="version"),
        pytest.param((*CALL[:3], "8.9"), "capability 8.9 (built for: 8.6)", id="capability"),
    ],
)
def test_a_machine_that_does_not_fit_is_told_what_to_run(
    folder: Path, call: tuple[str, str, str, str], said: str
) -> None:
    with pytest.raises(BackendError) as caught:
        Bundle.open(folder).engine(*call)
    assert said in str(caught.value)
    assert f"run mavos-build {folder} --library {call[1]}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_engine_of_another_graph_is_refused(folder: Path) -> None:
    changed = _change(folder, graph_sha256="0" * 64)
    with pytest.raises(BackendError, match=rf"from another encoder.onnx; run .*{COMMAND}"):
        changed.engine(*CALL)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(lambda path: path.write_bytes(b"x"), "its SHA-256 differs", id="altered"),
        pytest.param(lambda path: path.unlink(), "is missing", id="missing"),
    ],
)
def test_a_spoilt_plan_is_refused_but_the_bundle_opens(
    folder: Path, spoil: object, said: str
) -> None:
    spoil(folder / ENGINE.file)  # type: ignore[operator]
    bundle = Bundle.open(folder)
    with pytest.raises(BundleError, match=rf"{said}.*; run mavos-build .*{COMMAND}"):
        bundle.plan(bundle.engine(*CALL))


@pytest.mark.parametrize("file", ["../x.plan", "/etc/passwd", "engines/../../x"])
def test_a_plan_outside_of_the_bundle_is_refused(folder: Path, file: str) -> None:
    bundle = _change(folder, file=file)
    with pytest.raises(BundleError, match="lies outside of the bundle"):
        bundle.plan(bundle.engine(*CALL))


def test_a_plan_is_what_was_hashed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(folder)
    read = Path.read_bytes

    def read_and_replace(path: Path) -> bytes:
        content = read(path)
        path.write_bytes(b"swapped")
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_replace)
    assert bundle.plan(bundle.engine(*CALL)) == PLAN
    with pytest.raises(BundleError, match="its SHA-256 differs"):
        bundle.plan(bundle.engine(*CALL))


def test_an_engine_that_was_built_on_another_gpu_is_refused(folder: Path) -> None:
    bundle = _change(folder, gpu="NVIDIA L4")
    assert bundle.engine(*CALL, "NVIDIA L4").gpu == "NVIDIA L4"
    with pytest.raises(BackendError, match=rf"built on NVIDIA L4, .* is NVIDIA L40S; .*{COMMAND}"):
        bundle.engine(*CALL, "NVIDIA L40S")
    manifest = bundle.manifest
    wider = replace(
        ENGINE,
        capability="8.0",
        flags=Flags(hardware_compatible=Hardware.AMPERE_PLUS),
        gpu="NVIDIA A30",
    )
    write_manifest(folder, replace(manifest, engines=(*manifest.engines, wider)))
    assert Bundle.open(folder).engine(*CALL, "NVIDIA L40S") == wider
    alike = _change(
        folder, gpu="NVIDIA L4", flags=Flags(hardware_compatible=Hardware.SAME_CAPABILITY)
    )
    assert alike.engine(*CALL, "NVIDIA L40S").gpu == "NVIDIA L4"


def test_the_engine_for_the_very_gpu_comes_before_a_compatible_one(folder: Path) -> None:
    manifest = Bundle.open(folder).manifest
    other = replace(
        ENGINE,
        capability="8.0",
        file="engines/other.plan",
        flags=Flags(hardware_compatible=Hardware.AMPERE_PLUS),
    )
    (folder / other.file).write_bytes(PLAN)
    write_manifest(folder, replace(manifest, engines=(other, ENGINE)))
    bundle = Bundle.open(folder)
    assert bundle.engine(*CALL) == ENGINE
    assert bundle.engine(*CALL[:3], "8.9") == other


def test_a_plan_of_one_model_of_gpu_says_nothing_of_another(folder: Path) -> None:
    manifest = Bundle.open(folder).manifest
    here, there = (replace(ENGINE, gpu=name, file=f"engines/{name}.plan") for name in ("A", "B"))
    (folder / there.file).write_bytes(PLAN)
    write_manifest(folder, replace(manifest, engines=(here, there)))
    bundle = Bundle.open(folder)
    assert _up_to_date(bundle, replace(there, file="", sha256="")) == there
    assert _up_to_date(bundle, replace(here, file="", sha256="")) is None


def test_the_doctor_checks_engines_without_their_gpu(folder: Path) -> None:
    problems: list[str] = []
    found = doctor._engines(Bundle.open(folder), problems)
    assert found == ["tensorrt_rtx 1.7.1, compute capability 8.6: encoder"]
    assert problems == []
    (folder / ENGINE.file).write_bytes(PLAN[:-1])
    assert doctor._engines(Bundle.open(folder), problems) == []
    [problem] = problems
    assert "its SHA-256 differs" in problem
    assert problem.endswith(f"{COMMAND}, with the options that it was built with")


def test_a_file_is_read_or_checked_by_its_hash(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert bundle.read(ENGINE.file, ENGINE.sha256) == PLAN
    bundle.check(ENGINE.file, ENGINE.sha256)
    with pytest.raises(BundleError, match=r"its SHA-256 differs.*; make it again"):
        bundle.read(ENGINE.file, "0" * 64, "make it again")
    for method in (bundle.read, bundle.check):
        with pytest.raises(BundleError, match=r"its SHA-256 differs.*; export the bundle again"):
            method(ENGINE.file, "0" * 64)
        with pytest.raises(BundleError, match="is missing; export the bundle again"):
            method("engines/none.plan", ENGINE.sha256)
        with pytest.raises(BundleError, match="lies outside of the bundle; refused"):
            method("../x", ENGINE.sha256)


@pytest.mark.parametrize("seals", [True, False])
def test_a_graph_that_is_replaced_after_the_bundle_was_opened_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seals: bool
) -> None:
    if not seals:
        monkeypatch.setattr("mavos_deploy.runtime.bundles.bundle.can_seal", lambda size: False)
    bundle = Bundle.open(folder)
    path = bundle.graph_path("decoder")
    whole = path.read_bytes()
    with bundle.checked(path) as model:
        assert (model if isinstance(model, bytes) else Path(model).read_bytes()) == whole

    def checked() -> None:
        with bundle.checked(path):
            pytest.fail("it was handed on")

    path.write_bytes(b"another")
    for read in (lambda: bundle.content(path), lambda: bundle.graph("decoder"), checked):
        with pytest.raises(BundleError, match=r"decoder\.onnx is not the file that was made"):
            read()
    path.unlink()
    os.mkfifo(path)
    for read in (lambda: bundle.content(path), checked):
        with pytest.raises(BundleError, match=r"decoder\.onnx is missing"):
            read()
