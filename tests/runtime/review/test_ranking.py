"""Videos in the order in which a person should look at them."""

from mavos_deploy.runtime.review.ranking import Doubt, look_first


def test_videos_with_more_doubtful_masks_come_first() -> None:
    stems = ("a", "b", "c", "d")
    found = look_first(
        [
            ("good", stems, {"1": (1.0, 0.9, 0.9, 0.8)}),
            ("late", stems, {"1": (1.0, 0.9, 0.4, 0.3), "12": (None, None, 1.0, 0.2)}),
            ("bad", stems, {"3": (1.0, 0.1, 0.3, 0.3)}),
            ("unknown", stems, {}),
        ]
    )
    assert found == [
        Doubt("bad", 3, "b", 0.1, 0.75),
        Doubt("late", 12, "d", 0.2, 0.5),
        Doubt("good", 1, "d", 0.8, 0.0),
    ]
