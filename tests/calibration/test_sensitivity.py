"""The choice under a budget."""

import pytest

from mavos_deploy.calibration.sensitivity import Cost, choose, take


def _cost(graph: str, group: str | None, drop: float, saved: float) -> Cost:
    return Cost(graph, group, 1, drop, 0.0, saved)


TABLE = [
    _cost("a", None, 0.010, 10.0),
    _cost("a", "1", 0.001, 4.0),
    _cost("a", "2", 0.009, 6.0),
    _cost("b", None, 0.002, 5.0),
    _cost("b", "1", -0.001, 2.0),
    _cost("b", "2", 0.003, 3.0),
    _cost("c", None, 0.000, -1.0),
    _cost("c", "1", 0.000, -1.0),
]


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        pytest.param(0.0, [("b", "1")], id="only-what-costs-nothing"),
        pytest.param(0.001, [("b", "1"), ("a", "1")], id="groups"),
        pytest.param(0.003, [("b", None), ("a", "1")], id="a-whole-graph-and-a-group"),
        pytest.param(0.012, [("b", None), ("a", None)], id="whole-graphs"),
    ],
)
def test_the_cheapest_within_the_budget_are_taken(
    budget: float, chosen: list[tuple[str, str | None]]
) -> None:
    assert [(cost.graph, cost.group) for cost in take(TABLE, budget)] == chosen


def test_what_saves_nothing_is_never_taken() -> None:
    assert all(cost.graph != "c" for cost in take(TABLE, 1.0))


def test_what_is_too_much_together_is_given_back_dearest_first() -> None:
    tried = []

    def together(taken: list[Cost]) -> float:
        tried.append([(cost.graph, cost.group) for cost in taken])
        return 0.02 if len(taken) > 1 else 0.004

    taken, drop = choose(TABLE, 0.012, together)
    assert [(cost.graph, cost.group) for cost in taken] == [("b", None)]
    assert drop == 0.004
    assert tried == [[("b", None), ("a", None)], [("b", None)]]


def test_nothing_is_chosen_where_all_is_too_much() -> None:
    assert choose(TABLE, 0.012, lambda taken: 1.0) == ([], 0.0)
