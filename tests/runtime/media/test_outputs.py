"""Results are parsed, and refused where they would spoil something that is there."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.media.outputs import OpenOutputs, Outputs, parse_wanted
from mavos_deploy.runtime.media.results import RESULTS, Target

FRAME = LabelledFrame(0, "00000", np.ones((4, 5), np.uint8), np.zeros((4, 5, 3), np.uint8))


@pytest.mark.parametrize(
    ("text", "kind", "path", "option", "colour"),
    [
        pytest.param("coco", "coco", "v-coco.json", "", "", id="default-path"),
        pytest.param("binary", "binary", "v-binary", "", "", id="default-folder"),
        pytest.param("coco=a=b:c.json", "coco", "a=b:c.json", "", "", id="signs-in-the-path"),
        pytest.param("blur", "blur", "v-blur.mp4", "objects", "", id="first-option"),
        pytest.param("blur:background=x.MP4", "blur", "x.MP4", "background", "", id="option"),
        pytest.param("colour", "colour", "v-colour.mp4", "objects", "000000", id="colour"),
        pytest.param(
            "colour:FF0000,background=x.mp4", "colour", "x.mp4", "background", "ff0000", id="both"
        ),
        pytest.param("green-screen:0000ff", "green-screen", "v-green-screen.mp4", "", "0000ff"),
    ],
)
def test_a_result_is_read_from_its_words(
    text: str, kind: str, path: str, option: str, colour: str
) -> None:
    wanted = parse_wanted(text, "v")
    assert (wanted.kind.name, wanted.path) == (kind, Path(path))
    assert (wanted.option, wanted.colour) == (option, colour)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("cocoa", "'cocoa' is unknown; accepted are palette, binary,", id="kind"),
        pytest.param("coco:x", "coco has no option 'x'; it has none", id="no-option"),
        pytest.param("blur:x", "'x'; accepted are objects, background", id="option"),
        pytest.param("colour:12345", "accepted are objects, background, a colour as RR", id="hex"),
        pytest.param("coco=a.xml", "the name must end in .json", id="ending"),
        pytest.param("alpha-vp9=a", "the name must end in .webm", id="no-ending"),
    ],
)
def test_words_that_mean_nothing_are_refused_with_those_that_do(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_wanted(text, "v")
    assert str(caught.value).startswith(f"--write {text}: ")
    assert said in str(caught.value)


def _check(
    folder: Path, *texts: str, overwrite: bool = False, inputs: tuple[Path, ...] = ()
) -> Outputs:
    wanted = [parse_wanted(text.replace("=", f"={folder}/"), "v") for text in texts]
    return Outputs(wanted, overwrite, inputs)


def _picture(mode: str, name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, (5, 4)).save(folder / name)

    return make


@pytest.mark.parametrize(
    ("make", "text", "overwrite", "said"),
    [
        pytest.param(_picture("P", "o/a.png"), "palette=o", False, "pass --overwrite", id="full"),
        pytest.param(_picture("L", "o/a.png"), "palette=o", True, "no palette mask", id="grey"),
        pytest.param(_picture("P", "o/1/a.png"), "palette=o", True, "ask for binary", id="below"),
        pytest.param(_picture("P", "o/1/a.png"), "binary=o", True, "no grey mask", id="palette"),
        pytest.param(_picture("L", "o/x/a.png"), "binary=o", True, "holds more than", id="named"),
        pytest.param(_picture("L", "a.json"), "coco=a.json", False, "a.json exists", id="file"),
    ],
)
def test_what_is_there_is_replaced_only_if_it_is_wanted_and_ours(
    tmp_path: Path, make: Callable[[Path], None], text: str, overwrite: bool, said: str
) -> None:
    if text == "coco=a.json":
        (tmp_path / "a.json").write_text("{}")
    else:
        make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=said):
        _check(tmp_path, text, overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", bytes(5000)])
def test_files_of_nothing_after_a_power_cut_are_replaced(tmp_path: Path, content: bytes) -> None:
    _picture("P", "o/00000.png")(tmp_path)
    (tmp_path / "o/00001.png").write_bytes(content)
    with _check(tmp_path, "palette=o", overwrite=True).make():
        assert not list((tmp_path / "o").glob("*.png"))


@pytest.mark.parametrize("kind", ["coco", "youtube-vis", "mots"])
def test_a_missing_library_is_named_before_anything_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    ending = RESULTS[kind].suffix
    with pytest.raises(InputError, match=r"pip install 'mavos-deploy\[annotations\]'"):
        _check(tmp_path, "store=a.mavosmasks", "palette=o", f"{kind}=a{ending}")
    assert not list(tmp_path.iterdir())


def test_labelme_files_may_lie_beside_the_frames(tmp_path: Path) -> None:
    _picture("RGB", "frames/00000.jpg")(tmp_path)
    outputs = _check(tmp_path, "labelme=frames", inputs=(tmp_path / "frames",))
    with outputs.make(), outputs.open(Target(Legend())) as files:
        files.write(FRAME)
    assert sorted(p.name for p in (tmp_path / "frames").iterdir()) == ["00000.jpg", "00000.json"]
    with pytest.raises(InputError, match=r"holds 00000.json; pass --overwrite"):
        _check(tmp_path, "labelme=frames")


def test_two_results_in_one_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="coco and label-studio would both be written to"):
        _check(tmp_path, "coco=a.json", "label-studio=a.json")


def test_an_input_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(InputError, match=r"clip.mp4 is an input and would be replaced"):
        _check(tmp_path, "blur=clip.mp4", overwrite=True, inputs=(tmp_path / "clip.mp4",))


def test_a_folder_that_changed_since_it_was_checked_is_refused(tmp_path: Path) -> None:
    outputs = _check(tmp_path, "palette=o")
    _picture("P", "o/a.png")(tmp_path)
    with pytest.raises(InputError, match="was changed by something else"):
        outputs.make()


class _Failing:
    """A writer that can't be finished."""

    def write(self, frame: LabelledFrame) -> None:
        pass

    def __enter__(self) -> "_Failing":
        return self

    def __exit__(self, *_: object) -> None:
        raise InputError("the disk is full")


def test_a_writer_that_fails_at_the_end_does_not_spoil_the_others(tmp_path: Path) -> None:
    opened = OpenOutputs()
    opened.add(_Failing())
    wanted = parse_wanted(f"cvat-images={tmp_path}/a.xml", "v")
    opened.add(wanted.kind.open(Target(Legend(), path=wanted.path)))
    opened.write(FRAME)
    with pytest.raises(InputError, match="the disk is full"):
        opened.__exit__(None, None, None)
    assert (tmp_path / "a.xml").exists()
