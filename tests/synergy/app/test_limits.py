import pytest

from synergy.app.limits import Limits, RateLimiter, RequestError
from synergy.app.memory import ResultStore


def test_each_client_has_its_own_number_of_uploads():
    now = [0.0]
    limiter = RateLimiter(2, lambda: now[0])
    limiter.check("a")
    now[0] = 10
    limiter.check("a")
    limiter.check("b")
    with pytest.raises(RequestError, match="Try again in 50 seconds") as error:
        limiter.check("a")
    assert (error.value.status, error.value.retry_after) == (429, 50)
    now[0] = 60.1  # the first upload is more than a minute ago, the refused one does not count
    limiter.check("a")
    with pytest.raises(RequestError):
        limiter.check("a")


class Result:
    def __init__(self, n_bytes):
        self.n_bytes = n_bytes


def test_results_are_forgotten_after_their_time():
    now = [0.0]
    store = ResultStore(Limits(result_minutes=1), lambda: now[0])
    result = Result(1)
    name = store.add(result)
    assert len(name) >= 20
    assert store.get(name) is result
    now[0] = 61
    with pytest.raises(RequestError, match="no longer kept"):
        store.get(name)
    assert len(store) == 0


def test_the_oldest_results_make_room():
    store = ResultStore(Limits(result_megabytes=1))
    names = [store.add(Result(400_000)) for _ in range(3)]
    with pytest.raises(RequestError):
        store.get(names[0])
    assert all(store.get(name) for name in names[1:])
    big = store.add(Result(5_000_000))
    assert store.get(big)
    assert len(store) == 1
    store.remove(big)
    store.remove(big)
    assert len(store) == 0
