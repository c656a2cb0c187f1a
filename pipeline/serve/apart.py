"""Large bodies, read in another process: what takes a second there keeps nobody waiting here."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NoReturn

from features.errors import RequestError
from pipeline.limits import Needs
from pipeline.serve.bodies import parsed

# It yields to the process that answers, where both share a core.
NICENESS = 10


class Unreadable(Mapping[str, Any]):
    """A body that could not be read as a chat request, as whoever reads it finds out."""

    def __init__(self, error: RequestError) -> None:
        self.error = error

    def __getitem__(self, _: str) -> NoReturn:
        raise self.error

    def __iter__(self) -> Iterator[str]:
        raise self.error

    def __len__(self) -> int:
        raise self.error


class Apart:
    """One process that reads bodies, one after the other; begun with the first, and again if it dies."""

    def __init__(self) -> None:
        self._process: ProcessPoolExecutor | None = None

    async def read(self, body: bytes) -> Needs | Unreadable:
        """What a body takes of a tier.

        Raises:
            Refusal: it holds no JSON object.
        """
        process = self._process = self._process or _begun()
        try:
            return await asyncio.get_running_loop().run_in_executor(process, read, body)
        except RequestError as error:
            return Unreadable(error)
        except BrokenProcessPool:  # it was ended, perhaps because it took too much memory
            if process is self._process:
                self._process = None
            return Unreadable(RequestError("it could not be held in memory"))

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.shutdown(cancel_futures=True)


def read(body: bytes) -> Needs:
    """What a body takes of a tier; see `parsed` and `Needs.of`."""
    return Needs.of(parsed(body))


def _begun() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _settle)


def _settle() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the process that answers
    os.nice(NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)
