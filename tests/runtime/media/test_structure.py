"""The outline of a file tells whether all of it is there."""

from pathlib import Path

import pytest

from mavos_deploy.runtime.media.structure import Outline, outline
from tests.made_videos import video

FORMATS = [
    pytest.param("a.mp4", "libx264", "mp4", id="mp4"),
    pytest.param("a.mov", "mpeg4", "mp4", id="mov"),
    pytest.param("a.avi", "mpeg4", "avi", id="avi"),
    pytest.param("a.mkv", "libx264", "matroska", id="mkv"),
    pytest.param("a.webm", "libvpx-vp9", "matroska", id="webm"),
]


@pytest.mark.parametrize(("name", "codec", "kind"), FORMATS)
def test_a_whole_file_is_complete_and_data_ends_inside(
    tmp_path: Path, name: str, codec: str, kind: str
) -> None:
    path = video(tmp_path / name, codec)
    found = outline(path, [kind])
    assert found is not None
    assert found.complete
    assert found.data_end <= path.stat().st_size
    assert (found.data_end > 0) == (kind != "mp4")


@pytest.mark.parametrize(("name", "codec", "kind"), FORMATS)
@pytest.mark.parametrize("share", [0.6, 0.95])
def test_a_file_that_is_cut_off_is_not(
    tmp_path: Path, name: str, codec: str, kind: str, share: float
) -> None:
    path = video(tmp_path / name, codec)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert outline(path, [kind]) == Outline(complete=False, data_end=0)


CUES = b"\x1c\x53\xbb\x6b"


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")])
@pytest.mark.parametrize("behind", [-9, -1, 0, 1, 11, 12, 13, 15])
def test_a_matroska_file_is_complete_if_no_more_than_its_index_is_missing(
    tmp_path: Path, name: str, codec: str, behind: int
) -> None:
    path = video(tmp_path / name, codec)
    content = path.read_bytes()
    index = content.rindex(CUES)  # behind the clusters
    path.write_bytes(content[: index + behind])
    whole = behind >= 12  # so many bytes tell surely what begins there
    assert outline(path, ["matroska"]) == Outline(whole, index if whole else 0)


def test_a_cut_off_matroska_file_that_is_filled_with_zeros_is_not_complete(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", count=300)
    content = path.read_bytes()
    cluster = content.rindex(b"\x1f\x43\xb6\x75")
    path.write_bytes(content[:cluster] + b"\0" * 16)
    assert outline(path, ["matroska"]) == Outline(complete=False, data_end=0)


@pytest.mark.parametrize("kind", ["mp4", "avi", "matroska"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 100, b"RIFF\0\0\0\0AVI "])
def test_other_bytes_have_no_outline_that_says_more(
    tmp_path: Path, kind: str, content: bytes
) -> None:
    (tmp_path / "a").write_bytes(content)
    found = outline(tmp_path / "a", [kind])
    assert found is None or found.data_end == 0


def test_a_recording_in_fragments_is_not_judged(tmp_path: Path) -> None:
    import av
    import numpy as np

    options = {"movflags": "frag_keyframe+empty_moov"}
    with av.open(str(tmp_path / "a.mp4"), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert outline(tmp_path / "a.mp4", ["mov", "mp4"]) is None


def test_other_formats_are_not_judged(tmp_path: Path) -> None:
    assert outline(video(tmp_path / "a.ts"), ["mpegts"]) is None


def test_data_is_expected_behind_a_damaged_element(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", count=300)
    whole = outline(path, ["matroska"])
    content = bytearray(path.read_bytes())
    cluster = content.rindex(b"\x1f\x43\xb6\x75")
    content[cluster : cluster + 4] = b"\x1f\x43\xb6\x76"
    path.write_bytes(content)
    damaged = outline(path, ["matroska"])
    assert whole is not None
    assert damaged is not None
    assert whole.data_end <= damaged.data_end <= len(content)
    assert damaged.data_end > cluster
