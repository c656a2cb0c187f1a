"""The version that is served now, changed over to another one as soon as that is named and found good."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref

from features.errors import ArtifactError
from pipeline.runtime.opened import Opened
from pipeline.runtime.source import Source

LOGGER = logging.getLogger("tier_router")
# A version that was refused may have been in the middle of its copying.
PATIENCE_S = 30.0
LONGEST_LOOK_S = 5.0


class Watch:
    """Looks at a source in a thread of its own, in forked processes too.

    Args:
        source: names the version to serve.
        poll_s: > 0, seconds between two looks.

    Attributes:
        opened: the version that is served; who decides reads it once per decision.
        refused: why the newest version was not taken, or "".
        swaps: how often another version was changed over to.
    """

    def __init__(self, source: Source, poll_s: float) -> None:
        self.source = source
        self.poll_s = max(poll_s, source.shortest_poll_s)
        self._serving = source.newest()
        self.opened: Opened = source.open(self._serving)
        self.refused = ""
        self.swaps = 0
        self._refused_name, self._again_at = "", 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look, if the source can ever name another version."""
        if not self.source.changes:
            return
        me = weakref.ref(self)

        def resume() -> None:
            if (watch := me()) is not None:
                watch.resume()

        os.register_at_fork(after_in_child=resume)
        self.resume()

    def resume(self) -> None:
        """Begin to look, in this process."""
        if not self._stopped.is_set():
            self._thread = threading.Thread(target=self._run, name="tier-router versions", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more, and wait for a look that is under way: onnxruntime aborts a process that ends in the middle."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(LONGEST_LOOK_S)

    def look(self) -> None:
        """Change over, if the source names another version; one that cannot be used is refused, and the old one stays.

        A refused one is tried again after `PATIENCE_S`.
        """
        try:
            name = self.source.newest()
            if name != self._serving and not (name == self._refused_name and time.monotonic() < self._again_at):
                self._take(name)
        except (ArtifactError, OSError, MemoryError) as error:
            if str(error) != self.refused:
                self.refused = str(error)
                LOGGER.error("%s stays, another version was refused: %s", self.opened.name, error)  # noqa: TRY400  # where it was raised tells nothing
            return
        if name == self._serving:
            self.refused = self._refused_name = ""

    def _take(self, name: str) -> None:
        self._refused_name, self._again_at = name, time.monotonic() + PATIENCE_S
        opened = self.source.open(name)
        self.refused = ""  # first: who sees the new version sees no refusal of it
        before, self.opened = self.opened, opened
        self._serving = name
        self.swaps += 1
        LOGGER.warning("%s decides now, before it was %s", self.opened.name, before.name)

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self.poll_s):
                self.look()
        finally:
            if not self._stopped.is_set():  # threading says what went wrong
                self.refused = "versions are not watched any more: restart the service"
                LOGGER.error("%s stays: %s", self.opened.name, self.refused)
