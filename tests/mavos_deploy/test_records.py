"""Records are read by their annotations, and what is wrong with one is said with its place."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from mavos_deploy import records
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


def fail(reason: str) -> BundleError:
    return BundleError(f"a.json: {reason}")


def read(text: str | bytes, version: int | None = None) -> Whole:
    return decode(Whole, text, fail, version)


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
            '{"pair": [1, 2], "paints": {"b": {"colour": "a - at `$.pair[...]`b"}}}',
            "`paints.b.colour`: 'a - at `$.pair[...]`b' is unknown to this release, which reads",
            id="unknown-word-like-a-place",
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
        pytest.param(
            '{"pair": [1, 2], "paints": {"a": {"share": 1}}, "pair": [3, 4]}',
            "it holds the key 'pair' twice",
            id="key-twice",
        ),
        pytest.param(
            '{"pair": [1, 2], "more": [1e999]}', "1e999 is too large a number", id="infinite-aside"
        ),
        pytest.param(f'{{"pair": [1, 1{"0" * 400}]}}', "000 is too large an integer", id="giant"),
        pytest.param(f'{{"pair": [1, {"9" * 5000}]}}', "999 is too large an integer", id="longer"),
        pytest.param(f'{{"pair": [1, {2**64}]}}', f"{2**64} is too large an integer", id="65-bits"),
        pytest.param('{"pair": "\\ud800"}', "it is not valid JSON", id="half-a-character"),
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


@dataclass(frozen=True)
class Drawn:
    area: Part | list[list[float]] | None = None


@pytest.mark.parametrize(
    ("area", "reason"),
    [
        ('[[1, "x"]]', "`area[0][1]`: expected `float`, got `str` 'x'"),
        ("[1, 2]", "`area[0]`: expected `array`, got `int` 1"),
    ],
)
def test_the_place_is_named_where_there_may_be_several_kinds(area: str, reason: str) -> None:
    with pytest.raises(BundleError) as raised:
        decode(Drawn, f'{{"area": {area}}}', fail)
    assert reason in str(raised.value)


def test_bytes_of_file_names_that_are_no_utf_8_come_back() -> None:
    name = os.fsdecode(b"a\xff")
    assert read(json.dumps({"pair": [1, 2], "parts": {name: {"file": name}}})).parts[name].file


def test_a_record_is_read_out_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"pair": [1, 2]}')
    assert records.read(Whole, tmp_path / "a.json", fail) == Whole((1, 2))
    with pytest.raises(FileNotFoundError):
        records.read(Whole, tmp_path / "b.json", fail)
    with pytest.raises(BundleError, match="it can't be read"):
        records.read(Whole, tmp_path, fail)
    with pytest.raises(BundleError, match="it can't be read"):
        records.read(Whole, tmp_path / "a\0", fail)


def test_a_pipe_or_a_giant_file_is_no_record(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(BundleError, match=r"it can't be read .it is a pipe"):
        records.read(Whole, tmp_path / "a.json", fail)
    with (tmp_path / "b.json").open("wb") as file:
        file.truncate(records.LARGEST + 1)
    with pytest.raises(BundleError, match="the limit is"):
        records.read(Whole, tmp_path / "b.json", fail)
