"""A bundle that was altered is refused in one line; no manifest makes the loader stumble."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mavos_deploy.errors import BundleError
from mavos_deploy.runtime.bundles.bundle import Bundle

Refused = Callable[..., str]
Ended = subprocess.CompletedProcess[str]
Manifest = dict[str, Any]


def _manifest(bundle: Path) -> Manifest:
    data: Manifest = json.loads((bundle / "manifest.json").read_text())
    return data


def _write(bundle: Path, manifest: object) -> None:
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def _replace_graph(bundle: Path, graph: str, content: bytes, rehash: bool) -> None:
    path = bundle / f"graphs/{graph}.onnx"
    path.unlink()
    path.write_bytes(content)
    if rehash:
        manifest = _manifest(bundle)
        manifest["graphs"][graph]["sha256"] = hashlib.sha256(content).hexdigest()
        _write(bundle, manifest)


def _changed_byte(bundle: Path) -> None:
    content = bytearray((bundle / "graphs/decoder.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    _replace_graph(bundle, "decoder", bytes(content), rehash=False)


def _swapped_graphs(bundle: Path) -> None:
    manifest = _manifest(bundle)
    one, other = manifest["graphs"]["encoder"], manifest["graphs"]["decoder"]
    for key in ("file", "sha256"):
        one[key], other[key] = other[key], one[key]
    _write(bundle, manifest)


def _newer(bundle: Path) -> None:
    _write(bundle, {**_manifest(bundle), "format_version": 999})


def _path(text: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        manifest = _manifest(bundle)
        manifest["graphs"]["encoder"]["file"] = text
        _write(bundle, manifest)

    return change


def _link_out(bundle: Path) -> None:
    path = bundle / "graphs/encoder.onnx"
    outside = bundle.parent / "outside.onnx"
    path.rename(outside)
    path.symlink_to(outside)


def _link_to_itself(bundle: Path) -> None:
    path = bundle / "graphs/encoder.onnx"
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(_changed_byte, "graphs/decoder.onnx is not the file", id="changed-byte"),
        pytest.param(
            lambda b: (b / "graphs/decoder.onnx").unlink(),
            "graphs/decoder.onnx is missing",
            id="missing-graph",
        ),
        pytest.param(
            lambda b: (b / "manifest.json").unlink(), "it holds no manifest.json", id="no-manifest"
        ),
        pytest.param(
            lambda b: (b / "manifest.json").write_text("{"), "is not valid JSON", id="not-json"
        ),
        pytest.param(
            lambda b: (b / "manifest.json").write_text("[" * 100_000),
            "is not valid JSON",
            id="deeply-nested",
        ),
        pytest.param(
            lambda b: (b / "manifest.json").write_bytes(b"\xff\xfe"),
            "manifest.json is not a manifest of this release: it is not valid JSON",
            id="not-text",
        ),
        pytest.param(
            lambda b: (b / "manifest.json").write_text("[]"), "is not a manifest", id="list"
        ),
        pytest.param(_newer, "has format version 999, this release reads 1; update", id="newer"),
        pytest.param(_path("../x.onnx"), "lies outside of the bundle; refused", id="parent"),
        pytest.param(_path("/etc/passwd"), "lies outside of the bundle; refused", id="absolute"),
        pytest.param(_path("graphs/../../x"), "lies outside of the bundle", id="hidden-parent"),
        pytest.param(_link_out, "lies outside of the bundle; refused", id="link-out"),
        pytest.param(_link_to_itself, "", id="link-to-itself"),
        pytest.param(_path(""), "lies outside of the bundle", id="no-name"),
        pytest.param(_path("graphs"), "graphs is missing", id="folder"),
        pytest.param(_path("a\0b"), "can't be read", id="null-byte"),
        pytest.param(_path("\ud800"), "surrogates not allowed", id="surrogate"),
        pytest.param(_path("x" * 5000), "can't be read", id="long-name"),
        pytest.param(
            lambda b: _replace_graph(b, "encoder", b"garbage" * 99, rehash=True),
            "encoder.onnx: ",
            id="rehashed-garbage",
        ),
        pytest.param(
            lambda b: _replace_graph(b, "encoder", b"", rehash=True),
            "encoder.onnx",
            id="rehashed-empty-file",
        ),
        pytest.param(_swapped_graphs, "decoder.onnx has no tensor frame", id="swapped-graphs"),
    ],
)
def test_a_spoilt_bundle_is_refused(
    refused: Refused,
    own_bundle: Path,
    video: SimpleNamespace,
    spoil: Callable[[Path], object],
    said: str,
) -> None:
    spoil(own_bundle)
    reason = refused(
        "mavos-run", own_bundle, video.frames, "--masks", video.mask, "--overlay", "o.mp4"
    )
    assert said in reason
    assert str(own_bundle) in reason


@pytest.mark.parametrize("command", ["mavos-run", "mavos-verify"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("nothing", "nothing does not exist", id="missing"),
        pytest.param("lite", "`mavos-export --variant lite --size 241x433` makes", id="variant"),
        pytest.param("file", "file is a file", id="file"),
        pytest.param("empty", "empty is not a bundle", id="empty-folder"),
    ],
)
def test_what_is_no_bundle_is_refused(
    refused: Refused, video: SimpleNamespace, tmp_path: Path, command: str, name: str, said: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    rest = [video.frames, "--masks", video.mask] if command == "mavos-run" else []
    assert said in refused(command, name, *rest)


def test_a_missing_bundle_is_said_with_the_command_that_makes_one(refused: Refused) -> None:
    said = refused("mavos-run", "clip.mp4", "--masks", "first.png")
    assert "got clip.mp4 alone, and a bundle is missing" in said
    assert "`mavos-export --variant lite --size 241x433` makes" in said


def _places(node: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in a manifest, of long lists to their first entry alone."""
    if path:
        yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _places(value, (*path, key))
    elif isinstance(node, list) and node:
        yield from _places(node[0], (*path, 0))


