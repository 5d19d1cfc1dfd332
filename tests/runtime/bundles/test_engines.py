"""Entries of a manifest for engines: how they are read, and which machine they fit."""

import json
from dataclasses import asdict, replace

import pytest

from mavos_deploy.errors import BundleError
from mavos_deploy.records import decode, encode
from mavos_deploy.runtime.bundles.engines import (
    Engine,
    Flags,
    Hardware,
    Library,
    Misfit,
    Why,
    capability_pair,
    choose,
)

ENGINE = Engine(
    graph="encoder",
    file="engines/tensorrt_rtx-1.7.1/encoder-sm86-0.plan",
    sha256="12" * 32,
    graph_sha256="34" * 32,
    library=Library.TENSORRT_RTX,
    version="1.7.1",
    capability="8.6",
    gpu=None,
    driver=None,
    flags=Flags(),
    profiles=({"frame": ((1, 3), (2, 3), (4, 3))},),
)
WIDE = Flags(hardware_compatible=Hardware.AMPERE_PLUS)
ALIKE = Flags(hardware_compatible=Hardware.SAME_CAPABILITY)
L4 = replace(ENGINE, gpu="L4")
L40S = replace(ENGINE, gpu="L40S", file="engines/l40s.plan")
A30 = replace(ENGINE, gpu="A30", capability="8.0", flags=WIDE)
OLD = replace(ENGINE, version="1.6.0")
LASTING = replace(OLD, flags=Flags(version_compatible=True))
STALE = replace(ENGINE, graph_sha256="0" * 64)


@pytest.mark.parametrize(
    ("engines", "machine", "found"),
    [
        pytest.param((), {}, Misfit(Why.CAPABILITY, ()), id="none"),
        pytest.param((ENGINE,), {}, ENGINE, id="fits"),
        pytest.param((ENGINE,), {"graph": "decoder"}, Misfit(Why.CAPABILITY, ()), id="other-graph"),
        pytest.param(
            (ENGINE,), {"library": "tensorrt"}, Misfit(Why.CAPABILITY, ()), id="other-library"
        ),
        pytest.param(
            (ENGINE, A30), {"capability": "7.5"}, Misfit(Why.CAPABILITY, (ENGINE, A30)), id="older"
        ),
        pytest.param(
            (ENGINE,), {"capability": "8.9"}, Misfit(Why.CAPABILITY, (ENGINE,)), id="capability"
        ),
        pytest.param((ENGINE, A30), {"capability": "8.9"}, A30, id="compatible"),
        pytest.param((A30, ENGINE), {}, ENGINE, id="very-capability-first"),
        pytest.param((OLD,), {}, Misfit(Why.VERSION, (OLD,)), id="release"),
        pytest.param((LASTING,), {}, LASTING, id="later-release"),
        pytest.param((OLD, A30), {}, A30, id="compatible-that-loads-first"),
        pytest.param((STALE,), {}, Misfit(Why.GRAPH, (STALE,)), id="graph-changed"),
        pytest.param((L4,), {"gpu": "L4"}, L4, id="very-gpu"),
        pytest.param((L4,), {}, L4, id="any-gpu"),
        pytest.param((L4,), {"gpu": "L40S"}, Misfit(Why.GPU, (L4,)), id="other-gpu"),
        pytest.param((L4, L40S), {"gpu": "L40S"}, L40S, id="very-gpu-first"),
        pytest.param((L4, A30), {"gpu": "L40S"}, A30, id="compatible-before-other-gpu"),
        pytest.param(
            (replace(L4, flags=ALIKE),), {"gpu": "X"}, replace(L4, flags=ALIKE), id="like"
        ),
        pytest.param(
            (replace(OLD, gpu="L4", graph_sha256=""),),
            {"gpu": "X"},
            Misfit(Why.VERSION, (replace(OLD, gpu="L4", graph_sha256=""),)),
            id="several-reasons",
        ),
    ],
)
def test_the_engine_that_fits_a_machine(
    engines: tuple[Engine, ...], machine: dict[str, str], found: Engine | Misfit
) -> None:
    asked = {"graph": "encoder", "library": "tensorrt_rtx", "version": "1.7.1", "capability": "8.6"}
    assert choose(engines, graph_sha256="34" * 32, **{**asked, **machine}) == found


