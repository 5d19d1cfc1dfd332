"""The address of a project's page is kept where nobody else can read it."""

import json
import os
import stat
from pathlib import Path

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio import address
from mavos_deploy.runtime.studio.address import FILE, Address, keep_address, read_address

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="keeps no address on Windows")


def kept(folder: Path) -> Address:
    """An address in a folder."""
    made = Address(port=4242)
    assert keep_address(folder, made) == ""
    return made


def test_the_next_server_has_the_same_address(tmp_path: Path) -> None:
    assert read_address(tmp_path)[0].port == 0
    made = kept(tmp_path)
    assert read_address(tmp_path) == (made, "")


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_only_its_user_may_read_it(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        kept(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def _opened(path: Path) -> None:
    path.chmod(0o640)


def _linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _doubled(path: Path) -> None:
    os.link(path, path.with_name("double"))


def _shortened(path: Path) -> None:
    path.write_text('{"token": "x", "port": 1}')


def _torn(path: Path) -> None:
    path.write_text('{"token": ')


def _piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("spoil", [_opened, _linked, _doubled, _shortened, _torn, _piped])
def test_one_that_others_may_know_or_made_is_replaced(tmp_path: Path, spoil: object) -> None:
    made = kept(tmp_path)
    assert callable(spoil)
    spoil(tmp_path / FILE)
    new, why = read_address(tmp_path)
    assert new.token != made.token
    assert "the address is a new one" in why
    assert keep_address(tmp_path, new) == ""
    assert read_address(tmp_path) == (new, "")
    assert not (tmp_path / FILE).is_symlink()


def test_a_link_is_called_one(tmp_path: Path) -> None:
    kept(tmp_path)
    _linked(tmp_path / FILE)
    assert "address.json is not used (it is a link), and" in read_address(tmp_path)[1]


def test_one_of_another_user_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "it belongs to another user" in read_address(tmp_path)[1]


def test_without_modes_it_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "OWN_ALONE", 0o644)  # as file systems without modes give it
    assert "others may read files" in keep_address(tmp_path, Address())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = kept(tmp_path)

    def full(*_: object) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr(json, "dumps", full)
    assert "the disk is full" in keep_address(tmp_path, Address())
    monkeypatch.undo()
    assert read_address(tmp_path) == (made, "")
