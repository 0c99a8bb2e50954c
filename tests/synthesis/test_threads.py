"""The pair computes with one thread of NumPy's, and gives the others back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from edgesynth.synthesis.threads import _blas, one_thread


def threads() -> set[int]:
    return {int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def _two() -> Iterator[None]:
    """Two threads, however many this machine has, in every library that tests before these have loaded."""
    _blas.cache_clear()
    with threadpool_limits(2, user_api="blas"):
        if threads() != {2}:
            pytest.skip("NumPy's library here has no threads to limit")
        yield


def test_inside_there_is_one_and_afterwards_as_many_as_before() -> None:
    for _ in range(2):
        with one_thread():
            with one_thread():
                assert threads() == {1}
            assert threads() == {1}
        assert threads() == {2}


def test_an_error_inside_gives_them_back() -> None:
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert threads() == {2}