def _decoded(data: object) -> Engine:
    return decode(Engine, json.dumps(data), BundleError)


def test_an_entry_is_read_as_it_was_written() -> None:
    for engine in (ENGINE, A30, LASTING):
        assert _decoded(encode(engine)) == engine


@pytest.mark.parametrize("key", [*asdict(ENGINE)])
@pytest.mark.parametrize("value", [..., 1.5, [1], {"tf32": 1}], ids=str)
def test_an_entry_of_another_kind_is_refused(key: str, value: object) -> None:
    data = encode(ENGINE)
    if value is ...:
        del data[key]
    else:
        data[key] = value
    with pytest.raises(BundleError, match=rf"^`{key}\b.*(is missing|: expected `.*, got `)"):
        _decoded(data)


@pytest.mark.parametrize(
    ("flags", "capability", "runs"),
    [
        pytest.param(Flags(), "8.6", True, id="own"),
        pytest.param(Flags(), "8.9", False, id="other"),
        pytest.param(Flags(hardware_compatible=Hardware.SAME_CAPABILITY), "8.9", False, id="same"),
        pytest.param(Flags(hardware_compatible=Hardware.AMPERE_PLUS), "8.0", True, id="ampere"),
        pytest.param(Flags(hardware_compatible=Hardware.AMPERE_PLUS), "12.0", True, id="newer"),
        pytest.param(Flags(hardware_compatible=Hardware.AMPERE_PLUS), "7.5", False, id="turing"),
    ],
)
def test_capabilities_that_an_engine_runs_on(flags: Flags, capability: str, runs: bool) -> None:
    assert replace(ENGINE, flags=flags).runs_on(capability) is runs


@pytest.mark.parametrize(
    ("compatible", "built", "loads", "runs"),
    [
        pytest.param(False, "10.3.0", "10.3.0", True, id="same"),
        pytest.param(False, "10.3.0", "10.9.0", False, id="later"),
        pytest.param(True, "10.3.0", "10.10.0", True, id="compatible-later"),
        pytest.param(True, "10.3.0", "11.0.0", True, id="compatible-next-major"),
        pytest.param(True, "10.10.0", "10.9.0", False, id="compatible-earlier"),
    ],
)
def test_releases_that_load_an_engine(compatible: bool, built: str, loads: str, runs: bool) -> None:
    engine = replace(ENGINE, version=built, flags=Flags(version_compatible=compatible))
    assert engine.runs_with(loads) is runs


@pytest.mark.parametrize(
    ("field", "value", "rebuilds"),
    [
        pytest.param("graph_sha256", "1", True, id="graph"),
        pytest.param("version", "1.8", True, id="version"),
        pytest.param("capability", "8.9", True, id="capability"),
        pytest.param("gpu", "another", True, id="gpu"),
        pytest.param("flags", Flags(tf32=True), True, id="flags"),
        pytest.param("profiles", (), True, id="profiles"),
        pytest.param("driver", "1.2.3", False, id="driver"),
        pytest.param("sha256", "1", False, id="result"),
    ],
)
def test_what_makes_an_engine_out_of_date(field: str, value: object, rebuilds: bool) -> None:
    wanted = replace(ENGINE, **{field: value})  # type: ignore[arg-type]
    assert ENGINE.made_like(wanted) is not rebuilds


@pytest.mark.parametrize("text", ["", "8", "86", "8.6.1", "x.y", "8.", "-8.6", "8.66"])
def test_a_capability_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a number such as 8\.6"):
        capability_pair(text)
