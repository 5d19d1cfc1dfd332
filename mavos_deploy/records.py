"""The one decoder of the JSON that this project writes: manifests, states, results, recordings.

A record is a frozen dataclass, or a msgspec Struct where a key has another name in the file. Its
annotations say which values are accepted, with `msgspec.Meta` for ranges, and its `__post_init__`
raises ValueError for values that don't go together. A field with a default may be absent, as in
files of earlier releases. msgspec checks all that; this module words the errors.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import inspect

from mavos_deploy.errors import MavosError

T = TypeVar("T")

UPDATE = "update mavos-deploy"  # ends a reason for which nothing else helps
HUGE = 1e30  # stands for NaN and infinity, which JSON lacks

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)


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
        MavosError: The text is no JSON, of another version, or a field is missing, of the wrong
            type or refused by the record's class; `fail` made the error.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        data = json.loads(text, parse_constant=_refuse_constant)
        if version is not None:
            check_version(data, version, fail)
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise fail(_reason(error, data, kind)) from None
    except (ValueError, RecursionError) as error:
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


def _reason(error: msgspec.ValidationError, data: object, kind: type[T]) -> str:
    """What msgspec found wrong, with the path in the words of the file."""
    match = _PLACE.match(str(error))
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
                return next(f.type for f in option.fields if f".{f.encode_name}" == part)
            case inspect.DictType():
                return option.value_type
            case inspect.VarTupleType() | inspect.ListType():
                return option.item_type
            case inspect.TupleType():
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
    finally:
        mapping.clear()
        mapping.update(kept)
    return False
