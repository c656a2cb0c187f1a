"""Work in threads, some calls ahead, with the answers in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = 2
AHEAD = 2

Answer = TypeVar("Answer")


def in_order(calls: Iterable[Callable[[], Answer]]) -> Iterator[Answer]:
    """The answers of calls, in their order; `THREADS` run at a time, and `AHEAD` more wait or have answered.

    Raises:
        What the first of the calls that fails raises, once those before it are answered.
    """
    waiting: deque[Future[Answer]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for call in calls:
            waiting.append(pool.submit(call))
            if len(waiting) >= THREADS + AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
