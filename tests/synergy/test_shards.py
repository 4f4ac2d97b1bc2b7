import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.errors import UserError
from synergy.shards import ALL, Shard

NAMES = st.text(max_size=12) | st.sampled_from(["photos/a.jpg", "caf\udce9.jpg", ""])


@given(st.lists(NAMES, unique=True), st.integers(1, 9))
def test_every_name_belongs_to_exactly_one_shard(names, count):
    shards = [Shard(i, count) for i in range(1, count + 1)]
    assert all(sum(name in shard for shard in shards) == 1 for name in names)
    assert all(name in ALL for name in names)


def test_shards_have_about_the_same_size():
    names = [f"photos/{i // 100}/{i:06d}.jpg" for i in range(20_000)]
    sizes = [sum(name in Shard(i, 8) for name in names) for i in range(1, 9)]
    assert sum(sizes) == 20_000
    assert max(abs(size - 2500) for size in sizes) < 4 * math.sqrt(2500)


def test_the_shard_of_a_name_never_changes():
    # A change would make runs that continue repeat inputs and leave others out.
    names = [f"{i}.jpg" for i in range(8)]
    assert [next(i for i in range(1, 5) if name in Shard(i, 4)) for name in names] == [3, 2, 1, 3, 1, 1, 1, 3]


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "a/b", "1.5/4", "1/ 4", "²/4"])
def test_other_forms_are_one_line(text):
    with pytest.raises(UserError, match=r"^--shard .*: expected i/n with i from 1 to n, for example 1/4$"):
        Shard.parse(text)
