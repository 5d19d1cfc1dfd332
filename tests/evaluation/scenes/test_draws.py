"""Random numbers that are the same on every machine."""

from mavos_deploy.evaluation.scenes.draws import Draws


def test_draws_are_numpys_raw_bits() -> None:
    # Values recorded once; a change would change every scene.
    assert [round(x, 6) for x in Draws(1, 2).array(3)] == [0.448415, 0.430882, 0.419999]
    draws = Draws(3)
    assert sorted(draws.shuffled(6)) == list(range(6))
    assert {draws.integer(2, 4) for _ in range(100)} == {2, 3, 4}
