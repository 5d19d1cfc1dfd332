"""Groups are merged as the authors merge them, and one group is its argmax."""

import torch

from mavos_deploy.export.soft_aggregation import soft_aggregation


def test_a_pixel_is_background_only_where_every_group_says_so() -> None:
    logits = torch.full((2, 11, 1, 3), -20.0)
    logits[:, 0] = 0.0  # background everywhere, but
    logits[0, 4, 0, 1] = 5.0  # object 4 in the second pixel
    logits[1, 2, 0, 2] = 5.0  # object 12 in the third
    assert soft_aggregation(logits).tolist() == [[0, 4, 12]]


def test_the_surer_of_two_groups_takes_the_pixel() -> None:
    logits = torch.full((2, 11, 1, 1), -20.0)
    logits[:, 0] = 0.0
    logits[0, 1], logits[1, 10] = 3.0, 4.0
    assert soft_aggregation(logits).tolist() == [[20]]


def test_merging_equals_the_authors_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(3, 11, 9, 13, generator=generator)
    probability = logits.softmax(1)
    merged = torch.cat([probability[:, :1].prod(0), *probability[:, 1:]])
    expected = torch.logit(merged.clamp(1e-5, 1 - 1e-5)).argmax(0)
    torch.testing.assert_close(soft_aggregation(logits), expected.int())


def test_one_group_is_its_argmax() -> None:
    logits = torch.randn(1, 6, 9, 13, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(soft_aggregation(logits), logits[0].argmax(0).int())