WRONG = [None, [], {}, "", "text", -1, 0, 1.5, 10**9, 10**400, True, [None], {"a": None}]
# Any text will do for these, and anything inside the last two.
TEXTS = {"weights_source", "weights_sha256", "variant", "precision", "target"}
NOTES = {"tools", "parity"}


def test_a_manifest_with_any_field_missing_or_of_another_kind_is_refused(
    bundle: Path, tmp_path: Path
) -> None:
    manifest = _manifest(bundle)
    (tmp_path / "graphs").mkdir()
    for name, graph in manifest["graphs"].items():
        (tmp_path / graph["file"]).write_bytes(name.encode())
        graph["sha256"] = hashlib.sha256(name.encode()).hexdigest()
    _write(tmp_path, manifest)
    Bundle.open(tmp_path)

    opened: list[tuple[tuple[Any, ...], object]] = []
    messages: set[str] = set()
    for path in list(_places(manifest)):
        for value in (..., *WRONG):
            changed = deepcopy(manifest)
            parent: Any = changed
            for key in path[:-1]:
                parent = parent[key]
            if parent[path[-1]] == value and type(parent[path[-1]]) is type(value):
                continue
            if value is ...:
                del parent[path[-1]]
            else:
                parent[path[-1]] = value
            _write(tmp_path, changed)
            try:
                Bundle.open(tmp_path)
                opened.append((path, value))
            except BundleError as error:
                messages.add(str(error))
    assert max(len(message.splitlines()) for message in messages) == 1
    assert max(len(message) for message in messages) < 1000
    for path, given in opened:
        harmless = (
            (path[0] in TEXTS and isinstance(given, str))
            or (path[0] in NOTES and (len(path) > 1 or isinstance(given, dict)))
            or (path in (("parity",), ("quantisation",)) and given in (None, ...))
            or (path in (("engines",), ("dynamic",), ("tiled",)) and given is ...)
            # Releases that knew MAVOS alone didn't say these.
            or (path == ("dimensions", "blocks") and given is ...)
            or (path == ("memory",) and (given is ... or isinstance(given, dict)))
            or (path[0] == "memory" and given is ...)
            or (path == ("memory_gap",) and given in (10**9, 10**400))
            or given is True  # which is 1 in Python
        )
        assert harmless, (path, given)


def test_a_consistent_manifest_of_a_huge_size_is_refused(bundle: Path, tmp_path: Path) -> None:
    text = json.dumps({**_manifest(bundle), "height": 16 * 10**6 + 1, "width": 16 * 10**6 + 1})
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match="the limit is 67108864 pixels in all"):
        Bundle.open(tmp_path)
