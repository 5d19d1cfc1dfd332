"""The page of a run: its parts, its worst frames, and a real browser that opens it."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.runtime.masks.writing import Checked, LabelledFrame, Legend
from mavos_deploy.runtime.review.events import Watch
from mavos_deploy.runtime.review.report import APART, WORST, ReportWriter
from tests import browser
from tests.made_clips import synthetic_clip

FACTS = {"command": "mavos-run bundle clip.mp4", "network": "tiny"}


def written(path: Path, values: list[float]) -> str:
    """Text of the page of a made-up clip whose first object has these values."""
    clip = synthetic_clip(72, 96, 12, objects=2, seed=1)
    watch = Watch()
    with ReportWriter(path, Legend("clip", {1: "dog"}), watch.events, FACTS) as writer:
        for number, value in enumerate(values):
            labels = clip.labels[number % 12].copy()
            labels[labels == 2] = 0 if number > len(values) // 2 else 2
            frame = LabelledFrame(
                number,
                f"{number:05d}",
                labels,
                clip.frames[number % 12],
                confidence={1: value, 2: 0.9},
            )
            watch.look(frame.index, frame.stem, frame.labels, frame.rgb)
            writer.write(frame)
    return path.read_text(encoding="utf-8")


def test_the_worst_frames_are_shown_worst_first_and_apart(tmp_path: Path) -> None:
    values = [0.8] * (APART * (WORST + 5))
    for place, value in ((3, 0.3), (4, 0.1), (5, 0.2), (47, 0.05)):
        values[place] = value
    text = written(tmp_path / "r.html", values)
    shown = re.findall(r'alt="frame (\d+)"', text)
    assert shown[:2] == ["00047", "00004"]
    assert len(shown) == WORST
    assert not {"00003", "00005"} & set(shown)
    assert "dog 1: 0.05" in text


def test_a_page_has_everything_that_the_run_was_made_with(tmp_path: Path) -> None:
    text = written(tmp_path / "r.html", [0.9] * 5)
    for name, value in FACTS.items():
        assert f"<th>{name}</th><td>{value}</td>" in text


def test_a_page_says_how_low_a_backward_check_came_out(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    with ReportWriter(path, Legend(), [], {}) as writer:
        for number, value in enumerate((0.8, 0.3, 0.9)):
            frame = LabelledFrame(number, f"{number}", np.ones((4, 5), np.uint8))
            writer.write(replace(frame, confidence={1: 0.7}, checked=Checked("0", {1: value})))
    assert "lowest check 0.30" in path.read_text(encoding="utf-8")


def test_masks_without_confidence_make_a_page_that_says_unknown(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    with ReportWriter(path, Legend(), [], {}) as writer:
        writer.write(LabelledFrame(0, "00000", np.ones((4, 5), np.uint8)))
    assert "unknown" in path.read_text(encoding="utf-8")


@pytest.mark.skipif(not browser.INSTALLED, reason="needs Chromium, chromedriver and selenium")
def test_a_browser_shows_the_page_without_a_network(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    written(path, [0.9] * 20 + [0.1] * 10 + [0.8] * 10)
    (tmp_path / "browser").mkdir()
    with browser.opened(tmp_path / "browser", height=900) as chrome:
        chrome.set_network_conditions(offline=True, latency=0, throughput=0)
        chrome.get(path.as_uri())
        assert browser.complaints(chrome) == []
        assert chrome.title == "clip: masks to look at"
        found = chrome.execute_script(
            "const images = [...document.images];"
            "const strips = [...document.querySelectorAll('.strip svg')];"
            "return {loaded: images.filter(i => i.complete && i.naturalWidth > 0).length,"
            " images: images.length, strips: strips.length,"
            " widths: strips.map(s => s.getBoundingClientRect().width),"
            " bars: strips[0].querySelectorAll('rect').length,"
            " marks: document.querySelectorAll('.event').length}"
        )
        assert found["loaded"] == found["images"] == 4
        assert found["strips"] == 2
        assert min(found["widths"]) > 300
        assert found["bars"] == 3
        assert found["marks"] >= 1
        assert chrome.save_screenshot(str(tmp_path / "page.png"))
    assert (tmp_path / "page.png").stat().st_size > 10_000
