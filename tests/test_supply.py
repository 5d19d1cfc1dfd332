"""Everything that is installed for the project has a version in constraints.txt."""

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def _project() -> dict[str, Any]:
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 has no reader of TOML, and pins of its own")
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _installed(wanted: list[str]) -> dict[str, str]:
    """Versions of the packages that requirements bring along, as far as they are installed."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        needed = waiting.pop()
        extras = {*needed.extras, ""}
        if str(needed) in seen:
            continue
        seen.add(str(needed))
        try:
            package = metadata.distribution(needed.name)
        except metadata.PackageNotFoundError:
            continue
        found[canonicalize_name(needed.name)] = package.version
        for text in package.requires or []:
            part = Requirement(text)
            if part.marker is None or any(part.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(part)
    return found


def test_what_is_installed_is_pinned() -> None:
    project = _project()
    wanted = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    wanted += [text for text in project["dependency-groups"]["dev"] if isinstance(text, str)]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(re.split(r"[=;\s]", line)[0]) for line in lines if line[:1] != "#"}
    assert not sorted(_installed(wanted).keys() - pinned)
