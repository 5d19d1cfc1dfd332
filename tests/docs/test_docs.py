"""The documentation agrees with the code: tables, options, links."""

import ast
import hashlib
import json
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# Where the function of each command is, by the entry points that are installed.
COMMANDS = dict(
    re.findall(
        r'^(mavos(?:-\w+)?) = "([\w.]+:\w+)"$',
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)

each_page = pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES]
)


@cache
def options_of(command: str) -> frozenset[str]:
    """The options that a command's --help lists."""
    module, _, function = COMMANDS[command].partition(":")
    result = subprocess.run(
        [sys.executable, "-c", f"from {module} import {function}; {function}()", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    listed = re.findall(r"^ +(-\w, )?(--[a-z][a-z0-9-]*)", result.stdout, re.MULTILINE)
    return frozenset(option for _, option in listed)


def commands_of(page: Path) -> list[str]:
    """Every command line of a page: lines of code blocks, and code within sentences."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [line.strip() for line in re.findall(r"^ {4}(\S.*)$", prose, re.MULTILINE)]
    return [*lines, *(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))]


def printed_by(script: str) -> str:
    """The output of a script of docs/."""
    return subprocess.run(
        [sys.executable, ROOT / "docs" / script],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        cwd=ROOT,
    ).stdout


def test_graphs_page_is_what_the_generator_prints() -> None:
    printed = printed_by("print_graphs.py")
    page = (ROOT / "docs" / "graphs.md").read_text(encoding="utf-8")
    assert page == printed, "run python docs/print_graphs.py > docs/graphs.md"


def test_the_table_of_backends_is_what_the_code_reads() -> None:
    printed = printed_by("print_backends.py")
    page = (ROOT / "docs" / "run.md").read_text(encoding="utf-8")
    assert printed in page, "put what python docs/print_backends.py prints there"


def test_the_tables_of_masks_are_what_the_code_reads() -> None:
    printed = printed_by("print_masks.py")
    page = (ROOT / "docs" / "masks.md").read_text(encoding="utf-8")
    for table in printed.split("\n\n"):
        assert table in page, "put what python docs/print_masks.py prints there"


def test_the_tables_of_formats_are_what_the_code_reads() -> None:
    printed = printed_by("print_formats.py")
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    for table in printed.strip().split("\n\n"):
        assert table in page, "put what python docs/print_formats.py prints there"


def parity_row(what: str, stem: str) -> list[str]:
    """A row of a parity table, from what mavos-export or mavos-verify wrote."""
    file = ROOT / "benchmarks" / "results" / f"parity_{stem}.json"
    report = json.loads(file.read_text(encoding="utf-8"))
    graphs = report["tensors"].values()
    worst = max(error["relative"] for tensors in graphs for error in tensors.values())
    digits, _, exponent = f"{worst:.1e}".partition("e")
    return [
        what,
        f"{digits}e{int(exponent)}",
        f"{100 * report['worst_agreement']:.6g}%",
        f"{report['region']:.4f}, {report['boundary']:.4f}",
    ]


FLOAT32 = ("README.md", "What is proven")
FLOAT16 = ("docs/export.md", "Precision")


@pytest.mark.parametrize(
    ("place", "what", "stem"),
    [
        pytest.param(FLOAT32, "mobilenet", "mobilenet", id="mobilenet"),
        pytest.param(FLOAT32, "resnet50", "resnet50", id="resnet50"),
        pytest.param(FLOAT32, "swin_base", "swin_base", id="swin_base"),
        pytest.param(FLOAT16, "mobilenet, 97x97", "mobilenet_fp16_97x97", id="mobilenet-fp16"),
        pytest.param(FLOAT16, "resnet50, 97x97", "resnet50_fp16_97x97", id="resnet50-fp16"),
        pytest.param(FLOAT16, "swin_base, 96x96", "swin_base_fp16_96x96", id="swin_base-fp16"),
    ],
)
def test_parity_tables_are_what_was_measured(place: tuple[str, str], what: str, stem: str) -> None:
    assert [row for row in rows_of(*place) if row[0] == what] == [parity_row(what, stem)]


def results(stem: str) -> dict[str, Any]:
    """A report in benchmarks/results/."""
    file = ROOT / "benchmarks" / "results" / f"{stem}.json"
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return report


def words_of(page: str) -> str:
    """A page in one line, however its own are broken."""
    return " ".join((ROOT / page).read_text(encoding="utf-8").split())


def rows_of(page: str, section: str) -> list[list[str]]:
    """The cells of a section's tables, and of those within it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    heading = re.search(rf"^(##+) {re.escape(section)}$", text, re.MULTILINE)
    assert heading is not None, f"{page} has no section {section}"
    until = re.search(rf"^#{{1,{len(heading[1])}}} ", rest := text[heading.end() :], re.MULTILINE)
    lines = rest[: until.start() if until else None].splitlines()
    tables = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables]


def test_tables_of_speed_are_what_mavos_bench_measured() -> None:
    report = results("bench_mobilenet_481x849")
    assert report["load"]["busy"] is False
    figures = {
        name: [
            f"{entry['amortised_ms']:.0f}",
            f"{report['tensor_only']['pytorch-eager']['amortised_ms'] / entry['amortised_ms']:.2f}",
            f"{report['peak_memory_mb'][name]:.0f} MB",
        ]
        for name, entry in report["tensor_only"].items()
    }
    names = ["pytorch-eager", "pytorch-compiled", "onnxruntime-cpu", "openvino-cpu-bf16"]
    measured = [row[1:] for row in rows_of("README.md", "What it costs") if len(row) == 4]
    assert measured[2:] == [figures[name] for name in names]
    rows = {row[0]: row[1:] for row in rows_of("docs/performance.md", "Side by side")}
    (roof,) = (
        case["roof_ms"]
        for case in results("cost_mobilenet")["cases"]
        if (case["size"], case["objects"]) == ("481x849", report["objects"])
    )
    for name, entry in report["tensor_only"].items():
        times = [f"{entry[f'{kind}_ms']:.0f}" for kind in ("p50", "update_frame")]
        share = f"{roof / entry['amortised_ms']:.0%}"
        assert rows[name] == [*times, *figures[name], share], name


def test_the_table_of_cost_is_what_was_measured() -> None:
    report = results("cost_mobilenet")
    section = "Against the size of frames and the number of objects"
    rows = {tuple(row[:2]): row[2:] for row in rows_of("docs/performance.md", section)}
    for case in report["cases"]:
        times = [f"{case[f'{kind}_ms']:.0f}" for kind in ("frame", "update_frame", "amortised")]
        expected = [*times, f"{case['of_roof']:.0%}"]
        assert rows[case["size"], str(case["objects"])] == expected


def test_the_table_of_tiles_is_what_was_measured() -> None:
    report = results("tiles_mobilenet_481x849")
    rows = {
        row[0].split(",")[0]: row[1:]
        for row in rows_of("docs/performance.md", "What makes the graphs quick")
    }
    for tile, entry in report["tiles"].items():
        assert rows[tile] == [f"{entry['step_ms']:.1f}", f"{entry['ratio']:.3f}"], tile


def test_the_table_of_settings_is_what_was_measured() -> None:
    report = results("session_settings_mobilenet_481x849")
    rows = {
        row[0]: row[1:] for row in rows_of("docs/performance.md", "What makes the graphs quick")
    }
    for name, entry in report["settings"].items():
        figures = [
            f"{entry['frame_ms']:.0f}",
            f"{entry['ratio']:.2f}",
            f"{entry['peak_mb']:.0f} MB",
        ]
        assert rows[name] == figures, name


def test_the_table_of_latency_is_what_was_measured() -> None:
    report = results("serving_tiny")
    rows = {row[0]: row[1:] for row in rows_of("docs/serving.md", "Latency")}
    for entry in report["served"]:
        key = str(entry["streams"])
        times = [f"{entry[name]:.0f}" for name in ("p50_ms", "p99_ms")]
        server = [f"{entry[f'server_{part}_ms']:.1f}" for part in ("queue", "tracker")]
        assert rows[key] == [*times, *server, f"{entry['server_rest_ms']:.2f}"], key


def test_the_table_of_engines_is_what_was_built() -> None:
    plans = results("engines_fp16")["plans"]
    rows = {row[0]: row[1:] for row in rows_of("docs/build.md", "Figures")}
    assert rows["graph"] == list(plans)
    for place, built in enumerate(plans.values()):
        sizes = {plan["graph"]: plan["bytes"] for plan in built if plan["capability"] == "8.6"}
        for graph, size in sizes.items():
            assert rows[graph][place] == f"{size / 1e6:.1f} MB"
        assert rows["together"][place] == f"{sum(sizes.values()) / 1e6:.1f} MB"
        seconds = sum(plan["seconds"] for plan in built) / 3
        assert rows["time to build them"][place] == f"{seconds:.0f} s"
    board = {row[0]: row[1:] for row in rows_of("docs/jetson.md", "Memory")}
    assert board["six plans"] == rows["together"][:2]


def test_kernels_are_what_was_counted() -> None:
    before, after = results("kernels_mobilenet_before"), results("kernels_mobilenet")
    rows = {row[0]: row[1:] for row in rows_of("docs/gpu.md", "Kernels of a graph")}
    held = {f"`{name}`": figures for name, figures in after["graphs"].items()}
    held["`decoder_one` in its place"] = held.pop("`decoder_one`")
    for name in ("encoder", "elstt_step", "decoder", "memory_update"):
        held[f"`{name}` before"] = before["graphs"][name]
    for name in rows:
        if name.startswith("`"):
            assert rows[name] == [str(figure) for figure in held[name].values()], name
    page = words_of("docs/gpu.md")
    now, was = f"{after['frame_mb']:,}", f"{before['frame_mb']:,}"
    assert f"A frame with a tenth of an update moves {now} MB, where it was {was}." in page
    assert after["frame_mb"] <= 1300


def test_sums_in_float16_change_what_was_computed() -> None:
    report = results("half_sums_tiny")
    assert report["passed"] is True
    errors = [
        tensor["relative"]
        for graph in report["tensors"].values()
        for name, tensor in graph.items()
        if name != "labels"
    ]
    page = words_of("docs/export.md")
    assert f"is then {max(errors):.1e} off, against the limit of 2e-2".replace("e-0", "e-") in page
    assert report["tolerance"] == 2e-2


def test_figures_of_the_first_gpu_are_those_of_its_report() -> None:
    steps = results("gpu_day_h200")["steps"]
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    for graph, times in steps["graphs"]["figures"]["graphs"].items():
        wanted = ("fp32_captured_ms", "plain_ms", "plain_captured_ms", "exported_captured_ms")
        row = " | ".join(f"{times[name]:.2f}" for name in wanted)
        assert f"| `{graph}` | {row} |" in page
    times = steps["onnxruntime"]["figures"]["times"].values()
    *others, last = (f"{way['plain_frame_ms']:.1f}" for way in times)
    assert f"On the first day plain frames took {', '.join(others)} and {last} ms." in page
    device = steps["device"]["figures"]
    assert device["labels"]["frames_that_differ"] == []
    at_once, later = device["flat"], device["flat"]["labels_a_frame_later_ms"]
    assert f"{at_once['p50_ms']:.2f} ms (mean {at_once['mean_ms']:.2f}) with labels read at" in page
    assert f"{later['p50']:.2f} ms (mean {later['mean']:.2f}) with labels read [a frame" in page


def test_figures_of_the_same_gpu_on_a_later_day_are_those_of_their_report() -> None:
    steps = results("gpu_day_h200_second")["steps"]
    assert not any(step["exit_code"] for step in steps.values())
    page = words_of("docs/gpu.md")
    for step, digits in (("onnxruntime", 2), ("lite", 3)):
        figures = steps[step]["figures"]
        for times in figures["times"].values():
            row = f"{times['plain_frame_ms']:.1f} ms | {times['update_frame_ms']:.1f} ms"
            assert f"| {row} | {times['frames_per_second']:.0f} |" in page
        parity = figures["parity"]["onnxruntime-cuda"]
        assert parity["passed"] is True
        largest = max(
            difference["relative"]
            for tensors in parity["tensors"].values()
            for name, difference in tensors.items()
            if not name.endswith("labels")
        )
        assert f"difference of {largest:.1e}".replace("e-0", "e-") in page
        agreement = f"{parity['worst_agreement']:.{digits}%}"
        assert f"{agreement} of the pixels were equal in the worst frame" in page
    for step, name in (("pictures", "`tiny` at 241x433"), ("pictures lite", "`lite` at 481x849")):
        for backend, ran in steps[step]["figures"]["backends"].items():
            counted = ran["mavos_run"]
            row = f"{ran['seconds']:.1f} s | {counted['seconds']:.1f} s | {counted['fps']:.1f}"
            assert f"| {name}, `{backend}` | {row} |" in page
            assert ran["agreement"] == 1 or f"| {ran['agreement']:.3%} |" in page


def test_times_of_exports_are_those_of_their_report() -> None:
    rounds = results("export_times")["rounds"]
    rows = {
        row[0]: row[1:] for row in rows_of("docs/performance.md", "How long an export takes")[2:]
    }
    places = [(name, figure) for name in ("tiny", "mob") for figure in ("wall", "cpu")]
    assert len(rows) == len(places)
    for (name, figure), row in zip(places, rows.values(), strict=True):
        before, now = (
            [taken[figure] for taken in rounds[f"{name}-{way}"]] for way in ("before", "two")
        )
        ratio = median(n / b for n, b in zip(now, before, strict=True))
        assert row == [f"{median(before):.1f} s", f"{median(now):.1f} s", f"{ratio:.2f}"]


def times_as_fast(times: dict[str, list[float]]) -> str:
    """The median ratio of times that were taken in turns."""
    pairs = zip(times["before"], times["now"], strict=True)
    return f"{median(b / n for b, n in pairs):.2f}"


def test_times_from_1080p_are_those_of_their_report() -> None:
    report = results("from_1080p")
    page = words_of("docs/performance.md")
    for name in ("tiny_241x433_120_frames", "mobilenet_481x849_31_frames"):
        before, now = report[name]["before"], report[name]["now"]
        assert f"take {median(now):.1f} s" in page, name
        assert f"{median(before):.1f}" in page, name
        assert f"{times_as_fast(report[name])} times as fast" in page, name
    ahead = report["encoded_ahead"]
    gains = [
        times_as_fast(ahead[name])
        for name in (
            "lite_241x433_120_frames",
            "tiny_241x433_120_frames",
            "mobilenet_481x849_31_frames",
        )
    ]
    assert f"is {gains[0]} times as fast, `tiny` {gains[1]} times, and `mobilenet`" in page
    assert f"anyway, {gains[2]} times" in page
    cells = report["labels_in_cells"]
    lite, tiny = (cells[f"{name}_241x433_120_frames"] for name in ("lite", "tiny"))
    taken = f"takes {median(lite['now']):.1f} s for the 120 frames, {times_as_fast(lite)} times"
    assert taken in page
    assert f"`tiny` {median(tiny['now']):.1f} s, {times_as_fast(tiny)} times as fast" in page
    assert {f"{median(times['before']):.1f}" for times in (lite, tiny)} == {"6.4"}
    rates = report["lite_241x433_frames_per_second"]
    fp32, before = (rates[f"fp32, ONNX Runtime{when}"] for when in ("", ", before"))
    made = f"from 1080p to palette PNGs in float32, where it made {before}"
    assert f"makes {fp32} frames a second {made}" in page
    spent = report["lite_241x433_processor_ms_of_a_frame"]
    fp32, int8 = (round(spent[f"{kind}, ONNX Runtime"]) for kind in ("fp32", "int8"))
    assert f"takes {fp32} ms of processor time in float32, and {int8} ms in INT8" in page
    assert f"{rates['bf16, OpenVINO']} in bfloat16 with OpenVINO, and" in page
    assert f"{rates['int8, ONNX Runtime']} and {rates['int8, OpenVINO']} in INT8 with" in page


def test_figures_of_the_cpp_runtime_are_those_of_their_reports() -> None:
    rows = {row[0]: row[1:] for row in rows_of("docs/cpp.md", "Beside Python")}
    for name in ("tiny_241x433", "lite_241x433", "mobilenet_481x849"):
        report = results(f"cpp_{name}")
        own, ratios = report["cpp"], report["cpp_over_python"]
        variant, size = name.split("_")
        assert rows[f"`{variant}`, {size}"] == [
            f"{own['ms_per_frame']:.1f} ms",
            f"{ratios['ms_per_frame']:.2f}",
            f"{own['s_to_first_mask']:.2f} s",
            f"{ratios['s_to_first_mask']:.2f}",
            f"{own['peak_mb']:.0f} MB",
            f"{ratios['peak_mb']:.2f}",
        ]
    page = words_of("docs/cpp.md")
    lite, mobilenet = results("cpp_lite_241x433"), results("cpp_mobilenet_481x849")
    rate = f"{1000 / lite['cpp']['ms_per_frame']:.1f} frames a second"
    assert f"With `lite` this is {rate}" in page
    assert f"makes {rate} with `lite`" in words_of("docs/performance.md")
    assert f"{mobilenet['pixels_that_differ']} of {mobilenet['pixels']:,} pixels" in page


def test_times_of_labels_are_those_of_their_report() -> None:
    found = results("labels_tiny")["objects"]
    rows = {row[0]: row[1:] for row in rows_of("docs/performance.md", "From a 1080p file")}
    for objects, figures in found.items():
        assert figures["pixels_that_differ"] == 0
        assert rows[objects] == [f"{figures[f'{way}_ms']:.1f} ms" for way in ("now", "before")]


def rows_of_memory(memory: dict[str, Any]) -> dict[str, str]:
    """The rows of a report of `memory_modes.py` in the table of lite's trainings."""
    scores = memory["scores"]
    gains = {
        gain["in_subset"]: f"{gain['J&F']:.4f}, {gain['standard_error']:.4f}"
        for gain in memory["gains"]
        if (gain["memory"], gain["over"]) == ("mca", "reference+previous")
    }
    return {
        "20 made-up scenes with return, with MCA": f"{scores['mca']['return']:.3f}",
        "the same without MCA": f"{scores['reference+previous']['return']:.3f}",
        "gain of MCA there, with its standard error": gains[True],
        "gain of MCA in the other 20, with its standard error": gains[False],
        "all 40 made-up scenes": f"{scores['mca']['J&F']:.3f}",
    }


def test_scores_of_lites_trainings_are_those_of_their_reports() -> None:
    table = {row[0]: row[1:] for row in rows_of("docs/lite.md", "The training")}
    close, long = results("lite_close"), results("lite_long")
    reports = results("lite_first"), long, close["after"], close["average"]
    for column, report in enumerate(reports):
        scores = {
            "DAVIS 2016, the 30 sequences of its train list": report["davis2016_train"],
            "`chair` of PUMaVOS": report["real"]["chair"],
            "`dogs_jump` of DAVIS 2017": report["real"]["dogs_jump"],
        }
        wanted = {
            **rows_of_memory(report["memory"]),
            **{row: f"{score['J&F-Mean']:.3f}" for row, score in scores.items()},
        }
        assert {row: table[row][column] for row in wanted} == wanted
    page = words_of("docs/lite.md")
    half, most = (long["averages_of_both_weights"][key] for key in ("half", "three_quarters_new"))
    assert (
        f"gave {half['davis2016_train']:.3f} and {most['davis2016_train']:.3f} on DAVIS 2016, "
        f"and {half['dogs_jump']:.3f} and {most['dogs_jump']:.3f} on `dogs_jump`" in page
    )


def test_what_lite_can_do_is_what_was_measured() -> None:
    report, memory = results("eval_lite"), results("memory_modes_lite")
    shipped = hashlib.sha256((ROOT / "models/weights/lite.safetensors").read_bytes()).hexdigest()
    priced = results("price_lite_241x433")["weights_sha256"]
    assert report["weights_sha256"] == memory["weights"]["sha256"] == priced == shipped
    scores = {name: found["global"] for name, found in report["scores"].items()}
    rows = [row[1] for row in rows_of("docs/lite.md", "What it can do")[2:]]  # below the head
    wanted = [
        "{J&F-Mean:.3f} (J {J-Mean:.3f}, F {F-Mean:.3f})".format(**scores[name])
        for name in ("davis2016_train", "dogs_jump", "chair", "held_out")
    ]
    single = report["scores"]["ping_pong"]["single_pass"]
    wanted.insert(3, f"{scores['ping_pong']['J&F-Mean']:.3f}, a single pass {single:.3f}")
    assert rows == wanted
    table = {
        row[0]: row[1:] for row in rows_of("docs/lite.md", "What each part of the memory is worth")
    }
    for name, place in (
        ("reference", "reference"),
        ("previous", "previous"),
        ("reference+previous", "reference + previous (no MCA)"),
        ("mca", "reference + previous + dynamic slot by MCA"),
    ):
        found = memory["scores"][name]
        assert table[place] == [f"{found['J&F']:.3f}", f"{found['return']:.3f}"]


def in_words(row: str) -> str:
    """The name that pages give to a report's row of a number format and a library."""
    arithmetic, _, library = row.partition(", ")
    names = {"fp32": "float32", "bf16": "bfloat16", "int8": "INT8"}
    return f"{names[arithmetic]}, {library}"


def test_the_price_of_lites_formats_is_what_was_measured() -> None:
    found = results("price_lite_241x433")["rows"]
    rows = rows_of("docs/performance.md", "A small network beside a large one")
    table = {row[0]: row[1:] for row in rows if len(row) == 8}
    for name, row in found.items():
        assert table[in_words(name)] == [
            *(f"{quality['J&F']:.3f}" for quality in row["quality"].values()),
            f"{row['amortised_ms']:.1f}",
            f"{row['times_as_fast']:.2f}",
            f"{row['file_fps']:.1f}",
            f"{row['peak_mb']:.0f} MB",
        ]
    large = results("price_lite_481x849")["rows"]
    fp32, bf16, int8 = (f"{row['amortised_ms']:.1f} ms" for row in large.values())
    page = words_of("docs/performance.md")
    times = large["int8, OpenVINO"]["times_as_fast"]
    said = f"takes {fp32} in float32, and with OpenVINO {bf16} in bfloat16 and {int8} in INT8"
    assert f"{said}, which is {times:.2f} times as fast" in page
    of = {name: row["J&F-Mean"] for name, row in results("eval_lite_481x849")["rows"].items()}
    integers, floats = (f"{of[name]:.3f}" for name in ("int8, OpenVINO", "fp32, ONNX Runtime"))
    assert f"On DAVIS 2016 train INT8 gets {integers}, and float32 {floats}" in page
    before = results("price_lite_241x433_before")["rows"]
    earlier = before["int8, ONNX Runtime"]
    first, second, third = (f"{score['J&F']:.3f}" for score in earlier["quality"].values())
    assert (
        f"was {earlier['times_as_fast']:.2f} times as fast as float32 in an earlier run, with "
        f"{first}, {second} and {third} on the three sets and {earlier['peak_mb']:.0f} MB" in page
    )
    assert f"OpenVINO was {before['int8, OpenVINO']['times_as_fast']:.2f} times as fast" in page


def test_the_price_of_mobilenets_formats_is_what_was_measured() -> None:
    table = {row[0]: row[1:] for row in rows_of("docs/performance.md", "`mobilenet` in integers")}
    for name, row in results("price_mobilenet_481x849")["rows"].items():
        assert table[in_words(name)] == [
            f"{row['p50_ms']:.1f}",
            f"{row['amortised_ms']:.1f}",
            f"{row['times_as_fast']:.2f}",
            f"{row['peak_mb']:.0f} MB",
        ]
    report = results("bench_mobilenet_481x849_int8_openvino")
    pytorch, openvino = (
        report["tensor_only"][way] for way in ("pytorch-eager", "openvino-cpu-bf16")
    )
    page = words_of("docs/performance.md")
    assert (
        f"INT8 in OpenVINO is {openvino['speedup']:.2f} times as fast: {pytorch['p50_ms']:.0f} and "
        f"{openvino['p50_ms']:.0f} ms a frame in turns" in page
    )
    (of_roof,) = report["of_roofs"].values()
    shares = [graph["share"] for graph in of_roof["graphs"].values()]
    assert f"reach {min(shares):.0%} to {max(shares):.0%} of OpenVINO's INT8 roof" in page
    errors = results("calibration_mobilenet_481x849_openvino")["errors"]
    *first, last = (f"{error:.3f} in {graph}" for graph, error in errors.items())
    assert f"of that choice are {', '.join(first)} and {last}" in words_of("docs/calibrate.md")


def test_integers_over_long_videos_are_what_was_measured() -> None:
    table = {row[0]: row[1:] for row in rows_of("docs/performance.md", "Over 3,000 frames")}
    for name, row in results("eval_lite_3000")["rows"].items():
        assert table[in_words(name)] == [
            f"{row[which]:.4f}" for which in ("J&F-Mean", "J-Decay", "F-Decay")
        ]
    floats, integers = results("eval_lite_3000")["rows"].values()
    more = [(integers[which] - floats[which]) / 2 for which in ("J-Decay", "F-Decay")]
    assert f"INT8 decays by {sum(more):.4f} of J&F more" in words_of("docs/performance.md")


def test_integers_without_vnni_are_what_was_measured() -> None:
    table = {row[0]: row[1:] for row in rows_of("docs/performance.md", "Without VNNI")}
    scores = results("eval_lite_241x433_avx2")["rows"]
    for library, file in (("ONNX Runtime", ""), ("OpenVINO", "_openvino")):
        report = results(f"calibration_lite_241x433{file}_avx2")
        assert not {"avx512_vnni", "avx_vnni"} & set(report["machine"]["instructions"])
        before, after = (f"{seconds * 1e3:.1f}" for seconds in report["seconds"])
        assert table[library] == [
            f"{before} and {after}",
            f"{report['speed']:.2f}",
            f"{report['before']:.4f} and {report['after']:.4f}",
            f"{scores[f'int8, {library}']['J&F-Mean']:.3f}",
        ]


def test_what_lite_cant_do_is_what_was_measured() -> None:
    page = words_of("docs/lite.md")
    scores = results("eval_lite")["scores"]
    sequences = sorted(scores["davis2016_train"]["sequences"].items(), key=lambda item: item[1])
    worst = [f"`{name}` ({score:.3f})" for name, score in sequences[:4]]
    assert f"things: {', '.join(worst[:3])} and {worst[3]} are the worst of the 30" in page
    small, middle, large = (
        f"{scores[name]['global']['J&F-Mean']:.3f}"
        for name in ("chair", "chair_289x433", "chair_481x721")
    )
    sizes = f"`chair` gets {small} at 241x433, {middle} at 289x433 and {large} at 481x721"
    assert sizes in page
    second = results("lite_close")["second_run"]
    davis = second["davis2016_train"]["J&F-Mean"]
    assert abs(davis - scores["davis2016_train"]["global"]["J&F-Mean"]) <= 0.02
    assert f"after `lite-long`: {davis:.3f} on DAVIS 2016's train list" in page
    real = {name: found["J&F-Mean"] for name, found in second["real"].items()}
    assert f"{second['made_up']['J&F-Mean']:.3f} on the made-up scenes" in page
    assert f"{real['chair']:.3f} on `chair` (" in page
    assert f"{real['dogs_jump']:.3f} on `dogs_jump` (" in page


def test_checks_on_the_second_gpu_are_those_of_their_report() -> None:
    report = results("device_code_h100")
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    checks = report["checks"]
    assert all(check["passed"] for check in checks.values())
    after = ", ".join(f"{size} MB" for size in checks["returned"]["after_mb"])
    assert f"| {after} |" in page
    assert f"refused in words after {checks['full']['videos']} videos" in page
    memcheck = report["memcheck"]
    assert memcheck["errors"] == 0
    assert memcheck["frames_that_differ"] == []
    assert f"over {memcheck['frames']} frames with {memcheck['objects']} objects |" in page


def test_flatness_is_what_was_measured() -> None:
    soak = results("soak_mobilenet_481x849")
    assert soak["flat"] is True
    memory = f"{soak['memory_growth']:.1%}"
    young, early = (
        f"{soak[f'time_growth_against_{name}']:.1%}" for name in ("young_process", "early_state")
    )
    rows = {row[0]: row[1] for row in rows_of("docs/performance.md", "Over the length of a video")}
    assert rows["memory of the process"] == memory
    assert rows["time per frame, against a process just started"] == young
    assert rows["time per frame, against the early state"] == early
    readme = words_of("README.md")
    assert f"memory grows by {memory} and the time of a frame by {early}." in readme


def test_what_quantising_tiny_gave_is_what_was_measured() -> None:
    small, large = results("calibration_tiny_241x433"), results("calibration_tiny_481x849")
    rows = {row[0]: row[1:] for row in rows_of("docs/calibrate.md", "Figures") if len(row) == 3}
    for place, report in enumerate((small, large)):
        before, after = (f"{seconds * 1e3:.1f}" for seconds in report["seconds"])
        times = rows["milliseconds per frame, fp32 to int8, side by side"]
        assert times[place] == f"{before} to {after}"
        assert rows["times as fast"][place] == f"{report['speed']:.2f}"
        drop = rows["J&F drop on the held-out clips of `--data`"][place]
        assert drop == f"{report['drop']:.3f} ({len(report['held_out'])} clips)"
    scores = results("eval_tiny")["scores"]
    whole = [scores[name]["global"]["J&F-Mean"] for name in ("held_out", "held_out_int8")]
    row = rows["J&F on the 40 held-out scenes, fp32 and int8"]
    assert row[0] == " and ".join(f"{score:.4f}" for score in whole)
    text = words_of("docs/performance.md")
    bf16 = scores["held_out_openvino_bf16"]["global"]["J&F-Mean"]
    assert f"of J&F: {bf16:.4f} against {whole[0]:.4f}" in text
    wide = [row for row in rows_of("docs/calibrate.md", "Figures") if len(row) == 6]
    table = {row[0].split(",")[0]: row[1:] for row in wide}
    for cost in large["costs"]:
        if cost["group"] is None:
            saved = f"{cost['saved'] * 1e3:+.2f}"
            figures = [str(cost["layers"]), f"{cost['drop']:+.4f}", f"{cost['error']:.3f}", saved]
            assert table[cost["graph"]][:4] == figures


def test_what_quantising_mobilenet_gave_is_what_was_measured() -> None:
    report = results("calibration_mobilenet_481x849")
    page = words_of("docs/calibrate.md")
    before, after = (f"{seconds * 1e3:.1f}" for seconds in report["seconds"])
    assert f"{before} to {after} milliseconds per frame" in page
    assert f"{report['speed']:.2f} times as fast" in page
    rows = {row[0]: row[1:] for row in rows_of("docs/calibrate.md", "Figures") if len(row) == 5}
    for cost in report["costs"]:
        if cost["group"] is None:
            row = rows[cost["graph"]]
            assert row[0].split()[0] == str(cost["layers"])
            assert row[1:3] == [f"{cost['error']:.3f}", f"{cost['saved'] * 1e3:.1f}"]
            if cost["graph"] in report["errors"]:
                assert row[3] == f"{report['errors'][cost['graph']]:.3f}"


@each_page
def test_options_named_in_a_page_exist(page: Path) -> None:
    everything = frozenset[str]().union(*(options_of(command) for command in COMMANDS))
    for line in commands_of(page):
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", line))
        words = line.removeprefix("$ ").split()
        first = words[0] if words else ""
        if first == "mavos" and len(words) > 1 and f"mavos-{words[1]}" in COMMANDS:
            first = f"mavos-{words[1]}"
        if first in COMMANDS:
            assert named <= options_of(first) | {"--help"}, f"{page.name}: {line}"
        elif first.startswith("--"):
            assert named <= everything, f"{page.name}: {line}"


def test_every_option_is_explained_somewhere() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for command in COMMANDS:
        for option in options_of(command) - {"--help"}:
            assert re.search(rf"{option}(?![\w-])", text), f"{command} {option}"


def headings_of(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@each_page
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_relative_to(ROOT), target
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in headings_of(linked), f"{page.name} links to {target}"


@each_page
def test_pages_hold_no_path_of_one_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"(?<![\w.:/*])/(?:work|root|home|tmp|Users)/\S*", text)


@each_page
def test_pages_leave_nothing_to_be_filled_in(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"TODO|FIXME|XXX|TBD", text)


ROOMS = "models|runtime|evaluation|calibration|export|mavos_deploy|tests|docs|examples|benchmarks"


@each_page
def test_files_named_in_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(rf"(?<![\w/])(?:{ROOMS})/[\w./-]*(?:\.\w+|/)(?=[`\s])", text):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


@each_page
def test_what_a_page_imports_can_be_imported(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    names = re.findall(r"`(mavos_deploy(?:\.\w+)+)`", text)
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("mavos_deploy"):
                names += [f"{node.module}.{alias.name}" for alias in node.names]
    for name in names:
        module, _, last = name.rpartition(".")
        found = hasattr(import_module(module), last) or find_spec(name) is not None
        assert found, f"{page.name} names {name}"
