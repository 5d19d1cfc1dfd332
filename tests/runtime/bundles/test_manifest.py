"""The manifest: what releases before this one wrote is read, and what is wrong is said."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mavos_deploy.errors import BundleError
from mavos_deploy.runtime.bundles.engines import Hardware, Library
from mavos_deploy.runtime.bundles.manifest import (
    MANIFEST,
    Manifest,
    Target,
    is_bundle,
    write_manifest,
)
from mavos_deploy.runtime.bundles.quantisation import GraphKind

DATA = Path("tests/data/manifests")
# As written by releases with a decoder of their own, and the identity that those gave it. States
# of their bundles carry it.
WRITTEN = {
    "quantised": "8eeaa3d3b9c3259afad386c118160eb99d50e89c333c265c03a5546002c982b3",
    "any_size": "36b413b10e427ad8b628928744b42e5dbb37975ea9123b7292d639540fc37a35",
    "oldest": "4d6df8e9dc5988755c1a4f4ca37998dc617f81e8a56848f7aefe2f8131f46578",
}
# Absent in bundles of the first releases.
LATER = ("engines", "dynamic", "tiled", "quantisation", "parity")


def _text(name: str) -> str:
    return (DATA / f"{name}.json").read_text(encoding="utf-8")


def _data(name: str = "quantised") -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_text(name))
    return data


def _read(data: object) -> Manifest:
    return Manifest.from_json(json.dumps(data), "b/manifest.json")


@pytest.mark.parametrize(("name", "identity"), WRITTEN.items())
def test_manifests_of_earlier_releases_are_read(name: str, identity: str) -> None:
    manifest = Manifest.from_json(_text(name), name)
    assert manifest.identity == identity
    assert manifest.size == (97, 113)
    assert manifest.graphs["encoder"].inputs[0].name == "frame"


@pytest.mark.parametrize("name", ["quantised", "any_size"])
def test_a_manifest_is_written_as_it_was_byte_for_byte(name: str) -> None:
    assert Manifest.from_json(_text(name), name).to_json() == _text(name)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_lacks_is_not_written(value: float, tmp_path: Path) -> None:
    manifest = replace(_read(_data()), parity={"worst_agreement": value})
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(tmp_path, manifest)
    assert not any(tmp_path.iterdir())


def test_every_part_is_read_into_its_own_type() -> None:
    manifest = _read(_data())
    assert manifest.target is Target.GPU
    assert [engine.library for engine in manifest.engines] == list(Library)
    assert manifest.engines[0].flags.hardware_compatible is Hardware.AMPERE_PLUS
    assert manifest.engines[1].profiles[0]["frame"][2] == (1, 1041, 1041, 3)
    assert manifest.quantisation is not None
    assert manifest.quantisation.kind is GraphKind.CPU
    assert manifest.quantisation.ranges["encoder"]["relu"] == (-0.5, 6.0)
    assert manifest.quantisation.attention["memory"][2].zero_point == (0, 127)
    assert (manifest.arithmetic, manifest.memory_values) == ("int8", "int8")


@pytest.mark.parametrize("key", LATER)
def test_what_older_bundles_lack_may_be_absent(key: str) -> None:
    data = _data()
    del data[key]
    manifest = _read(data)
    assert not getattr(manifest, key)
    assert _read(json.loads(manifest.to_json())) == manifest


def test_older_quantised_bundles_say_nothing_of_attention() -> None:
    data = _data()
    del data["quantisation"]["attention"]
    manifest = _read(data)
    assert manifest.quantisation is not None
    assert manifest.quantisation.attention == {}
    assert manifest.memory_values == "float"


def test_a_new_field_is_one_line() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Longer(Manifest):
        licence: tuple[str, ...] = ()

    with pytest.raises(BundleError, match=r"`licence\[1\]`: expected `str`, got `int` 3; export"):
        Longer.from_json(json.dumps({**_data(), "licence": ["BSD", 3]}), "a.json")
    longer = Longer.from_json(json.dumps({**_data(), "licence": ["BSD", "MIT"]}), "a.json")
    assert isinstance(longer, Longer)
    assert longer.licence == ("BSD", "MIT")
    assert json.loads(longer.to_json())["licence"] == ["BSD", "MIT"]
    oldest = Longer.from_json(_text("oldest"), "a.json")
    assert isinstance(oldest, Longer)
    assert oldest.licence == ()


def test_names_that_are_no_unicode_are_read_as_before() -> None:
    assert _read({**_data(), "weights_source": "caf\udce9.pth"}).weights_source == "caf\udce9.pth"


EXPORT = "; export the bundle again"
BUILD = "remove the entry and run mavos-build again"
CALIBRATE = "run mavos-calibrate again"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        pytest.param(
            "height", "97", f"`height`: expected `int`, got `str` '97'{EXPORT}", id="type"
        ),
        pytest.param("height", True, "`height`: expected `int`, got `bool` True", id="bool"),
        pytest.param("trained", ..., f"`trained` is missing{EXPORT}", id="missing"),
        pytest.param("tools", ..., f"`tools` is missing{EXPORT}", id="missing-though-last"),
        pytest.param("tools.torch", 2, "`tools.torch`: expected `str`, got `int` 2", id="mapping"),
        pytest.param(
            "dimensions.features", [1, 2], "`dimensions.features`: expected `array` of length 3"
        ),
        pytest.param(
            "graphs.encoder.inputs.0.shape.1",
            None,
            f"`graphs.encoder.inputs[0].shape[1]`: expected `int | str`, got `null`{EXPORT}",
            id="shape",
        ),
        pytest.param("graphs.encoder.sha256", ..., "`sha256` is missing in `graphs.encoder`"),
        pytest.param("dynamic", None, "`dynamic`: expected `bool`, got `null`", id="null"),
        pytest.param("width", 100, f"the nearest size is 97x97{EXPORT}", id="size"),
        pytest.param(
            "memory_gap", 0, f"`memory_gap`: expected `int` >= 1, got 0{EXPORT}", id="gap"
        ),
        pytest.param(
            "precision",
            "fp8",
            "`precision`: 'fp8' is unknown to this release, which reads fp32, fp16; update "
            "mavos-deploy",
            id="precision",
        ),
        pytest.param(
            "target",
            "npu",
            "`target`: 'npu' is unknown to this release, which reads cpu, gpu; update mavos-deploy",
            id="target",
        ),
        pytest.param("engines", {}, f"`engines`: expected `array`, got `object`; {BUILD}"),
        pytest.param("engines.0.file", ..., f"`file` is missing in `engines[0]`; {BUILD}"),
        pytest.param(
            "engines.1.library",
            "tensorrt_xl",
            "`engines[1].library`: 'tensorrt_xl' is unknown to this release, which reads tensorrt, "
            f"tensorrt_rtx; update mavos-deploy, or {BUILD}",
            id="library",
        ),
        pytest.param(
            "engines.0.flags.hardware_compatible",
            "all",
            "`engines[0].flags.hardware_compatible`: 'all' is unknown to this release",
            id="hardware",
        ),
        pytest.param(
            "engines.0.capability",
            "8",
            f"`engines[0]`: compute capability '8'; expected a number such as 8.6; {BUILD}",
            id="capability",
        ),
        pytest.param(
            "engines.1.profiles.0.frame",
            [[1], [2]],
            f"`engines[1].profiles[0].frame`: expected `array` of length 3, got 2; {BUILD}",
            id="profile",
        ),
        pytest.param(
            "quantisation",
            [],
            f"`quantisation`: expected `object | null`, got `array`; {CALIBRATE}",
        ),
        pytest.param(
            "quantisation.target",
            "tpu",
            "`quantisation.target`: 'tpu' is unknown to this release, which reads cpu, openvino, "
            f"tensorrt; update mavos-deploy, or {CALIBRATE}",
            id="kind",
        ),
        pytest.param(
            "quantisation.type",
            "fp8",
            f"`quantisation`: fp8 graphs for cpu are unknown to this release; {CALIBRATE}",
            id="type-of-kind",
        ),
        pytest.param(
            "quantisation.target",
            "tensorrt",
            "`quantisation`: attention in integers, which graphs for tensorrt don't have; ",
            id="attention-of-kind",
        ),
        pytest.param(
            "quantisation.attention.cross", [], "`quantisation`: attention 'cross' is unknown"
        ),
        pytest.param(
            "quantisation.ranges.encoder.add",
            [0.0, float("1e999")],
            "`quantisation.ranges.encoder.add[1]`: expected `float` <= 3.4028234663852886e+38, got "
            f"inf; {CALIBRATE}",
            id="infinite-range",
        ),
        pytest.param(
            "quantisation.attention.self.1.scale.0",
            0.0,
            "`quantisation.attention.self[1].scale[0]`: expected `float` > 0.0, got 0.0; "
            f"{CALIBRATE}",
            id="scale",
        ),
        pytest.param(
            "quantisation.attention.memory.0.zero_point.1",
            128,
            "`quantisation.attention.memory[0].zero_point[1]`: expected `int` <= 127, got 128",
            id="zero-point",
        ),
        pytest.param(
            "quantisation.attention.memory.0.zero_point",
            [1],
            "scales of 2 channels and zero points of 1, expected one of each for every channel",
            id="levels",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_what_to_do(
    place: str, value: object, said: str
) -> None:
    data: Any = _data()
    *parents, key = (int(part) if part.isdigit() else part for part in place.split("."))
    here = data
    for parent in parents:
        here = here[parent]
    if value is ...:
        del here[key]
    else:
        here[key] = value
    text = json.dumps(data).replace("Infinity", "1e999")  # which JSON can hold
    with pytest.raises(BundleError) as raised:
        Manifest.from_json(text, "b/manifest.json")
    message = str(raised.value)
    assert message.startswith("b/manifest.json is not a manifest of this release: ")
    assert said in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 2}, "it has format version 2, this release reads 1; update mavos-dep"),
        ({"format_version": 0}, "this release reads 1; export the bundle again"),
        ({"format_version": "1"}, "`format_version` is missing; export the bundle again"),
    ],
)
def test_another_format_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(BundleError) as raised:
        _read({**_data(), **change})
    assert said in str(raised.value)
    assert str(raised.value).count(";") == 1


def test_a_folder_is_known_by_its_manifest_whatever_the_version(tmp_path: Path) -> None:
    assert not is_bundle(tmp_path)
    (tmp_path / MANIFEST).write_text('{"format_version": 99, "graphs": 3}')
    assert is_bundle(tmp_path)
    for text in ("{}", "[]", "{", "[" * 100_000):
        (tmp_path / MANIFEST).write_text(text)
        assert not is_bundle(tmp_path)
