"""A library's message becomes one line."""

from mavos_deploy.errors import one_line


def test_breaks_and_indents_become_spaces_and_the_end_is_cut() -> None:
    error = ValueError("no tactic\n    fits\n" + "x" * 999)
    assert one_line(error, None) == f"no tactic fits {'x' * 999}"
    assert one_line(error) == f"no tactic fits {'x' * 285}"
