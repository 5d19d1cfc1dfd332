"""The one decoder of the JSON that this project writes: manifests, states, results, recordings.

A record is a frozen dataclass, or a msgspec Struct where a key has another name in the file. Its
annotations say which values are accepted, with `msgspec.Meta` for ranges, and its `__post_init__`
raises ValueError for values that don't go together. A field with a default may be absent, as in
files of earlier releases. msgspec checks all that; this module words the errors.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import inspect

from mavos_deploy.errors import MavosError
from mavos_deploy.reading import read_regular

T = TypeVar("T")

UPDATE = "update mavos-deploy"  # ends a reason for which nothing else helps
LARGEST = 64 * 2**20  # bytes of a file; the metadata of YouTube-VOS have 12 million
DIGITS = 20  # of an integer: 64 bits
HUGE = 1e30  # stands for NaN and infinity, which JSON lacks

# Values of the file may look like the end of a message: the last place is msgspec's own.
_PLACE = re.compile(r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)


def read(
    kind: type[T],
    path: Path,
    fail: Callable[[str], MavosError],
    version: int | None = None,
) -> T:
    """Read a record out of a JSON file.

    Args:
        kind: The record's class.
        path: The file.
        fail: See `decode`.
        version: See `decode`.

    Raises:
        FileNotFoundError: There is no such file.
        MavosError: It can't be read, is no regular file or has more bytes than `LARGEST`, or
            `decode` refuses it; `fail` made the error.
    """
    try:
        content = read_regular(path, LARGEST)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # a ValueError for a name that no file can have
        raise fail(f"it can't be read ({error})") from None
    return decode(kind, content, fail, version)


def decode(
    kind: type[T],
    content: bytes | str,
    fail: Callable[[str], MavosError],
    version: int | None = None,
) -> T:
    """Read a record out of JSON.

    Args:
        kind: The record's class.
        content: JSON text, UTF-8.
        fail: Makes the error to raise out of its reason, such as "`size` is missing"; it adds the
            file's name and, unless the reason ends in `UPDATE`, what to do.
        version: The `format_version` that the record must have; None where it has none.

    Raises:
        MavosError: The text is no JSON, holds a key twice, a number that no 64 bits hold or text
            that no file can have, is of another version, or a field is missing, of the wrong type
            or refused by the record's class; `fail` made the error.
    """
    endless: list[str] = []

    def number(text: str) -> float:
        if math.isinf(value := float(text)):
            endless.append(text)
        return value

    try:
        text = content if isinstance(content, str) else content.decode()
        data = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=number,
            object_pairs_hook=_object,
        )
        if "\\u" in text:  # bytes of file names come as surrogates; others can't be written again
            json.dumps(data, ensure_ascii=False).encode(errors="surrogateescape")
        if version is not None:
            check_version(data, version, fail)
        record = msgspec.convert(data, kind)
        if endless:  # said last: where no number may be so large, the record says it with its place
            raise ValueError(f"{endless[0]:.40} is too large a number")
        return record
    except msgspec.ValidationError as error:
        raise fail(_reason(error, data, kind)) from None
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise fail(f"it is not valid JSON ({error})") from None


def advice(reason: str, remedy: str) -> str:
    """The end of an error: what to do, unless the reason says it already."""
    return "" if reason.endswith(UPDATE) else f"; {remedy}"


def check_version(data: object, version: int, fail: Callable[[str], MavosError]) -> None:
    """Refuse a decoded record of another format version.

    Raises:
        MavosError: The version is missing or another one; `fail` made the error.
    """
    found = data.get("format_version") if isinstance(data, dict) else None
    if type(found) is not int:
        raise fail("`format_version` is missing")
    if found != version:
        raise fail(
            f"it has format version {found}, this release reads {version}"
            + (f"; {UPDATE}" if found > version else "")
        )


def encode(record: object, version: int | None = None) -> dict[str, Any]:
    """A record as plain values for `json.dumps`, with its format version first."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain if version is None else {"format_version": version, **plain}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _integer(text: str) -> int:
    value = int(text) if len(text) <= DIGITS else 1 << 64
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"{text:.40} is too large an integer")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"it holds the key {key!r:.40} twice")
    return found


def _reason(error: msgspec.ValidationError, data: object, kind: type[T]) -> str:
    """What msgspec found wrong, with the path in the words of the file."""
    match = _PLACE.fullmatch(str(error))
    assert match is not None
    what = match["what"]
    place, value, accepted = _follow(match["path"] or "", error, data, kind)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", what):
        return f"`{missing[1]}` is missing" + (f" in {place}" if place else "")
    if what.startswith("Invalid enum value") and isinstance(accepted, inspect.EnumType):
        what = (
            f"{value!r:.40} is unknown to this release, which reads {', '.join(accepted.cls)}; "
            + UPDATE
        )
    elif what.startswith("Expected") and isinstance(value, str | int | float):
        what += f"{'' if ', got' in what else ', got'} {value!r:.40}"
    what = what[:1].lower() + what[1:]
    return f"{place}: {what}" if place else what


def _follow(
    path: str, error: msgspec.ValidationError, data: object, kind: type[T]
) -> tuple[str, object, inspect.Type]:
    """The place that a path of msgspec's leads to: its name, its value and the type it should have.

    In the name, `[...]`, which msgspec writes for any key of a mapping, is the key itself.
    """
    names: list[str] = []
    here: Any = data
    accepted = inspect.type_info(kind)
    for part in re.findall(r"\.\w+|\[\d+\]|\[\.\.\.\]", path):
        accepted = _within(accepted, part)
        if part == "[...]":
            key = next((k for k in here if _fails_alone(here, k, error, data, kind)), None)
            if key is None:
                names.append("[...]")
                break
            names.append(f".{key:.40}" if key.isprintable() else f"[{key!r:.40}]")
            here = here[key]
        else:
            names.append(part)
            here = here[part[1:]] if part[0] == "." else here[int(part[1:-1])]
    return f"`{''.join(names).lstrip('.')}`" if names else "", here, accepted


def _within(accepted: inspect.Type, part: str) -> inspect.Type:
    """The type one part of a path further on."""
    for option in accepted.types if isinstance(accepted, inspect.UnionType) else (accepted,):
        match option:
            case inspect.DataclassType() | inspect.StructType():
                for field in option.fields:
                    if f".{field.encode_name}" == part:
                        return field.type
            case inspect.DictType() if part == "[...]":
                return option.value_type
            case inspect.VarTupleType() | inspect.ListType() if part[0] == "[":
                return option.item_type
            case inspect.TupleType() if part[0] == "[":
                return option.item_types[int(part[1:-1])]
    return inspect.AnyType()


def _fails_alone(
    mapping: dict[str, Any], key: str, error: msgspec.ValidationError, data: object, kind: type[T]
) -> bool:
    """Whether the same error stays when a mapping of the decoded data has this key only."""
    kept = dict(mapping)
    mapping.clear()
    mapping[key] = kept[key]
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError as found:
        return str(found) == str(error)
    except UnicodeEncodeError:  # the error of a key whose bytes are no text
        return False
    finally:
        mapping.clear()
        mapping.update(kept)
    return False
