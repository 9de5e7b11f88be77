"""Dense factorisations on one thread."""

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits

__all__ = ["one_thread"]


def one_thread() -> AbstractContextManager[object]:
    """Run LAPACK on one thread for a while.

    Its factorisations hand short pieces of work back and forth; with the second core busy elsewhere, two threads took a
    hundred times as long as one for matrices of 500 rows, and at best three quarters of its time.
    """
    return threadpool_limits(limits=1, user_api="blas")
