"""Every picture of a training is listed, with a licence that lets weights be passed on."""

import csv
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.training import gather
from examples.training.stills import load_pictures


def png(mode: str, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 40).convert(mode).save(file, "PNG")
    return file.getvalue()


def write_list(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    thing, photo = png("RGBA", (400, 200)), png("RGB", (1800, 600))
    (tmp_path / "thing.png").write_bytes(thing)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("photo.png", photo)
    common = {"package": "made-up", "licence": "CC0-1.0", "author": "nobody"}
    rows = [
        {"kind": "thing", "path": "thing.png", "sha256": hashlib.sha256(thing).hexdigest()},
        {"kind": "photo", "path": "all.zip#photo.png", "sha256": hashlib.sha256(photo).hexdigest()},
    ]
    rows = [row | common for row in rows]
    write_list(tmp_path / "list.csv", rows)
    monkeypatch.setattr(gather, "LIST", tmp_path / "list.csv")
    return rows


def test_all_listed_licences_let_weights_be_passed_on() -> None:
    rows = gather.sources()
    assert len(rows) > 500
    assert {row.licence for row in rows} <= gather.LICENCES
    assert not [row for row in rows if not row.author or len(row.sha256) != 64]
    assert len({(row.package, row.path) for row in rows}) == len(rows)


def test_the_page_of_the_variant_names_every_package() -> None:
    page = (Path(__file__).parents[3] / "docs/lite.md").read_text(encoding="utf-8")
    for package, licence in {(row.package, row.licence) for row in gather.sources()}:
        assert any(package in line and licence in line for line in page.splitlines()), package


def test_listed_pictures_are_gathered(tmp_path: Path, listed: list[dict[str, str]]) -> None:
    (tmp_path / "not_listed.png").write_bytes(png("RGB", (10, 10)))
    gather.gather(tmp_path, tmp_path / "pictures.npz")
    pictures = load_pictures(tmp_path / "pictures.npz")
    assert [thing.shape for thing in pictures.things] == [(180, 360, 4)]
    assert [photo.shape for photo in pictures.photos] == [(300, 900, 3)]
    assert pictures.photos[0].dtype == np.uint8


def test_another_file_under_a_listed_name_is_refused(
    tmp_path: Path, listed: list[dict[str, str]]
) -> None:
    (tmp_path / "thing.png").write_bytes(png("RGBA", (400, 201)))
    with pytest.raises(SystemExit, match=r"thing\.png is another version than list\.csv lists"):
        gather.gather(tmp_path, tmp_path / "pictures.npz")
    assert not (tmp_path / "pictures.npz").exists()


def test_a_licence_that_is_not_allowed_is_refused(
    tmp_path: Path, listed: list[dict[str, str]]
) -> None:
    listed[1]["licence"] = "CC-BY-NC-4.0"
    write_list(tmp_path / "list.csv", listed)
    with pytest.raises(SystemExit, match=r"CC-BY-NC-4\.0"):
        gather.gather(tmp_path, tmp_path / "pictures.npz")


def test_a_missing_picture_names_its_package(tmp_path: Path, listed: list[dict[str, str]]) -> None:
    (tmp_path / "all.zip").unlink()
    with pytest.raises(SystemExit, match=r"made-up.*unpack the package"):
        gather.gather(tmp_path, tmp_path / "pictures.npz")
