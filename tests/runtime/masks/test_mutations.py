"""A sample of damaged files: each gives labels or a refusal. `make mutations` reads 10,000."""

import pytest

from tests.mutations import targets, try_mutations


@pytest.mark.parametrize("kind", targets())
def test_a_damaged_file_gives_labels_or_a_refusal(kind: str) -> None:
    target = targets()[kind]
    target.read(target.content)
    read, refused = try_mutations(target, count=25, seed=1)
    assert refused
    assert read + refused == 25
