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


def test_what_the_sum_of_drops_left_out_is_tried_beside_the_choice() -> None:
    table = [
        _cost("a", None, 0.004, 10.0),
        _cost("b", None, 0.003, 5.0),
        _cost("b", "1", 0.001, 3.0),
        _cost("c", None, 0.003, 4.0),
        _cost("c", "1", 0.002, 2.0),
        _cost("d", None, 0.003, 0.1),
    ]
    drops = {"a b1": 0.002, "a b": 0.004, "a b c": 0.006, "a b c1": 0.005}
    tried = []

    def together(taken: list[Cost]) -> float:
        names = " ".join(sorted(cost.graph + (cost.group or "") for cost in taken))
        tried.append(names)
        return drops[names]

    taken, drop = choose(table, 0.005, together)
    # All of b in place of its group, then a group of c, since all of c is too much.
    assert tried == ["a b1", "a b", "a b c", "a b c1"]
    assert {(cost.graph, cost.group) for cost in taken} == {("a", None), ("b", None), ("c", "1")}
    assert drop == 0.005


def test_a_whole_graph_that_saves_less_than_its_groups_does_not_replace_them() -> None:
    table = [
        _cost("a", None, 0.010, 4.0),
        _cost("a", "1", 0.001, 10.0),
        _cost("b", None, 0.001, 1.0),
    ]
    taken, _ = choose(table, 0.005, lambda rows: 0.002)
    assert {(cost.graph, cost.group) for cost in taken} == {("a", "1"), ("b", None)}


def test_what_saves_least_is_given_back_where_that_is_enough() -> None:
    tried = []

    def together(taken: list[Cost]) -> float:
        tried.append([cost.graph for cost in taken])
        return 0.02 if len(taken) > 1 else 0.004

    taken, drop = choose(TABLE, 0.012, together)
    assert [cost.graph for cost in taken] == ["a"]  # it saves 10, and b saves 5
    assert drop == 0.004
    assert tried == [["b", "a"], ["a"]]


def test_what_costs_most_for_its_gain_goes_where_no_single_part_is_enough() -> None:
    table = [
        _cost("small", None, 0.001, 1.0),
        _cost("dear", None, 0.004, 3.0),
        _cost("large", None, 0.005, 20.0),
    ]
    allowed = {frozenset({"large"}): 0.005}
    tried = []

    def together(taken: list[Cost]) -> float:
        tried.append({cost.graph for cost in taken})
        return allowed.get(frozenset(cost.graph for cost in taken), 0.02)

    taken, drop = choose(table, 0.012, together)
    assert [cost.graph for cost in taken] == ["large"]
    assert drop == 0.005
    everything = {"small", "dear", "large"}
    one_less = [everything - {name} for name in ("small", "dear", "large")]
    assert tried == [everything, *one_less, {"large"}]


def test_nothing_is_chosen_where_all_is_too_much() -> None:
    assert choose(TABLE, 0.012, lambda taken: 1.0) == ([], 0.0)
