"""The one decoder of the JSON that this project writes: manifests, states, results, recordings.

A record is a frozen dataclass. Its annotations say what is accepted, its `__post_init__` raises
ValueError for values that don't go together, and a field with a default may be absent, as in files
of earlier releases. msgspec reads and checks it; this module words the errors.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mavos_deploy.errors import MavosError

T = TypeVar("T")

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)


def decode(
    kind: type[T],
    content: bytes | str,
    fail: Callable[[str], MavosError],
    version: int | None = None,
) -> T:
    """Read a record out of JSON.

    Args:
        kind: The dataclass to make.
        content: JSON text, UTF-8.
        fail: Makes the error to raise out of its reason, such as "`size` is missing"; it adds the
            file's name and what to do.
        version: The `format_version` that the record must have; None where it has none.

    Raises:
        MavosError: What `fail` makes: no JSON, another version, or a field that is missing, of the
            wrong type or refused by the dataclass.
    """
    try:
        data = msgspec.json.decode(content)
        if version is not None:
            check_version(data, version, fail)
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise fail(_reason(error, data, kind)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise fail(f"it is not valid JSON ({error})") from None


def check_version(data: object, version: int, fail: Callable[[str], MavosError]) -> None:
    """Refuse a decoded record of another format version.

    Raises:
        MavosError: What `fail` makes.
    """
    found = data.get("format_version") if isinstance(data, dict) else None
    if type(found) is not int:
        raise fail("`format_version` is missing")
    if found != version:
        raise fail(
            f"it has format version {found}, this release reads {version}"
            + ("; update mavos-deploy" if found > version else "")
        )


def encode(record: object, version: int | None = None) -> dict[str, Any]:
    """A record as plain values for `json.dumps`, with its format version first."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain if version is None else {"format_version": version, **plain}


def read(file: Path, fail: Callable[[str], MavosError]) -> bytes:
    """The content of a record's file.

    Raises:
        FileNotFoundError: There is no such file; the caller knows what that means.
        MavosError: What `fail` makes: the file can't be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise fail(f"it can't be read ({error})") from None


def _reason(error: msgspec.ValidationError, data: object, kind: type[T]) -> str:
    """What msgspec found wrong, with the path in the words of the file."""
    match = _PLACE.match(str(error))
    assert match is not None
    what, path = match["what"], match["path"]
    if missing := re.fullmatch(r"Object missing required field `(.*)`", what):
        within = f" in {_named(path, error, data, kind)}" if path else ""
        return f"`{missing[1]}` is missing{within}"
    what = what[:1].lower() + what[1:]
    if not path:
        return what
    return f"{_named(path, error, data, kind)}: {what}"


def _named(path: str, error: msgspec.ValidationError, data: object, kind: type[T]) -> str:
    """A path in which `[...]`, which msgspec writes for any key of a mapping, is the key itself."""
    names: list[str] = []
    here: Any = data
    for part in re.findall(r"\.\w+|\[\d+\]|\[\.\.\.\]", path):
        if part == "[...]":
            key = next((k for k in here if _fails_alone(here, k, error, data, kind)), None)
            if key is None:
                names.append("[...]")
                break
            names.append(f".{key}")
            here = here[key]
        else:
            names.append(part)
            here = here[part[1:]] if part[0] == "." else here[int(part[1:-1])]
    return f"`{''.join(names).lstrip('.')}`"


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
