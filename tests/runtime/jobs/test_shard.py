"""Parts of a data set: all of it, once, in nearly equal shares."""

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.jobs.shard import Shard


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_shards_cover_every_item_exactly_once(count: int) -> None:
    items = list("abcdef")
    parts = [Shard(index, count).of(items) for index in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1/0", "1", "a/b", "-1/2", "1/2/3", "", "1.0/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected I/N with I from 1 to N"):
        Shard.parse(text)
