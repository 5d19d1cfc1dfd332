"""Records are read by their annotations, and what is wrong with one is said with its place."""

import json
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from mavos_deploy.errors import BundleError
from mavos_deploy.records import decode, encode
from mavos_deploy.words import Word


class Colour(Word):
    RED = "red"
    BLUE = "blue"


class Renamed(msgspec.Struct, frozen=True, rename={"shade": "colour"}):
    shade: Colour = Colour.RED
    share: Annotated[float, Meta(ge=0, le=1)] | None = None


@dataclass(frozen=True)
class Part:
    file: str
    size: int = 0

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size {self.size}, expected 0 or more")


@dataclass(frozen=True)
class Whole:
    pair: tuple[int, int]
    parts: dict[str, Part] = field(default_factory=dict)
    rows: tuple[Part, ...] = ()
    paints: dict[str, Renamed] = field(default_factory=dict)


def read(text: str | bytes, version: int | None = None) -> Whole:
    return decode(Whole, text, lambda reason: BundleError(f"a.json: {reason}"), version)


def test_a_record_comes_back_as_it_was_written() -> None:
    paints = {"b": Renamed(Colour.BLUE, 0.5)}
    whole = Whole((1, 2), {"a": Part("x", 3)}, (Part("y"),), paints)
    assert json.loads(json.dumps(encode(whole)))["paints"] == {
        "b": {"colour": "blue", "share": 0.5}
    }
    assert read(json.dumps(encode(whole, 4)), 4) == whole
    assert next(iter(encode(whole, 4))) == "format_version"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param('{"pair": [1]}', "`pair`: expected `array` of length 2", id="length"),
        pytest.param('{"pair": [1, true]}', "`pair[1]`: expected `int`, got `bool`", id="type"),
        pytest.param("{}", "`pair` is missing", id="missing"),
        pytest.param(
            '{"pair": [1, 2], "parts": {"a": {"file": "x"}, "b": {"size": 1}}}',
            "`file` is missing in `parts.b`",
            id="missing-in-one-of-a-mapping",
        ),
        pytest.param(
            '{"pair": [1, 2], "parts": {"a": {"file": "x"}, "b": {"file": "x", "size": "1"}}}',
            "`parts.b.size`: expected `int`, got `str`",
            id="type-in-one-of-a-mapping",
        ),
        pytest.param(
            '{"pair": [1, 2], "rows": [{"file": "x"}, {"file": "x", "size": -1}]}',
            "`rows[1]`: size -1, expected 0 or more",
            id="refused-by-the-record",
        ),
        pytest.param(
            '{"pair": [1, 2], "paints": {"a": {}, "b": {"colour": "green"}}}',
            "`paints.b.colour`: 'green' is unknown to this release, which reads red, blue; update "
            "mavos-deploy",
            id="unknown-word",
        ),
        pytest.param(
            '{"pair": [1, 2], "paints": {"a": {"share": 1.5}}}',
            "`paints.a.share`: expected `float` <= 1.0, got 1.5",
            id="out-of-range",
        ),
        pytest.param(
            '{"pair": [1, 2], "parts": {"a\\nb": {"file": 1}}}',
            "`parts['a\\nb'].file`: expected `str`, got `int` 1",
            id="key-of-two-lines",
        ),
        pytest.param('{"pair": [1, 1e400]}', "expected `int`, got `float` inf", id="infinite"),
        pytest.param("[]", "expected `object`, got `array`", id="no-object"),
        pytest.param('{"pair"', "it is not valid JSON", id="no-json"),
        pytest.param(b'{"pair": "\xff"}', "it is not valid JSON", id="no-text"),
        pytest.param("[" * 100_000, "it is not valid JSON", id="too-deep"),
        pytest.param('{"pair": [1, NaN]}', "it is not valid JSON", id="nan"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str | bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=r"^a\.json: ") as raised:
        read(text)
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"pair": [1, 2]}', "`format_version` is missing"),
        ('{"format_version": true}', "`format_version` is missing"),
        ('{"format_version": 1}', "it has format version 1, this release reads 2"),
        ('{"format_version": 3}', "this release reads 2; update mavos-deploy"),
        ("7", "`format_version` is missing"),
    ],
)
def test_another_version_is_refused_before_anything_else(text: str, reason: str) -> None:
    with pytest.raises(BundleError) as raised:
        read(text, 2)
    assert reason in str(raised.value)
