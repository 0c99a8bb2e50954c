"""One thread for small matrices: several of them wait for each other longer than they compute."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["one_thread"]


def one_thread() -> AbstractContextManager[object]:
    """A ``with`` block inside which NumPy's linear algebra uses one thread, as far as this thread may say so.

    On a busy machine two threads of OpenBLAS, which spin while they wait, took thirty times as long as one.
    PyTorch has threads of its own, which are left alone.
    """
    limit: AbstractContextManager[object] = _blas().limit(limits=1)
    return limit


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
